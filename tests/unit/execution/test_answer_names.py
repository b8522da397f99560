"""Names that a model makes up: plain text afterwards, each its own, and never that of a tool."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evented_agent.errors import ModelError
from evented_agent.execution.tasks.answer import AnswerBuilder, Delta, call_id, tool_name
from evented_agent.models.protocol import AnswerEnded, CallPiece, CallStarted, TextPiece

PLAIN = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.")
texts = st.text() | st.text(st.characters(categories=["Cs", "Cc", "L"])) | st.none() | st.integers()


@given(texts, texts)
def test_names_are_plain_and_differ_where_they_differed(one: Any, other: Any) -> None:
    names = tool_name(one), tool_name(other)

    for name in names:
        assert 1 <= len(name) <= 64
        assert set(name) <= PLAIN
    assert tool_name(one) == names[0]
    assert (str(one) == str(other)) or names[0] != names[1]


@pytest.mark.parametrize("name", ["add", "a" * 64, "get_weather-2", "0"])
def test_a_possible_name_stays(name: str) -> None:
    assert tool_name(name) == name


def test_a_name_that_is_made_plain_is_not_that_of_a_tool() -> None:
    assert tool_name("delete\nall") != "delete_all"
    assert tool_name("delete all") != tool_name("delete\nall")


@given(st.lists(texts, max_size=5))
def test_ids_are_plain_and_each_its_own(given: list[Any]) -> None:
    answer = AnswerBuilder(step=2, attempt=1, used_call_ids={"call_2_0"})
    for index, each in enumerate(given):
        list(answer.take(CallStarted(index, each, "add")))

    ids = [call.id for call in answer.calls()]

    assert len({"call_2_0", *ids}) == len(given) + 1
    assert all(1 <= len(each) <= 128 and set(each) <= PLAIN for each in ids)


@pytest.mark.parametrize("given", ["call_AbC-1.2", "x" * 128])
def test_the_provider_s_id_stays_where_it_is_plain(given: str) -> None:
    assert call_id(given, "1_0", set()) == given


@pytest.mark.parametrize("given", ["", None, "a:b", "x" * 129, "\ud800", "used", 7, "a\n"])
def test_another_id_is_the_place_of_the_call(given: Any) -> None:
    assert call_id(given, "1_0", {"used"}) == "call_1_0"
    assert call_id(given, "1_0", {"used", "call_1_0"}) == "call_1_0_"


def test_arguments_over_the_limit_are_invalid_and_not_collected() -> None:
    answer = AnswerBuilder(step=1, attempt=1, used_call_ids=set(), most_bytes=100_000)
    list(answer.take(CallStarted(0, "a", "add")))

    deltas = list(answer.take(CallPiece(0, '{"a": "')))
    for _ in range(10):
        deltas += answer.take(CallPiece(0, "x" * 70_000))

    assert sum(len(each.text) for each in deltas if isinstance(each, Delta)) <= 100_000
    [call] = answer.calls()
    assert call.invalid is not None
    assert len(call.invalid) == 2000


def test_a_piece_of_any_length_becomes_chunks_of_the_usual_size() -> None:
    answer = AnswerBuilder(step=1, attempt=1, used_call_ids=set())

    made = [new for new in answer.take(TextPiece("é" * 200_000)) if isinstance(new, Delta)]

    assert "".join(delta.text for delta in made) == "é" * 200_000
    assert max(len(delta.text) for delta in made) <= 2**16


@pytest.mark.parametrize("provider", [{"a": float("nan")}, {"a": "\ud800"}, {1: 2}])
def test_what_a_provider_wants_back_is_a_model_error_where_it_cannot_be_kept(
    provider: dict[Any, Any],
) -> None:
    answer = AnswerBuilder(step=1, attempt=1, used_call_ids=set())

    with pytest.raises(ModelError, match="is not JSON") as caught:
        list(answer.take(AnswerEnded("stop", provider=provider)))
    assert caught.value.retryable
