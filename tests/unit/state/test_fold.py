"""Folding a journal: what people decided, what came late, what a thread held before."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from evented_agent.chunks import ErrorInfo
from evented_agent.ledger.records import Record, SuspensionRecord, Task
from evented_agent.models.messages import (
    AssistantMessage,
    SystemMessage,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from evented_agent.state.fold import State, fold
from evented_agent.state.journal import (
    Decided,
    Denied,
    Entry,
    History,
    Result,
    Resumed,
    Suspension,
    Turn,
    dump_entry,
    load_entry,
)
from evented_agent.state.views import pending_of, step_info

CALL = ToolCall(id="c1", name="erase", arguments={"name": "a"})
TURN = Turn(1, ["I erase it."], [CALL], "tool-calls", reasoning="It is old.")
PLACEHOLDER = Result(1, "c1", "erase", "under way", is_placeholder=True)
DONE = Result(1, "c1", "erase", "erased")


def state_of(*entries: Entry) -> State:
    return fold([dump_entry(entry) for entry in entries])


@pytest.mark.parametrize(
    "entry",
    [
        History([UserMessage(content="Before.")]),
        Suspension(1, "c1", 7, "approval"),
        Resumed("c1", 7, "approval", {"approved": True}, "ann"),
        Decided(1, "model", feedback="Go on.", is_last=True),
        Decided(1, "model", notice="It is done."),
        Result(1, "c1", "erase", denied=Denied("No.", "ann")),
        PLACEHOLDER,
        TURN,
        replace(TURN, instructions=""),
        replace(TURN, instructions="Be brief."),
    ],
    ids=lambda entry: type(entry).__name__,
)
def test_an_entry_of_any_kind_survives_storing(entry: Entry) -> None:
    assert load_entry(dump_entry(entry)) == entry


def test_what_a_thread_held_before_is_not_what_the_run_said() -> None:
    before = [UserMessage(content="Before.")]
    state = state_of(History(before), TURN)

    assert state.history == before
    assert [message.role for message in state.messages()] == ["assistant"]


def arguments_of(resumed: Resumed) -> Sequence[object]:
    state = state_of(TURN, Suspension(1, "c1", 7, resumed.kind), resumed)
    return [call.arguments for call in state.steps[0].turn.calls]


def test_a_call_runs_with_the_arguments_of_its_approval() -> None:
    edited = {"approved": True, "args": {"name": "b"}}

    assert arguments_of(Resumed("c1", 7, "approval", edited)) == [{"name": "b"}]
    assert arguments_of(Resumed("another", 7, "approval", edited)) == [{"name": "a"}]
    assert arguments_of(Resumed("c1", 7, "suspend", edited)) == [{"name": "a"}]
    assert arguments_of(Resumed("c1", 7, "approval", {"approved": True})) == [{"name": "a"}]
    assert arguments_of(Resumed("c1", 7, "approval", "yes")) == [{"name": "a"}]


def test_a_result_that_came_late_takes_the_place_of_its_placeholder() -> None:
    waiting, arrived = state_of(TURN, PLACEHOLDER), state_of(TURN, PLACEHOLDER, DONE)

    assert (len(waiting.outstanding), list(waiting.arrived)) == (1, [])
    assert (list(arrived.outstanding), list(arrived.arrived)) == ([], [DONE])
    shown = state_of(TURN, PLACEHOLDER, DONE, Turn(2, ["It is."], [], "stop", seen=3))
    assert list(shown.arrived) == []


def test_a_notice_begins_a_turn_and_feedback_does_not() -> None:
    plain = Turn(1, ["Done."], [], "stop")
    after = Turn(2, ["Anything else?"], [], "stop")

    assert state_of(plain, Decided(1, "model", notice="It is there."), after).turn_start == 2
    told = state_of(plain, Decided(1, "model", feedback="More."), after)
    assert told.turn_start == 1
    assert told.messages()[1] == UserMessage(content="More.")


def test_a_conversation_is_closed_before_it_is_kept() -> None:
    state = state_of(Turn(1, [], [], "stop"), Decided(1, "model", notice="Look."), TURN)
    kept = state.closed_messages()

    assert SystemMessage(content="Look.") in state.messages()
    assert [type(message) for message in kept] == [AssistantMessage, ToolMessage]
    assert "The run ended before the call was answered." in str(kept[-1])


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (Result(1, "c1", "erase", denied=Denied("Keep it.")), "declined by a person: Keep it."),
        (Result(1, "c1", "erase", denied=Denied(None)), "declined by a person."),
        (Result(1, "c1", "erase", error=ErrorInfo(name="OSError", message="away")), "OSError"),
    ],
)
def test_what_a_model_is_told_of_a_call_that_came_to_nothing(result: Result, told: str) -> None:
    [_, message] = state_of(TURN, result).messages()

    assert isinstance(message, ToolMessage)
    assert message.is_error
    assert told in str(message.result)


def test_a_stop_condition_sees_the_last_step_with_its_own_results() -> None:
    second = Turn(2, ["Once more."], [ToolCall(id="c2", name="erase", arguments={})], "tool-calls")
    info = step_info(state_of(TURN, DONE, second, Result(2, "c2", "erase", "again")))

    assert (info.step, info.text) == (2, "Once more.")
    assert [message.result for message in info.results] == ["again"]


def test_a_person_is_told_what_waits() -> None:
    held = SuspensionRecord(7, "suspend", 1000, 2000, '{"payload": {"question": "Which?"}}')
    task = Task("r", "1:tool:c1", "tool", 1, "suspended", 1, call="c1", tool="erase")
    waiting = replace(task, suspended=held)
    [pending] = pending_of(Record("r", 1500, {"agent": "a"}, [task, waiting], "1-1", ()))

    assert (pending.number, pending.kind, pending.tool_name) == (7, "suspend", "erase")
    assert pending.payload == {"question": "Which?"}


def test_each_turn_of_a_run_has_instructions_of_its_own() -> None:
    first = replace(TURN, instructions="One.")
    follow_up = Turn(3, ["News."], [], "stop", instructions="Two.")
    begun = state_of(first, DONE, Turn(2, ["Well."], [], "stop"))
    assert (State().first_of_turn(1), begun.first_of_turn(3)) == (1, 1)
    noticed = state_of(first, DONE, Turn(2, ["Well."], [], "stop"), Decided(2, "x", notice="!"))
    assert noticed.first_of_turn(3) == 3
    assert (noticed.instructions_of(1), noticed.instructions_of(3)) == ("One.", None)
    again = state_of(
        first, DONE, Turn(2, ["Well."], [], "stop"), Decided(2, "x", notice="!"), follow_up
    )
    assert (again.first_of_turn(4), again.instructions_of(3)) == (3, "Two.")
