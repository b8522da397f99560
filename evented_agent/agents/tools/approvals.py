"""Tool calls that wait for a person: what is asked, and who decides that somebody is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

PendingKind = Literal["approval", "suspension", "crash"]


@dataclass(frozen=True, slots=True)
class Pending:
    """A call that waits for a person.

    *kind* is "approval" (not begun), "suspension" (its tool asks *payload*) or "crash" (its worker
    is gone); *number* names this very suspension, *resume_schema* is the JSON schema of the answer.
    *args* is empty where it is very large; the chunk has it.
    """

    run_id: str
    agent: str
    number: int
    kind: PendingKind
    tool_call_id: str
    tool_name: str
    args: Mapping[str, Any]
    since: datetime
    expires_at: datetime
    payload: Any = None
    resume_schema: Mapping[str, Any] | None = None
    thread_id: str | None = None
    resource_id: str | None = None


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """A call that an approval policy is asked about, its arguments already checked."""

    run_id: str
    tool_call_id: str
    tool_name: str
    arguments: Mapping[str, Any]
    context: Any = None
    thread_id: str | None = None
    resource_id: str | None = None


#: True where a person must approve the call.
ApprovalPolicy = Callable[[ApprovalRequest], bool]
