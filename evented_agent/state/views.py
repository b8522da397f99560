"""Parts of a run as users see them: completed steps, calls that wait for a person."""

import contextlib
import operator
from datetime import UTC, datetime
from itertools import accumulate

import pydantic_core

from evented_agent.agents.callbacks import StepInfo
from evented_agent.agents.tools.approvals import CallDecision, Pending
from evented_agent.chunks import Usage
from evented_agent.ledger.records import Record, SuspensionRecord, Task
from evented_agent.ledger.replies import DAMAGED
from evented_agent.state.fold import State, Step


def step_info(state: State) -> StepInfo:
    """The last step as stop conditions see it."""
    return _step_info(state.steps[-1], state.usage)


def step_infos(state: State) -> list[StepInfo]:
    """All steps of a run, each with what had been used by its end."""
    totals = accumulate((step.usage for step in state.steps), operator.add)
    return [_step_info(step, total) for step, total in zip(state.steps, totals, strict=True)]


def _step_info(step: Step, total: Usage) -> StepInfo:
    return StepInfo(
        step=step.number,
        text=step.turn.text,
        tool_calls=list(step.turn.calls),
        results=step.tool_messages(),
        usage=step.turn.usage,
        total_usage=total,
        finish_reason=step.turn.reason,
        reasoning=step.turn.reasoning,
        model=step.turn.model,
        cost=step.turn.cost,
    )


def pending_of(record: Record) -> list[Pending]:
    """The calls of a run that wait for a person, in the model's order; those that can be read."""
    found: list[Pending] = []
    for task in record.tasks:
        if task.suspended and task.state == "suspended":
            with contextlib.suppress(*DAMAGED):
                found.append(pending_call(record, task, task.suspended))
    return found


def pending_call(record: Record, task: Task, held: SuspensionRecord) -> Pending:
    """A suspension as people are told of it."""
    asked = pydantic_core.from_json(held.asked)
    since, expires = time_of(str(held.at)), time_of(str(held.expires))
    assert since is not None
    assert expires is not None
    return Pending(
        run_id=record.run_id,
        agent=str(record.children.get(task.own_run_id, record.fields)["agent"]),
        number=held.number,
        kind=held.kind,  # type: ignore[arg-type]
        tool_call_id=task.call or "",
        tool_name=task.tool or "",
        arguments=pydantic_core.from_json(task.args),
        since=since,
        expires_at=expires,
        payload=asked.get("payload"),
        resume_schema=asked.get("resumeSchema"),
        thread_id=record.fields.get("thread"),
        resource_id=record.fields.get("resource"),
    )


def decisions_of(record: Record) -> list[CallDecision]:
    """What was decided about calls of the run, the oldest first; older versions kept less."""
    found: list[CallDecision] = []
    for stored in record.decided:
        with contextlib.suppress(*DAMAGED):
            found.append(decision_in(stored))
    return sorted(found, key=lambda each: (each.at, each.number))


def decision_in(stored: bytes) -> CallDecision:
    told = pydantic_core.from_json(stored)
    at = time_of(str(told["at"]))
    assert at is not None
    return CallDecision(
        number=int(told["n"]),
        tool_call_id=told["toolCallId"],
        tool_name=told["toolName"],
        decision=told["decision"],
        at=at,
        approved=told.get("approved"),
        by=told.get("by"),
        reason=told.get("reason"),
    )


def time_of(ms: str | None) -> datetime | None:
    return None if ms is None else moment(int(ms))


def moment(ms: int) -> datetime:
    """A time of the Redis clock."""
    return datetime.fromtimestamp(ms / 1000, UTC)
