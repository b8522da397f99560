"""What an agent's ``model=`` may be."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from evented_agent.errors import DeclarationError
from evented_agent.models import (
    AnswerEnded,
    Model,
    ModelEvent,
    ModelRequest,
    OpenAIChat,
    OpenAIResponses,
    resolve,
)


class Parrot:
    """A model of a provider that the library does not know."""

    name = "parrot"

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        yield AnswerEnded("stop")


def test_openai_models_are_called_through_the_responses_api() -> None:
    assert resolve("openai/gpt-5.5") == OpenAIResponses("gpt-5.5")
    assert resolve("openai/gpt-5.5").name == "openai/gpt-5.5"


def test_compatible_servers_are_called_through_chat_completions() -> None:
    assert resolve("openai-chat/qwen/qwen3") == OpenAIChat("qwen/qwen3")
    assert resolve("openai-chat/qwen/qwen3").name == "openai-chat/qwen/qwen3"


@pytest.mark.parametrize("model", [Parrot(), OpenAIChat("m"), OpenAIResponses("m")])
def test_a_model_is_taken_as_it_is(model: Model) -> None:
    assert resolve(model) is model


@pytest.mark.parametrize(
    "ref", ["gpt-5.5", "openai/", "anthropic/claude", "", None, 7, object(), Parrot, OpenAIChat]
)
def test_anything_else_is_refused_with_what_is_accepted(ref: Any) -> None:
    with pytest.raises(DeclarationError) as caught:
        resolve(ref)

    text = str(caught.value)
    assert text.startswith(f"model={ref!r} names no model.")
    assert "'openai/<model>'" in text
    assert "'openai-chat/<model>'" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"model": ""}, "The model has no name."),
        ({"model": "m", "timeout": 0}, "timeout=0 is not a positive number"),
        ({"model": "m", "base_url": "localhost/v1"}, "base_url='localhost/v1' is not an http"),
        ({"model": "m", "base_url": "http://h:x/v1"}, "base_url='http://h:x/v1' is not an http"),
    ],
)
def test_a_wrong_declaration_is_refused_at_once(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(DeclarationError, match=words):
        OpenAIChat(**arguments)
