"""What people see of a record: who works on it, what it lacks, what came of its calls."""

from dataclasses import replace
from typing import Any

import pytest
from typing_extensions import TypedDict

from evented_agent.agents.output_types import OutputType
from evented_agent.chunks import ErrorInfo, Usage
from evented_agent.ledger.records import Record, SuspensionRecord, Task
from evented_agent.ledger.workers import LiveWorker
from evented_agent.models.messages import ToolCall
from evented_agent.state.journal import Entry, Result, Turn, dump_entry
from evented_agent.state.run_info import info_of, is_waiting, waiting_for
from evented_agent.state.run_result import background_tasks_of, result_of

NOW = 1_000_000
FIELDS = {
    "agent": "a",
    "status": "queued",
    "step": "1",
    "created": "1000",
    "queue": "agents",
    "v": "1",
    "messages": "[]",
}
WORKER = LiveWorker("id", "w1@host", ["agents"], ["a"], "threads", slots=2, busy=1)
QUEUED = Task("r", "1:model", "model", 1, "queued", 1, queued_at=NOW - 60_000)
CALL = ToolCall(id="c1", name="report", arguments={})


def record(*tasks: Task, **fields: str) -> Record:
    return Record("r", NOW, FIELDS | fields, tasks, "1-1", ())


def journal(*results: Result, text: str = "") -> list[bytes]:
    entries: list[Entry] = [Turn(1, [text], [CALL], "tool-calls"), *results]
    return [dump_entry(entry).encode() for entry in entries]


@pytest.mark.parametrize(
    ("workers", "lacks"),
    [
        ([], "a worker for queue 'agents'"),
        ([replace(WORKER, queues=["other"])], "a worker for queue 'agents'"),
        ([replace(WORKER, agents=["b"])], "a worker that serves agent 'a'"),
        ([replace(WORKER, format=0)], "a worker of a newer version (the run has format 1)"),
        ([replace(WORKER, busy=2)], "a free slot (2 are busy)"),
    ],
)
def test_a_queued_run_says_what_it_lacks(workers: list[LiveWorker], lacks: str) -> None:
    assert lacks in str(info_of(record(QUEUED), workers).waiting_for)


def test_a_run_that_a_worker_should_take_lacks_nothing() -> None:
    assert waiting_for(record(QUEUED), [WORKER]) is None


def test_a_run_that_waits_for_its_turn_says_for_which() -> None:
    held = replace(QUEUED, waits_for="its turn in a thread")

    assert waiting_for(record(held), []) == "its turn in a thread"


@pytest.mark.parametrize(
    ("task", "waits"),
    [
        (QUEUED, True),
        (replace(QUEUED, queued_at=NOW), False),
        (replace(QUEUED, not_before=NOW + 1), False),
        (replace(QUEUED, state="suspended"), False),
        (replace(QUEUED, state="running", lease=NOW - 60_000), True),
        (replace(QUEUED, state="running", lease=NOW + 1), False),
    ],
)
def test_a_task_waits_that_nobody_takes_or_whose_worker_is_gone(task: Task, waits: bool) -> None:
    assert is_waiting(record(task)) is waits


def test_the_worker_of_a_run_is_the_one_of_the_step_under_way() -> None:
    beside = replace(QUEUED, state="running", owner="beside", background="deferred", lease=NOW)
    step = replace(QUEUED, state="running", owner="step", lease=NOW)
    info = info_of(record(beside, step, status="running"))

    assert (info.worker, info.is_ended) == ("step", False)
    assert info_of(record(status="finished", ended="2000")).is_ended


@pytest.mark.parametrize(
    ("results", "task", "status"),
    [
        ([], replace(QUEUED, call="c1", background="deferred"), "pending"),
        ([], replace(QUEUED, call="c1", background="awaited", state="running"), "running"),
        ([], replace(QUEUED, call="c1", background="deferred", state="suspended"), "suspended"),
        ([Result(1, "c1", "report", "kept", is_placeholder=True)], None, "cancelled"),
        (
            [
                Result(1, "c1", "report", "kept", is_placeholder=True),
                Result(1, "c1", "report", "all"),
            ],
            None,
            "completed",
        ),
        (
            [
                Result(1, "c1", "report", "kept", is_placeholder=True),
                Result(1, "c1", "report", error=ErrorInfo(name="OSError", message="m")),
            ],
            None,
            "failed",
        ),
        (
            [
                Result(1, "c1", "report", "kept", is_placeholder=True),
                Result(1, "c1", "report", error=ErrorInfo(name="Dropped", message="m")),
            ],
            None,
            "cancelled",
        ),
    ],
)
def test_a_background_call_is_as_far_as_its_task_and_journal_say(
    results: list[Result], task: Task | None, status: str
) -> None:
    [found] = background_tasks_of(record(*([task] if task else [])), journal(*results))

    assert (found.task_id, found.tool_name, found.status) == ("r:c1", "report", status)
    assert found.result == ("all" if status == "completed" else None)


def test_a_call_that_was_waited_for_is_no_background_call() -> None:
    assert background_tasks_of(record(), journal(Result(1, "c1", "report", "all"))) == []


class Point(TypedDict):
    x: int


@pytest.mark.parametrize(
    ("text", "fields", "is_declared", "output"),
    [
        ('{"x": 1}', {"status": "running"}, False, None),
        ('{"x": 1}', {"status": "finished"}, False, None),
        ('{"x": 1}', {"status": "finished", "output_type": "Point"}, False, {"x": 1}),
        ('{"x": "no"}', {"status": "finished"}, True, {"x": "no"}),
        ('{"x": 1}', {"status": "finished"}, True, {"x": 1}),
    ],
)
def test_an_output_is_typed_where_its_type_still_fits(
    text: str, fields: dict[str, str], is_declared: bool, output: Any
) -> None:
    type_ = OutputType(Point) if is_declared else None
    result = result_of(record(**fields), journal(text=text), type_)

    assert result.output == output
    assert result.answer == text


def test_a_result_without_steps_has_no_answer() -> None:
    result = result_of(record(status="finished"), [])

    assert (result.answer, result.output) == ("", None)


@pytest.mark.parametrize(
    ("said", "counted"),
    [
        (10**400, 2**53),
        (1e20, 2**53),
        (float("nan"), 0),
        (float("inf"), 2**53),
        (-1, 0),
        (2.9, 2),
        (True, 0),
        ("12", 12),
        ("many", 0),
        (None, 0),
    ],
)
def test_a_count_of_tokens_is_a_number_that_all_can_hold(said: Any, counted: int) -> None:
    assert Usage(input_tokens=said).input_tokens == counted


def test_what_a_caller_wants_to_find_again_is_shown() -> None:
    assert info_of(record(metadata='{"order":17}')).metadata == {"order": 17}
    for damaged in ("{}", "[]", "?", "3"):
        assert info_of(record(metadata=damaged)).metadata == {}


@pytest.mark.parametrize("damaged", ["", "?", "1.5", "1e400", "9" * 30, "-" + "9" * 30, "9" * 5000])
def test_a_number_or_time_that_is_damaged_hides_nothing_else(damaged: str) -> None:
    names = ("created", "updated", "started", "ended")
    for name in names:
        found = info_of(record(**{"updated": "2000", name: damaged}))
        assert (found.run_id, found.agent, found.status) == ("r", "a", "queued")
        assert found.started_at is found.ended_at is None
    assert info_of(record(created=damaged, updated="2000")).created_at.timestamp() == 2
    assert info_of(record(updated=damaged)).updated_at.timestamp() == 1
    assert info_of(record(created=damaged)).created_at.timestamp() == 0
    assert info_of(record(step=damaged)).agent == "a"


def test_counts_and_errors_that_are_damaged_hide_nothing_else() -> None:
    for damaged in ("", "[]", "?", "3", '{"input_tokens":'):
        found = info_of(record(usage=damaged))
        assert (found.usage, found.cost, found.agent) == (Usage(), None, "a")
    for damaged in ("", "[]", "?", "{}", '{"name":7}'):
        found = info_of(record(status="failed", error=damaged))
        assert (found.status, found.error) == ("failed", None)


@pytest.mark.parametrize("damaged", ["", "?", "3", "{}", '[{"role":"nobody"}]', '{"role":"u"}'])
def test_an_input_that_is_damaged_hides_not_what_came_of_it(damaged: str) -> None:
    found = result_of(record(messages=damaged), journal(text="Here."))
    assert [message.role for message in found.messages] == ["assistant"]
    assert found.text == "Here."
    assert not info_of(record(messages=damaged), has_input=True).input


def test_nobody_is_asked_about_a_call_that_cannot_be_shown() -> None:
    held = SuspensionRecord(7, "approval", at=1000, expires=2000)
    task = replace(QUEUED, state="suspended", call="c1", tool="report", suspended=held)
    for damaged in ("", "?", "3"):
        odd = replace(task, suspended=replace(held, number=8, asked=damaged))
        assert [each.number for each in info_of(record(odd, task)).pending] == [7]


def test_a_journal_that_is_damaged_hides_not_what_came_before() -> None:
    entries = [*journal(text="Here."), b"{garbage", *journal()]
    found = result_of(record(status="failed"), entries)
    assert (found.status, found.text, len(found.steps)) == ("failed", "Here.", 1)
    assert background_tasks_of(record(status="failed"), entries) == []
    with pytest.raises(ValueError, match="A journal entry cannot be read"):
        result_of(record(status="finished"), entries)


@pytest.mark.parametrize(
    ("stored", "ids"),
    [
        ('[[3,"m1",false],[5,"m2",true]]', ["m1", "m2"]),
        # A script wrote an empty list.
        ("{}", []),
        *((damaged, []) for damaged in ("", "3", "[[1]]", "[[1,2,3]]", '"m1"', "[" * 9_999)),
    ],
)
def test_messages_that_wait_are_those_of_the_record(stored: str, ids: list[str]) -> None:
    assert list(info_of(record(inbox=stored)).inbox) == ids
