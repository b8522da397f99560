"""The loop is pure: these laws need no server."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evented_agent.chunks import ErrorInfo, Usage
from evented_agent.models.messages import AssistantMessage, ToolCall, ToolMessage
from evented_agent.state.decide import CallModel, CallTools, FinishRun, decide
from evented_agent.state.fold import State, fold
from evented_agent.state.journal import Decided, Entry, Result, Turn, dump_entry, load_entry

#: What the strategies below make.
Told = Turn | Result | Decided

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
arguments = st.dictionaries(st.text(max_size=4), json_values, max_size=3)
usages = st.builds(Usage, input_tokens=st.integers(0, 999), output_tokens=st.integers(0, 999))


@st.composite
def journals(draw: st.DrawFn) -> list[Told]:
    """Journals as a run writes them: turns, the results of their calls in any order, decisions."""
    entries: list[Told] = []
    for step in range(1, draw(st.integers(0, 4)) + 1):
        count = draw(st.integers(0, 3))
        calls = [
            ToolCall(id=f"c{step}.{n}", name=draw(st.sampled_from("ab")), arguments=draw(arguments))
            for n in range(count)
        ]
        texts = draw(st.lists(st.text(max_size=9), max_size=2))
        reason = "tool-calls" if calls else "stop"
        entries.append(Turn(step, texts, calls, reason, draw(usages)))
        answered = draw(st.permutations(calls))[: draw(st.integers(0, count))]
        for call in answered:
            error = ErrorInfo(name="E", message="m") if draw(st.booleans()) else None
            value = None if error else draw(json_values)
            entries.append(Result(step, call.id, call.name, value, error))
        if len(answered) < count or not calls:
            break
        entries.append(Decided(step, "step"))
    return entries


@given(journals())
def test_every_entry_survives_storing(journal: list[Told]) -> None:
    def plain(entry: Entry) -> Entry:
        if isinstance(entry, Turn):
            return Turn(entry.step, list(entry.texts), list(entry.calls), entry.reason, entry.usage)
        return entry

    for entry in journal:
        loaded = load_entry(dump_entry(entry))
        assert (plain(loaded) if isinstance(loaded, Turn) else loaded) == plain(entry)


@given(journals())
def test_usage_adds_up_over_the_turns(journal: list[Told]) -> None:
    state = fold(map(dump_entry, journal))

    assert state.usage == sum((e.usage for e in journal if isinstance(e, Turn)), Usage())


@given(journals(), st.randoms(use_true_random=False))
def test_the_order_in_which_parallel_tools_commit_changes_nothing(
    journal: list[Told],
    random: "st.random.Random",  # type: ignore[name-defined]
) -> None:
    by_step = sorted(
        journal, key=lambda entry: (entry.step, not isinstance(entry, Turn), random.random())
    )

    again = fold(dump_entry(entry) for entry in by_step)
    assert again.messages() == fold(dump_entry(entry) for entry in journal).messages()


@given(journals(), st.integers(1, 5), st.booleans())
def test_calls_are_always_answered_before_anything_else(
    journal: list[Told], max_steps: int, stopped: bool
) -> None:
    state = fold(map(dump_entry, journal))
    open_calls = state.steps[-1].open_calls if state.steps else ()

    decision = decide(state, max_steps=max_steps, is_stopped=stopped)

    assert isinstance(decision, CallTools) == bool(open_calls)
    if isinstance(decision, CallTools):
        assert list(decision.calls) == list(open_calls)


@given(journals(), st.integers(1, 5))
def test_no_run_takes_more_than_max_steps(journal: list[Told], max_steps: int) -> None:
    decision = decide(fold(map(dump_entry, journal)), max_steps=max_steps)

    if isinstance(decision, CallModel) and decision.step > 1:
        assert decision.step <= max_steps


@given(journals())
def test_every_result_follows_the_turn_that_asked_for_it(
    journal: list[Told],
) -> None:
    asked: set[str] = set()
    for message in fold(map(dump_entry, journal)).messages():
        if isinstance(message, AssistantMessage):
            asked |= {call.id for call in message.tool_calls}
        if isinstance(message, ToolMessage):
            assert message.tool_call_id in asked


def test_a_run_begins_with_the_model() -> None:
    assert decide(State(), max_steps=5) == CallModel(1)


def test_a_turn_without_calls_ends_the_run_with_its_reason() -> None:
    state = fold([dump_entry(Turn(1, ["cut"], [], "length"))])

    assert decide(state, max_steps=5) == FinishRun("length")


def test_a_stop_condition_ends_the_run_after_the_results() -> None:
    call = ToolCall(id="c", name="t")
    journal: list[Told] = [
        Turn(1, [], [call], "tool-calls"),
        Result(1, "c", "t", 1),
    ]
    state = fold(map(dump_entry, journal))

    assert decide(state, max_steps=5) == CallModel(2)
    assert decide(state, max_steps=5, is_stopped=True) == FinishRun("tool-calls")


@pytest.mark.parametrize("stored", [b"", b"[]", b'{"k":"new"}', b'{"k":"turn"}', b"\xff", b"1"])
def test_an_entry_that_is_not_ours_is_refused(stored: bytes) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        fold([stored])


def test_a_result_without_its_turn_is_refused() -> None:
    with pytest.raises(ValueError, match="before its turn"):
        fold([dump_entry(Result(1, "c", "t", 1))])


def test_text_keeps_the_steps_apart() -> None:
    call = ToolCall(id="c", name="t")
    journal: Sequence[Entry] = [
        Turn(1, ["Let me look."], [call], "tool-calls"),
        Result(1, "c", "t", 1),
        Turn(2, ["Here", "it is"], [], "stop"),
    ]

    assert fold(map(dump_entry, journal)).text == "Let me look.\n\nHere\n\nit is"
