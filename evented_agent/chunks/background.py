"""Chunks of background calls."""

from typing import Any, ClassVar, Literal

from evented_agent.chunks.base import Chunk, ErrorInfo, Payload


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


class BackgroundProgressPayload(Payload):
    """A turn has ended while background calls are under way."""

    task_ids: list[str]
    running_count: int


class BackgroundTaskProgress(Chunk):
    may_be_last: ClassVar[bool] = True
    type: Literal["background-task-progress"] = "background-task-progress"
    payload: BackgroundProgressPayload
