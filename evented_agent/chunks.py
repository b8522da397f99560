"""The stream's vocabulary: every chunk type, its stored form and its wire form.

Knows neither Redis nor agents.  The stored form is the JSON array ``[type, task, payload]``; the
number of a chunk is its entry's id in Redis, so it is not repeated inside.  The wire form is what
web clients read: ``{"seq": 7, "type": "text-delta", "runId": "…", "from": "AGENT", …}``.
"""

import json
from typing import Any, ClassVar, Literal

import pydantic_core
from pydantic import BaseModel, ConfigDict

from evented_agent.payloads import (
    AbortPayload,
    BackgroundPayload,
    BackgroundProgressPayload,
    DeltaPayload,
    ErrorPayload,
    FinishPayload,
    ObjectPayload,
    PartPayload,
    StartPayload,
    StepFinishPayload,
    StepResetPayload,
    StepStartPayload,
    ToolAskPayload,
    ToolCallPayload,
    ToolDeniedPayload,
    ToolErrorPayload,
    ToolInputDeltaPayload,
    ToolInputEndPayload,
    ToolInputPayload,
    ToolOutputPayload,
    ToolResultPayload,
    TopicResetPayload,
)
from evented_agent.payloads import (
    ErrorInfo as ErrorInfo,
)
from evented_agent.payloads import (
    Payload as Payload,
)
from evented_agent.payloads import (
    Usage as Usage,
)

_dumps = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


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


class BackgroundTaskStarted(Chunk):
    type: Literal["background-task-started"] = "background-task-started"
    payload: BackgroundPayload


class BackgroundTaskRunning(Chunk):
    type: Literal["background-task-running"] = "background-task-running"
    payload: BackgroundPayload


class BackgroundTaskOutput(Chunk):
    type: Literal["background-task-output"] = "background-task-output"
    payload: BackgroundPayload


class BackgroundTaskCompleted(Chunk):
    type: Literal["background-task-completed"] = "background-task-completed"
    payload: BackgroundPayload


class BackgroundTaskFailed(Chunk):
    type: Literal["background-task-failed"] = "background-task-failed"
    payload: BackgroundPayload


class BackgroundTaskCancelled(Chunk):
    type: Literal["background-task-cancelled"] = "background-task-cancelled"
    payload: BackgroundPayload


class BackgroundTaskSuspended(Chunk):
    type: Literal["background-task-suspended"] = "background-task-suspended"
    payload: BackgroundPayload


class BackgroundTaskResumed(Chunk):
    type: Literal["background-task-resumed"] = "background-task-resumed"
    payload: BackgroundPayload


class BackgroundTaskProgress(Chunk):
    type: Literal["background-task-progress"] = "background-task-progress"
    payload: BackgroundProgressPayload


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
