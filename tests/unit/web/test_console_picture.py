"""What the log of a run becomes as a picture: rows, stretches, and what they say."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from evented_agent.chunks import AnyChunk, Usage
from evented_agent.chunks.codec import CHUNKS
from evented_agent.state.run_info import RunInfo, Status
from evented_agent.state.task_attempt import AttemptList, TaskAttempt
from evented_agent.web.console.clock import clocked
from evented_agent.web.console.lanes import Lane
from evented_agent.web.console.timeline import Picture, bars_of, picture_of
from tests.support.chunk_logs import chunk_logs


class Log:
    """Chunks as they are told, numbered."""

    def __init__(self) -> None:
        self.chunks: list[Any] = []
        self.add("start", None, id="agent")
        self.add("step-start", None, step=1)

    def add(self, type_: str, task: str | None, **payload: Any) -> int:
        seq = len(self.chunks) + 1
        made = CHUNKS[type_].model_validate(
            {"seq": seq, "cursor": f"{seq}-1", "run_id": "r", "task": task, "payload": payload}
        )
        self.chunks.append(made)
        return seq

    def say(self, *words: str, part: str = "t", task: str = "1:model") -> int:
        first = self.add("text-start", task, id=part)
        for word in words:
            self.add("text-delta", task, id=part, text=word)
        return first

    def call(self, name: str = "refund", call: str = "c1") -> dict[str, Any]:
        asked = {"toolCallId": call, "toolName": name}
        self.add("tool-call", "1:model", **asked, args={})
        return asked

    @property
    def picture(self) -> Picture:
        return picture_of(self.chunks)


def states(lane: Lane) -> list[str]:
    return [span.state for span in lane.spans]


def test_a_model_is_queued_and_runs() -> None:
    log = Log()
    log.say("Hello", " there")
    log.add("step-finish", "1:end", step=1, stepResult={"reason": "stop"})
    log.add("finish", "1:end", stepResult={"reason": "stop"})

    [model] = log.picture.lanes

    assert (states(model), model.outcome) == (["queued", "running"], "done")
    assert log.picture.ending == "finish"


def test_what_a_dead_worker_said_is_withdrawn_and_another_attempt_follows() -> None:
    log = Log()
    first = log.say("Hel", "lo")
    log.add("step-reset", "1:model", step=1, fromSeq=first, attempt=1, reason="crash")
    log.say("Hello", part="t2")

    [model] = log.picture.lanes

    assert states(model) == ["queued", "withdrawn", "queued", "running"]
    assert (model.attempt, model.outcome) == (2, "open")
    assert "attempt 1 withdrawn: crash" in model.summary
    assert log.picture.attempts == {"1:model": 2}


def test_a_call_waits_for_a_person_and_says_who_decided() -> None:
    log = Log()
    log.say("I will.")
    asked = log.call()
    number = log.add("tool-call-approval", "1:tool:c1", **asked)
    log.add("run-waiting", None, **{"for": "people"}, calls=["c1"])

    waiting = log.picture
    assert waiting.waits == "waits for people"
    assert waiting.lanes[1].summary == "Step 1, refund: waits for a person"
    assert bars_of(waiting.lanes[1], waiting)[-1].is_live

    log.add("tool-call-decided", None, **asked, decision="approved", by="Ann", number=number)
    log.add("tool-result", "1:tool:c1", **asked, result="ok")
    refund = log.picture.lanes[1]

    assert (states(refund), refund.outcome) == (["queued", "people", "ran"], "done")
    assert "approved by Ann" in refund.summary


def test_calls_that_fail_are_declined_or_are_cancelled_say_so() -> None:
    log = Log()
    for call, ends, more in (
        ("c1", "tool-error", {"error": {"name": "OSError", "message": "busy"}}),
        ("c2", "tool-output-denied", {"approval": {"approved": False}}),
        ("c3", "background-task-cancelled", {"taskId": "r:c3", "reason": "late"}),
    ):
        log.add(ends, f"1:tool:{call}", **log.call(call=call), **more)

    picture = log.picture
    assert [lane.outcome for lane in picture.lanes[1:]] == ["failed", "declined", "cancelled"]
    assert [bars_of(lane, picture)[-1].state for lane in picture.lanes[1:2]] == ["failed"]
    assert "OSError: busy" in picture.lanes[1].summary


def test_a_background_call_runs_beside_the_others() -> None:
    log = Log()
    asked = {**log.call("report"), "taskId": "r:c1"}
    log.add("background-task-started", "1:tool:c1", **asked, args={})
    log.add("background-task-running", "1:tool:c1", **asked)
    log.add("background-task-output", "1:tool:c1", **asked, output=1)
    log.add("background-task-completed", "1:tool:c1", **asked, result=2)

    report = log.picture.lanes[1]

    assert report.is_background
    assert (states(report), report.outcome) == (["queued", "running"], "done")


def test_a_run_that_waits_for_its_turn_says_so() -> None:
    log = Log()
    log.add("run-waiting", None, **{"for": "turn"})

    assert log.picture.waits == "waits for its turn in the thread"
    assert states(log.picture.lanes[0]) == ["queued", "waits"]


def test_a_retry_takes_the_end_back() -> None:
    log = Log()
    log.add("error", "1:model", error={"name": "ModelError", "message": "out of credit"})
    assert [lane.outcome for lane in log.picture.lanes] == ["failed"]
    log.chunks.pop()
    log.add(
        *("step-reset", "1:model"),
        step=1,
        fromSeq=3,
        attempt=1,
        reason="retry",
        error={"name": "ModelError", "message": "out of credit"},
    )
    log.say("At last.")

    assert log.picture.ending == ""
    assert log.picture.lanes[0].outcome == "open"


@given(chunk_logs())
def test_a_picture_of_any_log_stays_in_its_frame(chunks: Sequence[AnyChunk]) -> None:
    picture = picture_of(chunks)

    for lane in picture.lanes:
        for bar in bars_of(lane, picture):
            assert bar.x >= 0
            assert bar.width > 0
            assert bar.x + bar.width <= 100.01
        ends = [span.end for span in lane.spans[:-1]]
        assert None not in ends
        assert lane.summary


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
_MOMENTS = st.none() | st.floats(-90_000, 90_000).map(lambda s: NOON + timedelta(seconds=s))
_ATTEMPTS = st.lists(
    st.builds(
        TaskAttempt,
        run_id=st.just("r"),
        task=st.sampled_from(["1:model", "1:tool:c1", "2:model", "1:end", "unknown"]),
        kind=st.sampled_from(["model", "tool", "end", "judge"]),
        step=st.integers(0, 3),
        attempt=st.integers(1, 3),
        outcome=st.sampled_from([None, "committed", "crashed", "suspended", "retried", "juggled"]),
        queued_at=_MOMENTS,
        started_at=_MOMENTS,
        ended_at=_MOMENTS,
    )
)


@settings(max_examples=30)
@given(chunk_logs(), _ATTEMPTS, _MOMENTS)
def test_a_picture_in_time_stays_in_its_frame_whatever_the_attempts_say(
    chunks: Sequence[AnyChunk], attempts: Sequence[TaskAttempt], ended: datetime | None
) -> None:
    status: Status = "running" if ended is None else "finished"
    info = RunInfo("r", "a", status, 1, "1-1", Usage(), NOON, NOON, ended_at=ended)

    picture = clocked(picture_of(chunks), AttemptList(attempts, read_at=NOON), info)

    for lane in picture.lanes:
        for bar in bars_of(lane, picture):
            assert bar.x >= 0
            assert bar.width > 0
            assert bar.x + bar.width <= 100.01
        assert lane.summary


def test_a_row_shows_what_its_attempts_did_while_the_log_said_nothing() -> None:
    def after(seconds: float) -> datetime:
        return NOON + timedelta(seconds=seconds)

    def attempt(number: int, **more: Any) -> TaskAttempt:
        return TaskAttempt("r", "1:model", "model", 1, number, **more)

    crashed = attempt(
        1, outcome="crashed", queued_at=NOON, started_at=after(1), ended_at=after(4), worker="w@h"
    )
    following = attempt(2, queued_at=after(5), started_at=after(6))
    info = RunInfo("r", "a", "running", 1, "1-1", Usage(), NOON, NOON)

    picture = clocked(Log().picture, AttemptList([crashed, following], read_at=after(9)), info)

    [model] = picture.lanes
    assert [(span.start, span.end, span.state) for span in model.spans] == [
        (0, 1, "queued"),
        (1, 4, "withdrawn"),
        (4, 5, "waits"),
        (5, 6, "queued"),
        (6, None, "running"),
    ]
    assert model.attempt == 2
    assert "attempt 1 on worker w@h crashed: its lease ran out after 3.0 s" in model.summary
    assert bars_of(model, picture)[-1].is_live
