"""Chunks of messages to a run that is under way, and of what they put off or cut short."""

from typing import Any, Literal

from evented_agent.chunks.base import Chunk, Payload


class MessageQueuedPayload(Payload):
    """A message that somebody has sent to the run.

    Attributes:
        message_id: Names it within its run.
        input: The message as the run was given it, as JSON messages; None where it is long (then
            `result(run_id)` has it).
        by: Who sent it, if that was given.
        interrupt: Whether it cuts short what the model is saying.
        hold: Whether it waits while a person is asked.
    """

    message_id: str
    input: list[dict[str, Any]] | None = None
    by: str | None = None
    interrupt: bool = False
    hold: bool = False


class MessageQueued(Chunk):
    """Somebody has sent the run a message; the model sees it with its next call.

    Attributes:
        type: "message-queued".
        payload: The message; the chunk's `seq` is the `number` of its receipt.
    """

    type: Literal["message-queued"] = "message-queued"
    payload: MessageQueuedPayload


class MessageAppliedPayload(Payload):
    """Which messages the model sees now.

    Attributes:
        message_ids: Their ids, in the order in which they were sent.
        step: The step whose model call has them.
    """

    message_ids: list[str]
    step: int


class MessageApplied(Chunk):
    """A model call begins that has messages for the first time; what follows answers them.

    Withdrawn with that call's output where the call has to be made again.

    Attributes:
        type: "message-applied".
        payload: The messages, and the step.
    """

    type: Literal["message-applied"] = "message-applied"
    payload: MessageAppliedPayload


class MessageDroppedPayload(Payload):
    """Which messages no completed model call has had.

    Attributes:
        message_ids: Their ids, in the order in which they were sent.
        reason: Why, for people.
    """

    message_ids: list[str]
    reason: str


class MessageDropped(Chunk):
    """The run ends before these messages were answered; the run's last chunk follows.

    Attributes:
        type: "message-dropped".
        payload: The messages, and why.
    """

    type: Literal["message-dropped"] = "message-dropped"
    payload: MessageDroppedPayload


class CallSetAsidePayload(Payload):
    """A call that does not go on as it was made.

    Attributes:
        tool_call_id: Names the call within its run.
        tool_name: The tool.
    """

    tool_call_id: str
    tool_name: str


class ToolCallDeferred(Chunk):
    """A call that waits for a person holds its step back no longer, since a message came.

    It can be decided about as before; what it comes to is told to the model then.

    Attributes:
        type: "tool-call-deferred".
        payload: The call.
    """

    type: Literal["tool-call-deferred"] = "tool-call-deferred"
    payload: CallSetAsidePayload


class ToolCallDropped(Chunk):
    """The model was cut short while it wrote this call, which is not made.

    Attributes:
        type: "tool-call-dropped".
        payload: The call.
    """

    type: Literal["tool-call-dropped"] = "tool-call-dropped"
    payload: CallSetAsidePayload


InboxChunk = MessageQueued | MessageApplied | MessageDropped | ToolCallDeferred | ToolCallDropped
