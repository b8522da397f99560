"""The result of a run, folded from its record and journal."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, Generic, Literal

from evented_agent.agents.callbacks import StepInfo
from evented_agent.agents.generics import Out
from evented_agent.agents.output_types import InvalidOutput, OutputType, partial
from evented_agent.agents.tools.approvals import CallDecision, Pending
from evented_agent.chunks import ErrorInfo, Usage
from evented_agent.ledger.keys import split_child
from evented_agent.ledger.records import Record, Task
from evented_agent.models.cost import Cost
from evented_agent.models.messages import Message, ToolCall
from evented_agent.state.fold import State, fold
from evented_agent.state.journal import Result, load_entry
from evented_agent.state.run_info import Status, _error, _input, run_cost, run_usage
from evented_agent.state.views import decisions_of, pending_of, step_infos

BackgroundStatus = Literal["pending", "running", "suspended", "completed", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class BackgroundTask:
    """A tool call that runs in the background, and what has become of it.

    Attributes:
        task_id: Names the call in all runs, ``<run id>:<tool call id>``: what `cancel` takes.
        run_id: The run that it belongs to.
        agent: The id of the run's agent.
        tool_call_id: Names the call within its run.
        tool_name: The tool that is called.
        arguments: What it is called with.
        status: "pending" (for a place, or a worker), "running", "suspended" (it waits for a
            person), "completed", "failed" or "cancelled".
        step: The step in which the model asked for it: 1, 2, …
        result: What a completed one returned, as JSON.
        error: Why one failed or was cancelled.
    """

    task_id: str
    run_id: str
    agent: str
    tool_call_id: str
    tool_name: str
    arguments: Mapping[str, Any]
    status: BackgroundStatus
    step: int
    result: Any = None
    error: ErrorInfo | None = None


# Without slots: in Python 3.11, frozen classes with them cannot be made as RunResult[Invoice](…).
@dataclass(frozen=True)
class RunResult(Generic[Out]):
    """What a run came to; partial where it has not finished.

    Attributes:
        run_id: The run.
        agent: The agent's id.
        status: "finished", "failed" or "aborted"; "queued", "running" or "suspended" where it goes
            on.
        text: All that the agent said, paragraphs kept apart, exactly as a reader of the stream ends
            up with it.
        finish_reason: Why it ended: "stop", "length", "tool-calls" at ``max_steps``, "deadline" …;
            None where it goes on.
        usage: The tokens of the whole run.
        steps: Its steps, in their order.
        messages: The whole conversation, the run's input included.
        error: Why it failed.
        pending: The calls that wait for a person, where it is suspended.
        decisions: What was decided about calls that waited, when and by whom, the oldest first.
        cost: What its model calls cost, the whole run's; None where nothing was priced.
        output: The answer of a finished run as the agent's output type, where this process has the
            agent's code, elsewhere as JSON; None for an agent without one.
    """

    run_id: str
    agent: str
    status: Status
    text: str
    finish_reason: str | None
    usage: Usage
    steps: Sequence[StepInfo] = ()
    messages: Sequence[Message] = field(default_factory=list)
    error: ErrorInfo | None = None
    pending: Sequence[Pending] = ()
    output: Out = None  # type: ignore[assignment]
    decisions: Sequence[CallDecision] = ()
    cost: Cost | None = None

    @property
    def answer(self) -> str:
        """The text of the last step alone; empty where there is none."""
        return self.steps[-1].text if self.steps else ""


def result_of(
    record: Record, entries: Iterable[bytes], output_type: OutputType | None = None
) -> RunResult:
    """Fold a record with its journal into a result, partial where the run has not ended."""
    fields = record.fields
    state = _told(record, entries)
    return RunResult(
        run_id=record.run_id,
        agent=fields["agent"],
        status=fields["status"],  # type: ignore[arg-type]
        text=state.text,
        finish_reason=fields.get("finish_reason"),
        usage=run_usage(fields),
        steps=step_infos(state),
        messages=[*_input(fields.get("messages", "[]")), *state.messages()],
        error=_error(fields),
        pending=pending_of(record),
        output=_output(fields, state, output_type),
        decisions=decisions_of(record),
        cost=run_cost(fields),
    )


def _told(record: Record, entries: Iterable[bytes]) -> State:
    """What the journal tells; up to what is damaged of it, where the result is partial anyway."""
    told = list(entries)
    if record.fields["status"] != "finished":
        told = list(takewhile(_is_readable, told))
    return fold(told)


def _is_readable(entry: bytes) -> bool:
    try:
        load_entry(entry)
    except ValueError:
        return False
    return True


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


def background_tasks_of(record: Record, entries: Iterable[bytes]) -> list[BackgroundTask]:
    """The background calls of a run: the deferred ones, and those that are awaited now."""
    live = {task.call: task for task in record.tasks if task.background is not None}
    found = []
    for step in _told(record, entries).steps:
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
        # Of a tree, as its chunks have it: the call's id names the child.
        task_id=f"{split_child(record.run_id)[0]}:{call.id}",
        run_id=record.run_id,
        agent=record.fields["agent"],
        tool_call_id=call.id,
        tool_name=call.name,
        arguments=call.arguments,
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
        states: dict[str, BackgroundStatus] = {
            "running": "running",
            "child": "running",
            "suspended": "suspended",
        }
        return states.get(task.state, "pending")
    if result.error is None and result.denied is None:
        return "completed"
    is_cancelled = result.error is not None and result.error.name in ("Cancelled", "Dropped")
    return "cancelled" if is_cancelled else "failed"
