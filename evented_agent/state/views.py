"""Parts of a run as users see them: completed steps, calls that wait for a person."""

from datetime import UTC, datetime

import pydantic_core

from evented_agent.agents.callbacks import StepInfo
from evented_agent.agents.tools.approvals import Pending
from evented_agent.ledger.records import Record, SuspensionRecord, Task
from evented_agent.models.messages import ToolMessage
from evented_agent.state.fold import State


def step_info(state: State) -> StepInfo:
    """The last step as stop conditions see it."""
    last = state.steps[-1]
    results = [message for message in state.messages() if isinstance(message, ToolMessage)]
    return StepInfo(
        step=last.number,
        text=last.turn.text,
        tool_calls=list(last.turn.calls),
        results=[message for message in results if message.tool_call_id in last.results],
        usage=last.turn.usage,
        total_usage=state.usage,
        finish_reason=last.turn.reason,
    )


def pending_of(record: Record) -> list[Pending]:
    """The calls of a run that wait for a person, in the model's order."""
    return [
        pending_call(record, task, task.suspended)
        for task in record.tasks
        if task.suspended and task.state == "suspended"
    ]


def pending_call(record: Record, task: Task, held: SuspensionRecord) -> Pending:
    """A suspension as people are told of it."""
    asked = pydantic_core.from_json(held.asked)
    since, expires = time_of(str(held.at)), time_of(str(held.expires))
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


def time_of(ms: str | None) -> datetime | None:
    return None if ms is None else datetime.fromtimestamp(int(ms) / 1000, UTC)
