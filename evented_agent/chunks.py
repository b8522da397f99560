"""The stream's vocabulary: every chunk type, its stored form and its wire form.

Knows neither Redis nor agents.  The stored form is the JSON array ``[type, task, payload]``; the
number of a chunk is its entry's id in Redis, so it is not repeated inside.  The wire form is what
web clients read: ``{"seq": 7, "type": "text-delta", "runId": "…", "from": "AGENT", …}``.
"""

import json
from typing import Any, ClassVar, Literal

import pydantic_core
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

_dumps = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


class Payload(BaseModel):
    """Base of payloads: snake_case attributes here, camelCase keys on the wire."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="allow", frozen=True
    )


class Usage(Payload):
    """Tokens, as the provider counted them; they add up over the steps of a run."""

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    reasoning_tokens: int = 0
    cached_input_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            **{name: getattr(self, name) + getattr(other, name) for name in Usage.model_fields}
        )


class ErrorInfo(Payload):
    """An error as data: the exception's class name and its text."""

    name: str
    message: str


class StepResult(Payload):
    """How a step ended and whether another follows."""

    reason: str
    is_continued: bool = False


class Output(Payload):
    """What a step or a run used; *object* is a finished run's structured output."""

    usage: Usage = Usage()
    object: Any = None


class StartPayload(Payload):
    id: str


class StepStartPayload(Payload):
    step: int


class PartPayload(Payload):
    id: str


class DeltaPayload(Payload):
    id: str
    text: str


class ToolInputPayload(Payload):
    tool_call_id: str
    tool_name: str


class ToolInputDeltaPayload(Payload):
    tool_call_id: str
    args_text_delta: str


class ToolInputEndPayload(Payload):
    tool_call_id: str


class ToolCallPayload(Payload):
    tool_call_id: str
    tool_name: str
    args: dict[str, Any]


class ToolOutputPayload(Payload):
    tool_call_id: str
    tool_name: str
    output: Any


class ToolResultPayload(Payload):
    tool_call_id: str
    tool_name: str
    result: Any = None


class ToolAskPayload(Payload):
    """A call that waits for a person.

    Where it was not approved yet, *args* are what the model wants; where its tool suspended it,
    *suspend_payload* is what the tool asks, and *resume_schema* the JSON schema of the answer.
    """

    tool_call_id: str
    tool_name: str
    args: dict[str, Any] = {}
    suspend_payload: Any = None
    resume_schema: dict[str, Any] | None = None


class Approval(Payload):
    """A decision that a call must not run."""

    approved: bool = False
    reason: str | None = None
    by: str | None = None


class ToolDeniedPayload(Payload):
    tool_call_id: str
    tool_name: str
    approval: Approval


class ToolErrorPayload(Payload):
    tool_call_id: str
    tool_name: str
    error: ErrorInfo


class StepFinishPayload(Payload):
    step: int
    step_result: StepResult
    output: Output = Output()


class ObjectPayload(Payload):
    """The structured output so far; the last one of a finished run is whole and valid."""

    object: Any = None


class FinishPayload(Payload):
    step_result: StepResult
    output: Output = Output()


class ErrorPayload(Payload):
    error: ErrorInfo


class AbortPayload(Payload):
    reason: str | None = None


class StepResetPayload(Payload):
    """Everything that *task* wrote from *from_seq* on is withdrawn and will come again."""

    step: int
    tool_call_id: str | None = None
    from_seq: int
    attempt: int
    reason: str


class TopicResetPayload(Payload):
    """The reader starts over: forget everything read so far."""

    reason: str


class Chunk(BaseModel):
    """One event of a run's stream.

    *seq* numbers the chunks of a run 1, 2, 3 … without gaps; *cursor* is the point to read on
    from (`observe(after=chunk.cursor)`), safe also after Redis lost its last second.
    """

    model_config = ConfigDict(frozen=True)

    ends_topic: ClassVar[bool] = False

    type: str
    seq: int
    cursor: str
    run_id: str
    task: str | None = None
    payload: Any

    def wire(self) -> dict[str, Any]:
        """Return the JSON object that web clients read."""
        wire: dict[str, Any] = {
            "seq": self.seq,
            "type": self.type,
            "runId": self.run_id,
            "from": "AGENT",
        }
        if self.task is not None:
            wire["task"] = self.task
        wire["payload"] = payload_json(self.payload)
        return wire

    def json_line(self) -> str:
        """Return the wire form as one line of JSON."""
        return _dumps(self.wire())

    def sse(self) -> str:
        r"""Return the chunk as one Server-Sent Event, ``id``, ``event`` and ``data`` lines.

        LF only and one data line, which every known client parses.  The id is the cursor, so a
        browser's ``Last-Event-ID`` can be passed to `observe` as it is.
        """
        return f"id: {self.cursor}\nevent: {self.type}\ndata: {self.json_line()}\n\n"


class Start(Chunk):
    type: Literal["start"] = "start"
    payload: StartPayload


class StepStart(Chunk):
    type: Literal["step-start"] = "step-start"
    payload: StepStartPayload


class TextStart(Chunk):
    type: Literal["text-start"] = "text-start"
    payload: PartPayload


class TextDelta(Chunk):
    type: Literal["text-delta"] = "text-delta"
    payload: DeltaPayload


class TextEnd(Chunk):
    type: Literal["text-end"] = "text-end"
    payload: PartPayload


class ReasoningStart(Chunk):
    type: Literal["reasoning-start"] = "reasoning-start"
    payload: PartPayload


class ReasoningDelta(Chunk):
    type: Literal["reasoning-delta"] = "reasoning-delta"
    payload: DeltaPayload


class ReasoningEnd(Chunk):
    type: Literal["reasoning-end"] = "reasoning-end"
    payload: PartPayload


class ToolCallInputStart(Chunk):
    type: Literal["tool-call-input-streaming-start"] = "tool-call-input-streaming-start"
    payload: ToolInputPayload


class ToolCallDelta(Chunk):
    type: Literal["tool-call-delta"] = "tool-call-delta"
    payload: ToolInputDeltaPayload


class ToolCallInputEnd(Chunk):
    type: Literal["tool-call-input-streaming-end"] = "tool-call-input-streaming-end"
    payload: ToolInputEndPayload


class ToolCallRequested(Chunk):
    type: Literal["tool-call"] = "tool-call"
    payload: ToolCallPayload


class ToolCallApproval(Chunk):
    type: Literal["tool-call-approval"] = "tool-call-approval"
    payload: ToolAskPayload


class ToolCallSuspended(Chunk):
    type: Literal["tool-call-suspended"] = "tool-call-suspended"
    payload: ToolAskPayload


class ToolOutputDenied(Chunk):
    type: Literal["tool-output-denied"] = "tool-output-denied"
    payload: ToolDeniedPayload


class ToolOutput(Chunk):
    type: Literal["tool-output"] = "tool-output"
    payload: ToolOutputPayload


class ToolResult(Chunk):
    type: Literal["tool-result"] = "tool-result"
    payload: ToolResultPayload


class ToolError(Chunk):
    type: Literal["tool-error"] = "tool-error"
    payload: ToolErrorPayload


class StepFinish(Chunk):
    type: Literal["step-finish"] = "step-finish"
    payload: StepFinishPayload


class Object(Chunk):
    type: Literal["object"] = "object"
    payload: ObjectPayload


class Finish(Chunk):
    ends_topic: ClassVar[bool] = True
    type: Literal["finish"] = "finish"
    payload: FinishPayload


class Error(Chunk):
    ends_topic: ClassVar[bool] = True
    type: Literal["error"] = "error"
    payload: ErrorPayload


class Abort(Chunk):
    ends_topic: ClassVar[bool] = True
    type: Literal["abort"] = "abort"
    payload: AbortPayload


class StepReset(Chunk):
    type: Literal["step-reset"] = "step-reset"
    payload: StepResetPayload


class TopicReset(Chunk):
    """Made by a reader, never stored: what it had read no longer exists in this form."""

    type: Literal["topic-reset"] = "topic-reset"
    payload: TopicResetPayload


class Other(Chunk):
    """A chunk of a type this version does not know (``data-*``, or written by a newer one)."""

    payload: dict[str, Any]


CHUNKS: dict[str, type[Chunk]] = {
    str(cls.model_fields["type"].default): cls for cls in Chunk.__subclasses__() if cls is not Other
}
_PAYLOADS: dict[str, Any] = {
    name: cls.model_fields["payload"].annotation for name, cls in CHUNKS.items()
}


def payload_json(payload: Any) -> Any:
    """Return the JSON form of *payload*: camelCase keys, nothing for None."""
    if isinstance(payload, BaseModel):
        return payload.model_dump(mode="json", by_alias=True, exclude_none=True)
    return payload


def encode(type_: str, task: str | None, payload: Payload | dict[str, Any]) -> str:
    """Return the stored form of a chunk.

    Raises `ValueError` for a payload that JSON cannot hold (NaN, for example).
    """
    return _dumps([type_, task, payload_json(payload)])


def _parts(stored: bytes | str) -> tuple[str, str | None, Any]:
    match pydantic_core.from_json(stored):
        case [str(type_), str() | None as task, payload]:
            return type_, task, payload
    raise ValueError(f"A chunk cannot be read: {stored[:80]!r}")


def decode(seq: int, cursor: str, run_id: str, stored: bytes | str) -> Chunk:
    """Read a chunk back from its stored form; a type unknown here becomes `Other`.

    Raises `ValueError` for what `encode` did not write.
    """
    type_, task, payload = _parts(stored)
    fields: dict[str, Any] = {"seq": seq, "cursor": cursor, "run_id": run_id, "task": task}
    cls = CHUNKS.get(type_)
    if cls is None:
        return Other.model_construct(type=type_, payload=payload, **fields)
    return cls.model_construct(
        type=type_, payload=_PAYLOADS[type_].model_validate(payload), **fields
    )
