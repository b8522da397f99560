"""What the chunks of a stream carry: snake_case attributes here, camelCase keys on the wire."""

from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


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


class BackgroundPayload(Payload):
    """What has become of a background call; *task_id* is ``<run id>:<tool call id>``."""

    task_id: str
    tool_call_id: str
    tool_name: str
    args: dict[str, Any] | None = None
    output: Any = None
    result: Any = None
    error: ErrorInfo | None = None
    reason: str | None = None
    suspend_payload: Any = None


class BackgroundProgressPayload(Payload):
    """A turn has ended while background calls are under way."""

    task_ids: list[str]
    running_count: int


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
