"""Chunks of tool calls: their arguments, results, errors, and questions to people."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from evented_agent.chunks.base import Chunk, ErrorInfo, Payload


class ToolInputPayload(Payload):
    tool_call_id: str
    tool_name: str


class ToolCallInputStart(Chunk):
    type: Literal["tool-call-input-streaming-start"] = "tool-call-input-streaming-start"
    payload: ToolInputPayload


class ToolInputDeltaPayload(Payload):
    tool_call_id: str
    args_text_delta: str


class ToolCallDelta(Chunk):
    type: Literal["tool-call-delta"] = "tool-call-delta"
    payload: ToolInputDeltaPayload


class ToolInputEndPayload(Payload):
    tool_call_id: str


class ToolCallInputEnd(Chunk):
    closes: ClassVar[type[Chunk] | None] = ToolCallInputStart
    type: Literal["tool-call-input-streaming-end"] = "tool-call-input-streaming-end"
    payload: ToolInputEndPayload


class ToolCallPayload(Payload):
    tool_call_id: str
    tool_name: str
    args: dict[str, Any]


class ToolCallRequested(Chunk):
    type: Literal["tool-call"] = "tool-call"
    payload: ToolCallPayload


class ToolAskPayload(Payload):
    """A call that waits for a person.

    Where it was not approved yet, *args* are what the model wants; where its tool suspended it,
    *suspend_payload* is what the tool asks, and *resume_schema* the JSON schema of the answer.
    """

    tool_call_id: str
    tool_name: str
    args: dict[str, Any] = Field(default_factory=dict)
    suspend_payload: Any = None
    resume_schema: dict[str, Any] | None = None


class ToolCallApproval(Chunk):
    asks_person: ClassVar[bool] = True
    may_be_last: ClassVar[bool] = True
    type: Literal["tool-call-approval"] = "tool-call-approval"
    payload: ToolAskPayload


class ToolCallSuspended(Chunk):
    asks_person: ClassVar[bool] = True
    may_be_last: ClassVar[bool] = True
    type: Literal["tool-call-suspended"] = "tool-call-suspended"
    payload: ToolAskPayload


class Approval(Payload):
    """A decision that a call must not run."""

    approved: bool = False
    reason: str | None = None
    by: str | None = None


class ToolDeniedPayload(Payload):
    tool_call_id: str
    tool_name: str
    approval: Approval


class ToolOutputDenied(Chunk):
    may_be_last: ClassVar[bool] = True
    type: Literal["tool-output-denied"] = "tool-output-denied"
    payload: ToolDeniedPayload


class ToolOutputPayload(Payload):
    tool_call_id: str
    tool_name: str
    output: Any


class ToolOutput(Chunk):
    type: Literal["tool-output"] = "tool-output"
    payload: ToolOutputPayload


class ToolResultPayload(Payload):
    tool_call_id: str
    tool_name: str
    result: Any = None


class ToolResult(Chunk):
    may_be_last: ClassVar[bool] = True
    type: Literal["tool-result"] = "tool-result"
    payload: ToolResultPayload


class ToolErrorPayload(Payload):
    tool_call_id: str
    tool_name: str
    error: ErrorInfo


class ToolError(Chunk):
    may_be_last: ClassVar[bool] = True
    type: Literal["tool-error"] = "tool-error"
    payload: ToolErrorPayload
