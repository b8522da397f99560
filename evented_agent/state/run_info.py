"""The state of a run now, as its record tells it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import pydantic_core

from evented_agent.agents.tools.approvals import CallDecision, Pending
from evented_agent.chunks import ErrorInfo, Usage
from evented_agent.ledger.child_records import status_of
from evented_agent.ledger.records import ENDED, Record, Task
from evented_agent.ledger.settings import Settings
from evented_agent.ledger.workers import LiveWorker
from evented_agent.models.cost import Cost, cost_in, without_costs
from evented_agent.models.messages import MOST_SHORT, Message, load_messages, text_in
from evented_agent.state.views import decisions_of, moment, pending_of, time_of

Status = Literal["queued", "running", "suspended", "finished", "failed", "aborted"]

#: A task that waits for so long (ms) for a worker is worth a word.
WAITING_MS = 3_000
#: Stands for a user's module in commands that messages show.
MODULE = "MODULE"


@dataclass(frozen=True, slots=True)
class ChildInfo:
    """A child run: a run of an agent that another one has called.

    Attributes:
        run_id: The child: the id of the run that was started, ``~`` and a number for each level.
        agent: Its agent's id.
        status: As that of a run.
        usage: The tokens so far, those of its own children included.
        tool_call_id: The call that it answers, in the run whose id its own begins with.
        cost: What its model calls have cost so far, those of its own children included; None where
            nothing was priced.
    """

    run_id: str
    agent: str
    status: Status
    usage: Usage
    tool_call_id: str
    cost: Cost | None = None


@dataclass(frozen=True, slots=True)
class RunInfo:
    """The state of a run at one moment; all times are in UTC, of the clock of Redis.

    Attributes:
        run_id: The run.
        agent: The agent's id.
        status: "queued" (nothing of it is executed), "running", "suspended" (it waits for a
            person), "finished", "failed" or "aborted".
        step: The step that is under way, or was the last: 1, 2, …
        cursor: The last chunk so far: ``observe(run_id, after=cursor)`` shows what follows.
        usage: The tokens so far.
        created_at: When `stream` was called.
        updated_at: When something was last recorded of it.
        started_at: When a worker first took it; None before.
        ended_at: When it finished, failed or was aborted; None before.
        thread_id: The conversation that it belongs to, if that was given.
        resource_id: Whose run it is, if that was given.
        worker: Who works on it: ``<nodename>/<pid>``; None for nobody.
        waiting_for: What a queued run lacks, and how to provide it, for people, or which model is
            asked again later, and why; None where a worker should take it.
        finish_reason: Why it ended: "stop", "length", "tool-calls" at ``max_steps``, "deadline" …
        error: Why it failed.
        pending: The calls that wait for a person.
        decisions: What was decided about calls that waited, when and by whom, the oldest first.
        asked: What the last message of its input says, up to 200 characters.
        input: The messages that it was given, all of them from its first moment on, however long;
            lists of runs leave it out.
        metadata: What its caller wanted to find again with it.
        acting: The id of the agent that it was handed over to; None while its own goes on.
        inbox: The ids of messages to it that no completed model call has had, in their order.
        children: The runs of agents that it has called, and those below them.
        parent_id: The run that a child run belongs to; None for one that was started.
        cost: What its completed model calls have cost so far, those of its children included; None
            where nothing was priced.
    """

    run_id: str
    agent: str
    status: Status
    step: int
    cursor: str
    usage: Usage
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    thread_id: str | None = None
    resource_id: str | None = None
    worker: str | None = None
    waiting_for: str | None = None
    finish_reason: str | None = None
    error: ErrorInfo | None = None
    pending: Sequence[Pending] = ()
    decisions: Sequence[CallDecision] = ()
    asked: str = ""
    input: Sequence[Message] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    acting: str | None = None
    inbox: Sequence[str] = ()
    children: Sequence[ChildInfo] = ()
    parent_id: str | None = None
    cost: Cost | None = None

    @property
    def is_ended(self) -> bool:
        """Whether it finished, failed or was aborted."""
        return self.status in ENDED


def worker_command(module: str = MODULE, queue: str | None = None) -> str:
    """The command that starts a worker, as all messages spell it."""
    on = "" if queue in (None, Settings().queue) else f" -Q {queue}"
    return f"evented-agent worker -A {module}{on}"


def info_of(
    record: Record, workers: Sequence[LiveWorker] = (), *, has_input: bool = False
) -> RunInfo:
    """Read a record as people want it."""
    fields = record.fields
    running = [task for task in record.tasks if task.state == "running"]
    # Whoever works on the step that is under way comes first.
    running.sort(key=lambda task: task.background == "deferred")
    updated = _time_in(fields, "updated")
    created = _time_in(fields, "created") or updated or moment(0)
    return RunInfo(
        run_id=record.run_id,
        agent=fields["agent"],
        status=fields["status"],  # type: ignore[arg-type]
        step=number_in(fields, "step"),
        cursor=record.last_cursor,
        usage=run_usage(fields),
        created_at=created,
        updated_at=updated or created,
        started_at=_time_in(fields, "started"),
        ended_at=_time_in(fields, "ended"),
        thread_id=fields.get("thread"),
        resource_id=fields.get("resource"),
        worker=running[0].owner if running else None,
        waiting_for=waiting_for(record, workers),
        finish_reason=fields.get("finish_reason"),
        error=_error(fields),
        pending=pending_of(record),
        decisions=decisions_of(record),
        asked=_asked(fields.get("messages", "[]")),
        input=_input(fields.get("messages", "[]")) if has_input else (),
        metadata=_metadata(fields.get("metadata", "{}")),
        acting=fields.get("acting"),
        inbox=_inbox(fields.get("inbox", "[]")),
        children=[_child(record, run_id) for run_id in record.children],
        parent_id=fields.get("parent"),
        cost=run_cost(fields),
    )


def number_in(fields: Mapping[str, str], name: str) -> int:
    """A number of a record; 0 where there is none, or it is damaged."""
    try:
        return int(fields.get(name, 0))
    except ValueError:
        # The rest of the record is readable.
        return 0


def _time_in(fields: Mapping[str, str], name: str) -> datetime | None:
    """A time of a record; None where there is none, or it is damaged."""
    try:
        return time_of(fields.get(name))
    except (ValueError, OverflowError, OSError):
        # The rest of the record is readable.
        return None


def _child(record: Record, run_id: str) -> ChildInfo:
    stored = record.children[run_id]
    return ChildInfo(
        run_id=run_id,
        agent=str(stored["agent"]),
        status=status_of(record, run_id),  # type: ignore[arg-type]
        usage=run_usage(stored),
        tool_call_id=str(stored["call"]),
        cost=run_cost(stored),
    )


def is_waiting(record: Record) -> bool:
    """Whether a task of the run has been queued for so long that a worker may be missing."""
    return any(_waits(record, task) for task in record.tasks)


def waiting_for(record: Record, workers: Sequence[LiveWorker]) -> str | None:
    """What a queued run lacks, as a sentence; None where a worker should take it."""
    turn = (task.waits_for for task in record.tasks if task.state == "queued")
    waits_for = next(filter(None, turn), None)
    return _missing(record, workers) if waits_for is None and is_waiting(record) else waits_for


def _missing(record: Record, workers: Sequence[LiveWorker]) -> str | None:
    """What a run lacks whose task nobody takes."""
    fields = record.fields
    agent, queue = fields.get("acting") or fields["agent"], fields["queue"]
    here = [worker for worker in workers if queue in worker.queues]
    start = f"start one with: {worker_command(queue=queue)}"
    if not here:
        return f"a worker for queue {queue!r}{_elsewhere(workers, agent, queue)}; {start}"
    serving = [worker for worker in here if agent in worker.agents]
    if not serving:
        return (
            f"a worker that serves agent {agent!r} (those on queue {queue!r} do not); "
            "import the agent in the module that your worker loads"
        )
    if not any(worker.format >= int(fields["v"]) for worker in serving):
        return f"a worker of a newer version (the run has format {fields['v']}); upgrade a worker"
    if all(worker.busy >= worker.slots for worker in serving):
        return f"a free slot ({sum(worker.slots for worker in serving)} are busy)"
    return None


def _elsewhere(workers: Sequence[LiveWorker], agent: str, queue: str) -> str:
    """What the workers that there are do instead."""
    if not workers:
        return ""
    able = [worker for worker in workers if agent in worker.agents]
    queues = sorted({queue for worker in able or workers for queue in worker.queues})
    consumed = ", ".join(map(repr, queues)) or "no queue"
    if able:
        names = ", ".join(worker.node for worker in able[:3])
        return f" ({names} has agent {agent!r}, and consumes {consumed}: it lacks -Q {queue})"
    return f" (those that live consume {consumed})"


def _waits(record: Record, task: Task) -> bool:
    """Whether nobody takes a queued task, or nobody notices that a running one's worker died."""
    if task.state == "running":
        return record.now - task.lease > WAITING_MS
    if task.state != "queued" or task.not_before is not None:
        return False
    return record.now - task.queued_at > WAITING_MS


def _asked(stored: str) -> str:
    """The first words of the input's last message."""
    try:
        return text_in(pydantic_core.from_json(stored)[-1])[:MOST_SHORT]
    except (ValueError, LookupError, TypeError, AttributeError):
        # Nothing was asked, or another version wrote it.
        return ""


def _input(stored: str) -> Sequence[Message]:
    try:
        return load_messages(pydantic_core.from_json(stored))
    except (ValueError, TypeError):
        # Damaged, or in the form of a later version: the rest of the record is readable.
        return ()


def _metadata(stored: str) -> Mapping[str, Any]:
    try:
        found = pydantic_core.from_json(stored)
    except ValueError:
        # Damaged: the rest of the record is readable.
        return {}
    return found if isinstance(found, dict) else {}


def _inbox(stored: str) -> Sequence[str]:
    """The ids in ``[[index, id, held], …]``; an empty list is ``{}`` where a script wrote it."""
    try:
        return [_message_id(each) for each in pydantic_core.from_json(stored)]
    except (ValueError, TypeError):
        # Damaged: the rest of the record is readable.
        return ()


def _message_id(waiting: Any) -> str:
    _, message_id, _ = waiting
    if not isinstance(message_id, str):
        raise TypeError(message_id)
    return message_id


def run_usage(fields: Mapping[str, str]) -> Usage:
    """The tokens of a run, from its record."""
    return Usage(**without_costs(_counts(fields)))


def run_cost(fields: Mapping[str, str]) -> Cost | None:
    """What a run has cost, from its record; None where nothing was priced."""
    return cost_in(_counts(fields))


def _counts(fields: Mapping[str, str]) -> Mapping[str, Any]:
    try:
        found = pydantic_core.from_json(fields.get("usage", "{}"))
    except ValueError:
        # Damaged: the rest of the record is readable.
        return {}
    return found if isinstance(found, dict) else {}


def _error(fields: Mapping[str, str]) -> ErrorInfo | None:
    stored = fields.get("error")
    if stored is None:
        return None
    try:
        return ErrorInfo(**pydantic_core.from_json(stored))
    except (ValueError, TypeError):
        # Damaged: the status tells that there was one.
        return None
