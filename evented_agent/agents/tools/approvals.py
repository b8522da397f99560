"""Tool calls that wait for a person: what is asked, and who decides that somebody is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

PendingKind = Literal["approval", "suspension", "crash"]


@dataclass(frozen=True, slots=True)
class Pending:
    """A tool call that waits for a person: to be approved, answered, or decided after a crash.

    Attributes:
        run_id: The run that it belongs to.
        agent: The id of the run's agent.
        number: Names this very suspension: a call that asks twice has two. It is the `seq` of the
            chunk that asks.
        kind: "approval" (the call has not begun), "suspension" (its tool asks *payload*) or "crash"
            (its worker is gone).
        tool_call_id: Names the call within its run.
        tool_name: The tool that is called.
        arguments: What the model wants it called with; empty where they are very large, then the
            chunk has them.
        since: When it began to wait, in UTC.
        expires_at: When it counts as declined, or fails its run, in UTC.
        payload: What the tool asks, as JSON. None for an approval, unless it was approved before
            and no longer fits its tool: then the *reason*.
        resume_schema: The JSON schema of the answer, where the tool gave one.
        thread_id: The conversation of the run, if it has one.
        resource_id: Whose run it is, if that was given.
    """

    run_id: str
    agent: str
    number: int
    kind: PendingKind
    tool_call_id: str
    tool_name: str
    arguments: Mapping[str, Any]
    since: datetime
    expires_at: datetime
    payload: Any = None
    resume_schema: Mapping[str, Any] | None = None
    thread_id: str | None = None
    resource_id: str | None = None


@dataclass(frozen=True, slots=True)
class CallDecision:
    """What was decided about a call that waited for a person, when, and by whom.

    Attributes:
        number: The suspension that it is about: the `number` of what was pending.
        tool_call_id: Names the call within its run.
        tool_name: The tool that is called.
        decision: "approved", "declined", "answered" (its question); "rerun", "failed" or "settled"
            (with a given result) after a crash; "expired" where nobody decided in time.
        at: When it was decided, in UTC.
        approved: Whether the call may run; None where something else was asked.
        by: Who decided, if that was given.
        reason: Why, as far as it was given; its first 1,000 characters.
    """

    number: int
    tool_call_id: str
    tool_name: str
    decision: str
    at: datetime
    approved: bool | None = None
    by: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """A tool call that may have to be approved, as ``requires_approval`` functions see it.

    Attributes:
        run_id: The run that it belongs to.
        tool_call_id: Names the call within its run.
        tool_name: The tool that is called.
        arguments: What the model wants it called with, as JSON; they fit the tool.
        context: The JSON value that `stream` was given.
        thread_id: The conversation of the run, if it has one.
        resource_id: Whose run it is, if that was given.
    """

    run_id: str
    tool_call_id: str
    tool_name: str
    arguments: Mapping[str, Any]
    context: Any = None
    thread_id: str | None = None
    resource_id: str | None = None


#: True where a person must approve the call.
ApprovalPolicy = Callable[[ApprovalRequest], bool]
