"""Chunks of tool calls: their arguments, results, errors, and questions to people.

`arguments` is ``args`` on the wire, as web clients read it.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from evented_agent.chunks.base import Chunk, ErrorInfo, Payload


class ToolInputPayload(Payload):
    """Which call begins.

    Attributes:
        tool_call_id: Names the call within its run.
        tool_name: The tool that the model calls.
    """

    tool_call_id: str
    tool_name: str


class ToolCallInputStart(Chunk):
    """The model begins to write the arguments of a tool call.

    Attributes:
        type: "tool-call-input-streaming-start".
        payload: Which call, of which tool.
    """

    type: Literal["tool-call-input-streaming-start"] = "tool-call-input-streaming-start"
    payload: ToolInputPayload


class ToolInputDeltaPayload(Payload):
    """More of the arguments that a model writes.

    Attributes:
        tool_call_id: The call that they belong to.
        arguments_text_delta: What is added to the JSON text; ``argsTextDelta`` on the wire.
    """

    tool_call_id: str
    arguments_text_delta: Annotated[str, Field(alias="argsTextDelta")]


class ToolCallDelta(Chunk):
    """More of the JSON text of a call's arguments.

    Attributes:
        type: "tool-call-delta".
        payload: The call, and what is added to its text.
    """

    type: Literal["tool-call-delta"] = "tool-call-delta"
    payload: ToolInputDeltaPayload


class ToolInputEndPayload(Payload):
    """Which call's arguments are complete.

    Attributes:
        tool_call_id: Names the call within its run.
    """

    tool_call_id: str


class ToolCallInputEnd(Chunk):
    """The arguments of a call are complete as text; `tool-call` follows with the parsed ones.

    Attributes:
        type: "tool-call-input-streaming-end".
        payload: Which call.
    """

    closes: ClassVar[type[Chunk] | None] = ToolCallInputStart
    type: Literal["tool-call-input-streaming-end"] = "tool-call-input-streaming-end"
    payload: ToolInputEndPayload


class ToolCallPayload(Payload):
    """A call that the model makes.

    Attributes:
        tool_call_id: Names the call within its run.
        tool_name: The tool that is called.
        arguments: What the model wants it called with; ``args`` on the wire.
    """

    tool_call_id: str
    tool_name: str
    arguments: Annotated[dict[str, Any], Field(alias="args")]


class ToolCallRequested(Chunk):
    """The model's answer is complete and asks for a tool call, which is about to be made.

    Attributes:
        type: "tool-call".
        payload: The call.
    """

    type: Literal["tool-call"] = "tool-call"
    payload: ToolCallPayload


class ToolAskPayload(Payload):
    """A call that waits for a person.

    Attributes:
        tool_call_id: Names the call within its run.
        tool_name: The tool that is called.
        arguments: What the model wants it called with; ``args`` on the wire.
        suspend_payload: What the tool asks, as JSON; None for an approval.
        resume_schema: The JSON schema of the answer, where the tool gave one.
    """

    tool_call_id: str
    tool_name: str
    arguments: Annotated[dict[str, Any], Field(alias="args", default_factory=dict)]
    suspend_payload: Any = None
    resume_schema: dict[str, Any] | None = None


class ToolCallApproval(Chunk):
    """A call waits until a person approves or declines it.

    Attributes:
        type: "tool-call-approval".
        payload: The call; the chunk's `seq` is the `number` of what waits.
    """

    asks_person: ClassVar[bool] = True
    may_be_last: ClassVar[bool] = True
    type: Literal["tool-call-approval"] = "tool-call-approval"
    payload: ToolAskPayload


class ToolCallSuspended(Chunk):
    """A tool asks something, and waits until somebody resumes the call with the answer.

    Attributes:
        type: "tool-call-suspended".
        payload: The call and its question; the chunk's `seq` is the `number` of what waits.
    """

    asks_person: ClassVar[bool] = True
    may_be_last: ClassVar[bool] = True
    type: Literal["tool-call-suspended"] = "tool-call-suspended"
    payload: ToolAskPayload


class Approval(Payload):
    """A decision that a call must not run.

    Attributes:
        approved: False.
        reason: What the model is told; None where nothing was given.
        by: Who decided, if that was given.
    """

    approved: bool = False
    reason: str | None = None
    by: str | None = None


class ToolDecidedPayload(Payload):
    """What was decided about a call that waited for a person.

    Attributes:
        tool_call_id: Names the call within its run.
        tool_name: The tool that is called.
        decision: "approved", "declined", "answered" (its question); "rerun", "failed" or "settled"
            (with a given result) after a crash; "expired" where nobody decided in time.
        approved: Whether the call may run; None where something else was asked.
        by: Who decided, if that was given.
        reason: Why, as far as it was given; its first 1,000 characters.
        number: `Pending.number` of what waited; None where an older version has written it.
    """

    tool_call_id: str
    tool_name: str
    decision: str
    approved: bool | None = None
    by: str | None = None
    reason: str | None = None
    number: int | None = None


class ToolCallDecided(Chunk):
    """A person has decided about a call that waited, or the time for that is over.

    What follows from it comes after it. It belongs to no task, so it is never withdrawn.

    Attributes:
        type: "tool-call-decided".
        payload: The call, what was decided, and by whom.
    """

    type: Literal["tool-call-decided"] = "tool-call-decided"
    payload: ToolDecidedPayload


class ToolDeniedPayload(Payload):
    """A call that was declined.

    Attributes:
        tool_call_id: Names the call within its run.
        tool_name: The tool that is not called.
        approval: The decision.
    """

    tool_call_id: str
    tool_name: str
    approval: Approval


class ToolOutputDenied(Chunk):
    """A person declined the call, or nobody decided in time; the model is told.

    Attributes:
        type: "tool-output-denied".
        payload: The call and the decision.
    """

    may_be_last: ClassVar[bool] = True
    type: Literal["tool-output-denied"] = "tool-output-denied"
    payload: ToolDeniedPayload


class ToolOutputPayload(Payload):
    """What a running tool emitted.

    Attributes:
        tool_call_id: Names the call within its run.
        tool_name: The tool that runs.
        output: What was given to ``ctx.emit``, as JSON.
    """

    tool_call_id: str
    tool_name: str
    output: Any


class ToolOutput(Chunk):
    """News from a tool that is running; the model does not see it.

    Attributes:
        type: "tool-output".
        payload: The call, and what it emitted.
    """

    type: Literal["tool-output"] = "tool-output"
    payload: ToolOutputPayload


class ToolResultPayload(Payload):
    """What a tool returned.

    Attributes:
        tool_call_id: Names the call within its run.
        tool_name: The tool that was called.
        result: What it returned, as JSON.
    """

    tool_call_id: str
    tool_name: str
    result: Any = None


class ToolResult(Chunk):
    """A tool has returned; the model sees the result in the next step.

    Attributes:
        type: "tool-result".
        payload: The call and its result.
    """

    may_be_last: ClassVar[bool] = True
    type: Literal["tool-result"] = "tool-result"
    payload: ToolResultPayload


class ToolErrorPayload(Payload):
    """Why a call failed.

    Attributes:
        tool_call_id: Names the call within its run.
        tool_name: The tool that was called.
        error: What the model is told: the exception's class name and its text.
    """

    tool_call_id: str
    tool_name: str
    error: ErrorInfo


class ToolError(Chunk):
    """A call has failed, its retries used up; the model is told, and the run goes on.

    Attributes:
        type: "tool-error".
        payload: The call and its error.
    """

    may_be_last: ClassVar[bool] = True
    type: Literal["tool-error"] = "tool-error"
    payload: ToolErrorPayload


ToolChunk = (
    ToolCallInputStart
    | ToolCallDelta
    | ToolCallInputEnd
    | ToolCallRequested
    | ToolCallApproval
    | ToolCallSuspended
    | ToolCallDecided
    | ToolOutputDenied
    | ToolOutput
    | ToolResult
    | ToolError
)
