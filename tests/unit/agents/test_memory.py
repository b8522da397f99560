"""Windows: how much of a conversation a model sees."""

from typing import Any

import pytest

from evented_agent import DeclarationError, Window
from evented_agent.models.messages import AssistantMessage, Message, UserMessage


def conversation(turns: int) -> list[Message]:
    """So many questions of one word, each with its answer."""
    return [
        message
        for turn in range(turns)
        for message in (
            UserMessage(content=f"question{turn}"),
            AssistantMessage(content=f"answer{turn}"),
        )
    ]


def test_a_window_holds_the_newest_messages() -> None:
    said = conversation(3)

    assert Window(messages=2).of(said) == said[4:]
    assert Window().of(said) == said
    assert Window(messages=0).of(said) == []


def test_a_window_begins_with_a_question() -> None:
    said = conversation(3)

    assert Window(messages=3).of(said) == said[4:]
    assert Window(messages=1).of(said) == []


def test_a_window_of_tokens_drops_whole_messages() -> None:
    said = conversation(3)

    assert Window(tokens=10_000).of(said) == said
    assert Window(tokens=1).of(said) == []
    fewer = Window(tokens=40).of(said)
    assert fewer == said[-len(fewer) :]
    assert len(fewer) in (2, 4)


@pytest.mark.parametrize("wrong", [{"messages": -1}, {"tokens": 1.5}, {"messages": True}])
def test_a_window_counts_in_whole_numbers(wrong: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError, match=r"pass a whole number from 0 up"):
        Window(**wrong)
