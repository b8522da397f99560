"""The attempts of a run's tasks, as scripts have kept them: who ran what, when, how it ended."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pydantic_core

from evented_agent.chunks.codec import CHILD_MARK
from evented_agent.ledger.records import KeptAttempts
from evented_agent.state.views import moment


@dataclass(frozen=True, slots=True)
class TaskAttempt:
    """One attempt of a task, from a worker's claim of it to its end; times are of Redis's clock.

    A task is a model call, a tool call, what decides how a step ends, or a hook. One that was
    interrupted or failed has several attempts.

    Attributes:
        run_id: The run, or the child of it.
        task: The task, unique in its run: "1:model", "1:tool:call_7", "1:end", "hook:12", "after".
        kind: "model", "tool", "end", "hook" or "after".
        step: The step that it belongs to: 1, 2, …
        attempt: Which attempt of the task it is: 1, 2, …
        outcome: How it ended: "committed" (what it did is kept), "failed" (its run failed with it),
            "suspended" (it asked a person), "spawned" (a child run answers the call), "retried" (it
            failed, and the task was queued again), "waited" (for its turn, or for a place; the last
            of several in a row), "released" (its worker handed it back, as in a deploy), "crashed"
            (its lease ran out), "timed_out", "aborted", "cancelled" or "dropped" (its run ended, or
            went on, without it). None while it is queued or runs. Other versions may say other
            words.
        reason: More about the outcome, up to 300 bytes: the error of one that was retried or
            failed, why it was released; None for nothing.
        queued_at: Since when it was queued; None for one that a commit went on with at once.
        started_at: When a worker claimed it; None while it is queued.
        ended_at: When it ended; of a crash, when the lease ran out. None before.
        worker: Who ran it: ``<nodename>/<pid>``; None while it is queued.
        celery_id: The id of the Celery task that ran it, as Flower shows it.
        tool_name: The tool that it calls, for a tool call.
        tool_call_id: The call.
    """

    run_id: str
    task: str
    kind: str
    step: int
    attempt: int
    outcome: str | None = None
    reason: str | None = None
    queued_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    worker: str | None = None
    celery_id: str | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None

    @property
    def seconds(self) -> float | None:
        """How long it ran; None where it has not ended."""
        if self.started_at is None or self.ended_at is None:
            return None
        return max(0.0, (self.ended_at - self.started_at).total_seconds())


class AttemptList(list[TaskAttempt]):
    """The attempts of a run: those that have ended, in that order, then those that run or wait.

    *left_out* is how many of those that ended are no longer kept, or cannot be read: a run keeps
    its last 500. Workers of versions before this one kept none, and are not counted. *read_at* is
    the time of Redis's clock at which this was so.
    """

    def __init__(
        self, attempts: Sequence[TaskAttempt] = (), *, left_out: int = 0, read_at: datetime
    ) -> None:
        super().__init__(attempts)
        self.left_out = left_out
        self.read_at = read_at


def attempts_of(kept: KeptAttempts) -> AttemptList:
    """Read what scripts have kept of a run and its children; what cannot be read is left out."""
    ended = list(_readable(kept.run_id, kept.ended))
    above = f"{kept.run_id}{kept.branch}~"
    found = [
        each
        for each in (*ended, *_readable(kept.run_id, kept.live))
        if f"{each.run_id}~".startswith(above)
    ]
    return AttemptList(found, left_out=max(0, kept.total - len(ended)), read_at=moment(kept.now))


def _readable(run_id: str, entries: Sequence[bytes]) -> Iterator[TaskAttempt]:
    for entry in entries:
        try:
            yield _attempt(run_id, pydantic_core.from_json(entry.decode(errors="replace")))
        except (ValueError, TypeError, LookupError, OverflowError, OSError):
            # Damaged, or in the form of a later version.
            continue


def _attempt(run_id: str, entry: Mapping[str, Any]) -> TaskAttempt:
    key, number = str(entry["key"]), int(entry["gen"])
    ran_in = _text(entry, "within") or f"{key}:{number}"
    # The key of a child's task begins with the child.
    branch, _, own = key.partition("/") if key.startswith(CHILD_MARK) else ("", "", key)
    return TaskAttempt(
        run_id=f"{run_id}{branch}",
        task=own,
        kind=str(entry["kind"]),
        step=int(entry["step"]),
        attempt=number,
        outcome=_text(entry, "how"),
        reason=_text(entry, "why"),
        queued_at=_time(entry, "queued"),
        started_at=_time(entry, "began"),
        ended_at=_time(entry, "ended"),
        worker=_text(entry, "owner"),
        celery_id=f"{run_id}:{ran_in}",
        tool_name=_text(entry, "tool"),
        tool_call_id=_text(entry, "call"),
    )


def _text(entry: Mapping[str, Any], name: str) -> str | None:
    found = entry.get(name)
    return found if isinstance(found, str) else None


def _time(entry: Mapping[str, Any], name: str) -> datetime | None:
    found = entry.get(name)
    return moment(int(found)) if isinstance(found, (int, float)) else None
