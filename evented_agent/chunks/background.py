"""Chunks of background calls: where each is, and what it came to."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from evented_agent.chunks.base import Chunk, ErrorInfo, Payload


class BackgroundPayload(Payload):
    """What has become of a background call; a chunk fills in what its type is about.

    Attributes:
        task_id: Names the call in all runs, ``<run id>:<tool call id>``: what `cancel` takes.
        tool_call_id: Names the call within its run.
        tool_name: The tool that is called.
        arguments: What it is called with; ``args`` on the wire. None but where it is started.
        output: What it emitted, as JSON.
        result: What it returned, as JSON.
        error: Why it failed.
        reason: Why it was cancelled, for people.
        suspend_payload: What it asks a person, as JSON.
    """

    task_id: str
    tool_call_id: str
    tool_name: str
    arguments: Annotated[dict[str, Any] | None, Field(alias="args")] = None
    output: Any = None
    result: Any = None
    error: ErrorInfo | None = None
    reason: str | None = None
    suspend_payload: Any = None


class BackgroundTaskStarted(Chunk):
    """A call goes to the background: the model gets a placeholder, or waits for it.

    Attributes:
        type: "background-task-started".
        payload: The call, with its arguments.
    """

    type: Literal["background-task-started"] = "background-task-started"
    payload: BackgroundPayload


class BackgroundTaskRunning(Chunk):
    """A background call begins to run, or runs again after a worker died.

    Attributes:
        type: "background-task-running".
        payload: The call.
    """

    type: Literal["background-task-running"] = "background-task-running"
    payload: BackgroundPayload


class BackgroundTaskOutput(Chunk):
    """News from a background call that is running.

    Attributes:
        type: "background-task-output".
        payload: The call, and what it emitted as *output*.
    """

    type: Literal["background-task-output"] = "background-task-output"
    payload: BackgroundPayload


class BackgroundTaskCompleted(Chunk):
    """A background call has returned.

    Attributes:
        type: "background-task-completed".
        payload: The call and its *result*.
    """

    type: Literal["background-task-completed"] = "background-task-completed"
    payload: BackgroundPayload


class BackgroundTaskFailed(Chunk):
    """A background call has failed, its retries used up.

    Attributes:
        type: "background-task-failed".
        payload: The call and its *error*.
    """

    type: Literal["background-task-failed"] = "background-task-failed"
    payload: BackgroundPayload


class BackgroundTaskCancelled(Chunk):
    """A background call was cancelled, or was not done when its run had to end.

    Attributes:
        type: "background-task-cancelled".
        payload: The call and the *reason*.
    """

    type: Literal["background-task-cancelled"] = "background-task-cancelled"
    payload: BackgroundPayload


class BackgroundTaskSuspended(Chunk):
    """A background call asks something, and waits for the answer of a person.

    Attributes:
        type: "background-task-suspended".
        payload: The call and its question as *suspend_payload*.
    """

    type: Literal["background-task-suspended"] = "background-task-suspended"
    payload: BackgroundPayload


class BackgroundTaskResumed(Chunk):
    """A background call goes on with the answer of a person.

    Attributes:
        type: "background-task-resumed".
        payload: The call.
    """

    type: Literal["background-task-resumed"] = "background-task-resumed"
    payload: BackgroundPayload


class BackgroundProgressPayload(Payload):
    """What goes on after a turn has ended.

    Attributes:
        task_ids: The background calls that are under way, ``<run id>:<tool call id>`` each.
        running_count: How many they are.
    """

    task_ids: list[str]
    running_count: int


class BackgroundTaskProgress(Chunk):
    """A turn has ended while background calls are under way; the run stays open for them.

    Attributes:
        type: "background-task-progress".
        payload: Which calls.
    """

    may_be_last: ClassVar[bool] = True
    type: Literal["background-task-progress"] = "background-task-progress"
    payload: BackgroundProgressPayload


BackgroundChunk = (
    BackgroundTaskStarted
    | BackgroundTaskRunning
    | BackgroundTaskOutput
    | BackgroundTaskCompleted
    | BackgroundTaskFailed
    | BackgroundTaskCancelled
    | BackgroundTaskSuspended
    | BackgroundTaskResumed
    | BackgroundTaskProgress
)
