"""Chunks of a run and its steps: start, finish, error, abort, and what is withdrawn."""

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from evented_agent.chunks.base import Chunk, ErrorInfo, Payload, Usage


class StartPayload(Payload):
    """Who answers, and to what.

    Attributes:
        id: The agent's id.
        input: The messages that the run was given, as JSON; None where they are long (then
            `get(run_id)` has them, as `input`), or an older version started it.
    """

    id: str
    input: list[dict[str, Any]] | None = None


class Start(Chunk):
    """The first chunk of each run.

    Attributes:
        type: "start".
        payload: Which agent answers.
    """

    type: Literal["start"] = "start"
    payload: StartPayload


class StepStartPayload(Payload):
    """Which step begins.

    Attributes:
        step: Its number: 1, 2, …
    """

    step: int


class StepStart(Chunk):
    """A step begins: one model call, and the tool calls that it asks for.

    Attributes:
        type: "step-start".
        payload: Which step.
    """

    type: Literal["step-start"] = "step-start"
    payload: StepStartPayload


class StepResult(Payload):
    """How a step ended and whether another follows.

    Attributes:
        reason: Why the model stopped: "stop", "tool-calls", "length", "content-filter", "error" or
            "other".
        is_continued: Whether the run goes on after it.
    """

    reason: str
    is_continued: bool = False


class Output(Payload):
    """What a step or a run used, and came to.

    Attributes:
        usage: The tokens that it took.
        object: A finished run's structured output as JSON; None without an output type.
    """

    usage: Usage = Usage()
    object: Any = None


class StepFinishPayload(Payload):
    """Which step is complete, and how it ended.

    Attributes:
        step: Its number: 1, 2, …
        step_result: How it ended.
        output: What it used.
        last: True where the answer is complete with this step: all that is left are hooks and the
            run's end, which then tells that they are done.
    """

    step: int
    step_result: StepResult
    output: Output = Output()
    last: bool = False


class StepFinish(Chunk):
    """A step is complete: all its tool calls have been answered, or go on in the background.

    Attributes:
        type: "step-finish".
        payload: Which step, and how it ended.
    """

    type: Literal["step-finish"] = "step-finish"
    payload: StepFinishPayload


class FinishPayload(Payload):
    """How a run finished.

    Attributes:
        step_result: How its last step ended.
        output: What the whole run used, and its structured output.
    """

    step_result: StepResult
    output: Output = Output()


class Finish(Chunk):
    """The run has finished; nothing follows.

    Attributes:
        type: "finish".
        payload: How it finished.
    """

    ends_topic: ClassVar[bool] = True
    type: Literal["finish"] = "finish"
    payload: FinishPayload


class ErrorPayload(Payload):
    """Why a run failed.

    Attributes:
        error: The exception's class name and its text.
    """

    error: ErrorInfo


class Error(Chunk):
    """The run has failed; nothing follows, unless somebody retries it.

    Attributes:
        type: "error".
        payload: Why it failed.
    """

    ends_topic: ClassVar[bool] = True
    type: Literal["error"] = "error"
    payload: ErrorPayload


class AbortPayload(Payload):
    """Why a run was aborted.

    Attributes:
        reason: What was given to `abort`, or "deadline"; None where nothing was given.
    """

    reason: str | None = None


class Abort(Chunk):
    """The run was aborted; nothing follows. What it had said stays.

    Attributes:
        type: "abort".
        payload: Why it was aborted.
    """

    ends_topic: ClassVar[bool] = True
    type: Literal["abort"] = "abort"
    payload: AbortPayload


class RunWaitingPayload(Payload):
    """What a run waits for.

    Attributes:
        waits_for: "people"; "turn": another run has its turn in the thread; "model": a call that
            failed is tried again; or "background": its turn has ended, calls in the background go
            on. ``for`` on the wire; a later version may have others.
        calls: The ids of the tool calls that people are asked about, or that go on in the
            background.
        until: When it goes on at the latest, by the clock of Redis; None where nobody knows.
    """

    waits_for: Annotated[str, Field(alias="for")]
    calls: list[str] = Field(default_factory=list)
    until: datetime | None = None


class RunWaiting(Chunk):
    """The run waits, and says so once each time; whatever it says next, it waits no more.

    What calls in the background say of themselves may come meanwhile. It is the last chunk where
    the run waits for people alone.

    Attributes:
        type: "run-waiting".
        payload: What it waits for.
    """

    may_be_last: ClassVar[bool] = True
    type: Literal["run-waiting"] = "run-waiting"
    payload: RunWaitingPayload


class HandoffPayload(Payload):
    """Who goes on with a run.

    Attributes:
        step: The step in which the model asked for it.
        from_agent: The id of the agent that has answered so far.
        to_agent: The id of the agent that answers from the next step on.
    """

    step: int
    from_agent: str
    to_agent: str


class Handoff(Chunk):
    """Another agent goes on with the run, from the next step on.

    Attributes:
        type: "handoff".
        payload: Which agents.
    """

    type: Literal["handoff"] = "handoff"
    payload: HandoffPayload


class StepResetPayload(Payload):
    """What is withdrawn: everything that the chunk's *task* wrote from *from_seq* on.

    Attributes:
        step: The step that it belongs to: 1, 2, …
        tool_call_id: The tool call that it belongs to; None for a model call.
        from_seq: The `seq` of the first chunk that no longer counts.
        attempt: Which attempt ended early: 1, 2, …
        reason: Why, for people: a worker that died, a call that failed.
        error: The run's failure that a retry takes back with it; None for all other resets.
    """

    step: int
    tool_call_id: str | None = None
    from_seq: int
    attempt: int
    reason: str
    error: ErrorInfo | None = None


class StepReset(Chunk):
    """Half-made output is withdrawn and will come again; `text_parts` and `result` heed it.

    Attributes:
        type: "step-reset".
        payload: What is withdrawn; the chunk's `task` says whose.
    """

    type: Literal["step-reset"] = "step-reset"
    payload: StepResetPayload


class TopicResetPayload(Payload):
    """Why a reader starts over.

    Attributes:
        reason: What happened, for people.
    """

    reason: str


class TopicReset(Chunk):
    """Forget everything read so far: the chunks follow once more, from the first.

    Made by a reader, never stored: what it had read no longer exists in this form.

    Attributes:
        type: "topic-reset".
        payload: Why.
    """

    type: Literal["topic-reset"] = "topic-reset"
    payload: TopicResetPayload


RunChunk = (
    Start
    | StepStart
    | StepFinish
    | Finish
    | Error
    | Abort
    | RunWaiting
    | Handoff
    | StepReset
    | TopicReset
)
