"""What an agent's own functions are given and may return: conditions, hooks, step choices."""

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from evented_agent.agents.tools.approvals import Pending
from evented_agent.chunks import ErrorInfo, Usage
from evented_agent.models.messages import Message, ToolCall, ToolMessage
from evented_agent.models.protocol import Model, ToolChoice


@dataclass(frozen=True, slots=True)
class StepInfo:
    """A completed step, as the conditions of ``stop_when`` see it."""

    step: int
    text: str
    tool_calls: Sequence[ToolCall]
    results: Sequence[ToolMessage]
    usage: Usage
    total_usage: Usage
    finish_reason: str


#: True where the run shall end with this step.
StopCondition = Callable[[StepInfo], bool]


@dataclass(frozen=True, slots=True)
class NextStep:
    """A step that is about to begin, as ``prepare_step`` sees it.

    *messages* is the whole conversation so far, *last* the step before, *context* the JSON value
    given to `stream`.
    """

    run_id: str
    step: int
    messages: Sequence[Message]
    last: StepInfo | None = None
    context: Any = None


@dataclass(frozen=True, slots=True)
class StepChoice:
    """What ``prepare_step`` chooses for one step; None means: as for the run."""

    model: str | Model | None = None
    instructions: str | None = None
    active_tools: Sequence[str] | None = None
    tool_choice: ToolChoice | None = None
    model_settings: Mapping[str, Any] | None = None


#: A plain or an ``async`` function.
PrepareStep = Callable[[NextStep], StepChoice | Awaitable[StepChoice | None] | None]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What ``on_iteration_complete`` says of a step.

    *proceed* False ends the run, True lets it go on, None leaves it as it is. *feedback* is put
    before the model, which then has one more step; with ``proceed=False`` that is the last.
    ``max_steps`` holds in any case.
    """

    proceed: bool | None = None
    feedback: str | None = None


#: A plain or an ``async`` function.
JudgeStep = Callable[[StepInfo], Verdict | Awaitable[Verdict | None] | None]

EventKind = Literal["start", "step", "suspended", "finish", "error", "abort"]


@dataclass(frozen=True, slots=True)
class RunEvent:
    """What a hook is told, at least once; *key* is the same each time that it is told the same.

    *text* is what the agent has said so far, *step* the last step (1, 2, …), *info* that of a
    "step" event, *pending* the call of a "suspended" one, *output* a finished run's typed output.
    """

    key: str
    kind: EventKind
    run_id: str
    agent: str
    step: int
    text: str = ""
    finish_reason: str | None = None
    usage: Usage = field(default_factory=Usage)
    error: ErrorInfo | None = None
    output: Any = None
    info: StepInfo | None = None
    pending: Pending | None = None
    thread_id: str | None = None
    resource_id: str | None = None
    context: Any = None


#: A plain or an ``async`` function; what it returns is ignored.
Hook = Callable[[RunEvent], Any]


def is_async(function: Any) -> bool:
    """Whether calling *function* gives something to await."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - an object with an async __call__
    )
