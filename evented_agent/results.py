"""What people are told of a run: its state now, and its result.  Knows no I/O."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import pydantic_core

from evented_agent.chunks import ErrorInfo, Usage
from evented_agent.ledger.fleet import LiveWorker
from evented_agent.ledger.records import Record, Suspended, Task
from evented_agent.loop import Result, State, Step, fold
from evented_agent.messages import Message, ToolCall, load_messages
from evented_agent.outputs import InvalidOutput, OutputType, partial
from evented_agent.policies import Pending

Status = Literal["queued", "running", "suspended", "finished", "failed", "aborted"]

ENDED = frozenset({"finished", "failed", "aborted"})

#: A task that waits for so long (ms) for a worker is worth a word.
WAITING_MS = 3_000


BackgroundStatus = Literal["pending", "running", "suspended", "completed", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class BackgroundTask:
    """A background call; *task_id* is ``<run id>:<tool call id>``.

    *result* is what a completed one returned, *error* why one failed or was cancelled.
    """

    task_id: str
    run_id: str
    agent: str
    tool_call_id: str
    tool_name: str
    args: Mapping[str, Any]
    status: BackgroundStatus
    step: int
    result: Any = None
    error: ErrorInfo | None = None


@dataclass(frozen=True, slots=True)
class RunInfo:
    """The state of a run at one moment.

    *worker* is ``<nodename>/<pid>`` of a running task; *waiting_for* says what a queued run lacks,
    and how to provide it; *cursor* is the last chunk so far; *pending* are the calls that wait for
    a person.
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

    @property
    def is_ended(self) -> bool:
        return self.status in ENDED


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run came to.

    *text* is all that the agent said, paragraphs kept apart, exactly as a reader of the stream
    ends up with it; *answer* the text of the last step alone. *messages* is the whole
    conversation, input included; *output* the answer as the output type, for agents with one.
    """

    run_id: str
    agent: str
    status: Status
    text: str
    finish_reason: str | None
    usage: Usage
    steps: Sequence[Step] = ()
    messages: Sequence[Message] = field(default_factory=list)
    error: ErrorInfo | None = None
    pending: Sequence[Pending] = ()
    output: Any = None

    @property
    def answer(self) -> str:
        return self.steps[-1].turn.text if self.steps else ""


def info_of(record: Record, workers: Sequence[LiveWorker] = ()) -> RunInfo:
    """Read a record as people want it."""
    fields = record.fields
    running = [task for task in record.tasks if task.state == "running"]
    # Whoever works on the step that is under way comes first.
    running.sort(key=lambda task: task.background == "deferred")
    created = _time(fields["created"])
    assert created is not None
    return RunInfo(
        run_id=record.run_id,
        agent=fields["agent"],
        status=fields["status"],  # type: ignore[arg-type]
        step=int(fields["step"]),
        cursor=record.last_cursor,
        usage=_usage(fields),
        created_at=created,
        updated_at=_time(fields.get("updated")) or created,
        started_at=_time(fields.get("started")),
        ended_at=_time(fields.get("ended")),
        thread_id=fields.get("thread"),
        resource_id=fields.get("resource"),
        worker=running[0].owner if running else None,
        waiting_for=waiting_for(record, workers),
        finish_reason=fields.get("finish_reason"),
        error=_error(fields),
        pending=pending_of(record),
    )


def pending_of(record: Record) -> list[Pending]:
    """The calls of a run that wait for a person, in the model's order."""
    return [
        pending_call(record, task, task.suspended)
        for task in record.tasks
        if task.suspended and task.state == "suspended"
    ]


def pending_call(record: Record, task: Task, held: Suspended) -> Pending:
    """A suspension as people are told of it."""
    asked = pydantic_core.from_json(held.asked)
    since, expires = _time(str(held.at)), _time(str(held.expires))
    assert since is not None
    assert expires is not None
    return Pending(
        run_id=record.run_id,
        agent=record.fields["agent"],
        number=held.number,
        kind=held.kind,  # type: ignore[arg-type]
        tool_call_id=task.call or "",
        tool_name=task.tool or "",
        args=pydantic_core.from_json(task.args),
        since=since,
        expires_at=expires,
        payload=asked.get("payload"),
        resume_schema=asked.get("resumeSchema"),
        thread_id=record.fields.get("thread"),
        resource_id=record.fields.get("resource"),
    )


def result_of(
    record: Record, entries: Iterable[bytes], output_type: OutputType | None = None
) -> RunResult:
    """Fold a record with its journal into a result, partial where the run has not ended."""
    fields = record.fields
    state: State = fold(entries)
    given = load_messages(pydantic_core.from_json(fields["messages"]))
    return RunResult(
        run_id=record.run_id,
        agent=fields["agent"],
        status=fields["status"],  # type: ignore[arg-type]
        text=state.text,
        finish_reason=fields.get("finish_reason"),
        usage=_usage(fields),
        steps=state.steps,
        messages=[*given, *state.messages()],
        error=_error(fields),
        pending=pending_of(record),
        output=_output(fields, state, output_type),
    )


def _output(fields: Mapping[str, str], state: State, output_type: OutputType | None) -> Any:
    """The structured output of a finished run, typed where its type is known here."""
    if fields["status"] != "finished" or not state.steps:
        return None
    answer = state.steps[-1].turn.text
    if output_type is None:
        return partial(answer) if fields.get("output_type") else None
    try:
        return output_type.parse(answer)
    except InvalidOutput:
        # The type has changed since the run finished.
        return partial(answer)


def background_of(record: Record, entries: Iterable[bytes]) -> list[BackgroundTask]:
    """The background calls of a run: the deferred ones, and those that are awaited now."""
    live = {task.call: task for task in record.tasks if task.background is not None}
    found = []
    for step in fold(entries).steps:
        for call in step.turn.calls:
            if call.id in step.deferred or call.id in live:
                result = step.results.get(call.id)
                found.append(_background(record, call, step.number, result, live.get(call.id)))
    return found


def _background(
    record: Record, call: ToolCall, step: int, result: Result | None, task: Task | None
) -> BackgroundTask:
    is_open = result is None or result.is_placeholder
    return BackgroundTask(
        task_id=f"{record.run_id}:{call.id}",
        run_id=record.run_id,
        agent=record.fields["agent"],
        tool_call_id=call.id,
        tool_name=call.name,
        args=call.arguments,
        status=_background_status(result, task),
        step=step,
        result=None if is_open or result is None else result.result,
        error=result.error if result is not None else None,
    )


def _background_status(result: Result | None, task: Task | None) -> BackgroundStatus:
    if result is None or result.is_placeholder:
        if task is None:
            # The run has ended, and nobody waits for the call any more.
            return "cancelled"
        states: dict[str, BackgroundStatus] = {"running": "running", "suspended": "suspended"}
        return states.get(task.state, "pending")
    if result.error is None and result.denied is None:
        return "completed"
    is_cancelled = result.error is not None and result.error.name in ("Cancelled", "Dropped")
    return "cancelled" if is_cancelled else "failed"


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
    agent, queue = fields["agent"], fields["queue"]
    here = [worker for worker in workers if queue in worker.queues]
    start = f"start one with: evented-agent worker -A YOUR_APP -Q {queue}"
    if not here:
        return f"a worker for queue {queue!r}; {start}"
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


def _waits(record: Record, task: Task) -> bool:
    """Whether nobody takes a queued task, or nobody notices that a running one's worker died."""
    if task.state == "running":
        return record.now - task.lease > WAITING_MS
    if task.state != "queued" or task.not_before is not None:
        return False
    return record.now - task.queued_at > WAITING_MS


def _time(ms: str | None) -> datetime | None:
    return None if ms is None else datetime.fromtimestamp(int(ms) / 1000, UTC)


def _usage(fields: Mapping[str, str]) -> Usage:
    return Usage(**pydantic_core.from_json(fields.get("usage", "{}")))


def _error(fields: Mapping[str, str]) -> ErrorInfo | None:
    stored = fields.get("error")
    return None if stored is None else ErrorInfo(**pydantic_core.from_json(stored))
