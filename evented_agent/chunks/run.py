"""Chunks of a run and its steps: start, finish, error, abort, and what is withdrawn."""

from typing import Any, ClassVar, Literal

from evented_agent.chunks.base import Chunk, ErrorInfo, Payload, Usage


class StartPayload(Payload):
    id: str


class Start(Chunk):
    type: Literal["start"] = "start"
    payload: StartPayload


class StepStartPayload(Payload):
    step: int


class StepStart(Chunk):
    type: Literal["step-start"] = "step-start"
    payload: StepStartPayload


class StepResult(Payload):
    """How a step ended and whether another follows."""

    reason: str
    is_continued: bool = False


class Output(Payload):
    """What a step or a run used; *object* is a finished run's structured output."""

    usage: Usage = Usage()
    object: Any = None


class StepFinishPayload(Payload):
    step: int
    step_result: StepResult
    output: Output = Output()


class StepFinish(Chunk):
    type: Literal["step-finish"] = "step-finish"
    payload: StepFinishPayload


class FinishPayload(Payload):
    step_result: StepResult
    output: Output = Output()


class Finish(Chunk):
    ends_topic: ClassVar[bool] = True
    type: Literal["finish"] = "finish"
    payload: FinishPayload


class ErrorPayload(Payload):
    error: ErrorInfo


class Error(Chunk):
    ends_topic: ClassVar[bool] = True
    type: Literal["error"] = "error"
    payload: ErrorPayload


class AbortPayload(Payload):
    reason: str | None = None


class Abort(Chunk):
    ends_topic: ClassVar[bool] = True
    type: Literal["abort"] = "abort"
    payload: AbortPayload


class StepResetPayload(Payload):
    """Everything that *task* wrote from *from_seq* on is withdrawn and will come again."""

    step: int
    tool_call_id: str | None = None
    from_seq: int
    attempt: int
    reason: str


class StepReset(Chunk):
    type: Literal["step-reset"] = "step-reset"
    payload: StepResetPayload


class TopicResetPayload(Payload):
    """The reader starts over: forget everything read so far."""

    reason: str


class TopicReset(Chunk):
    """Made by a reader, never stored: what it had read no longer exists in this form."""

    type: Literal["topic-reset"] = "topic-reset"
    payload: TopicResetPayload
