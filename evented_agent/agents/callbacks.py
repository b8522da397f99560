"""What an agent's own functions are given and may return: conditions, hooks, step choices."""

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from evented_agent.agents.tools.approvals import Pending
from evented_agent.chunks import ErrorInfo, Usage
from evented_agent.models.cost import CallCost, Cost
from evented_agent.models.messages import Message, ToolCall, ToolMessage
from evented_agent.models.protocol import Model, ToolChoice


@dataclass(frozen=True, slots=True)
class StepInfo:
    """A step of a run: one model call, and what the tool calls that it asked for came to.

    Attributes:
        step: Its number: 1, 2, …
        text: What the agent said in it.
        tool_calls: The calls that the model asked for, in its order.
        results: What they came to, in the same order; a call that is still open has none, one that
            goes on in the background a placeholder.
        usage: The tokens of this step.
        total_usage: The tokens of the run up to its end.
        finish_reason: Why the model stopped: "stop", "tool-calls", "length", "content-filter",
            "error", "other", or "abort" where it was cut short.
        reasoning: The model's reasoning, where the provider shows it.
        model: The model that answered: provider and name.
        cost: What its model call cost; None where nothing was priced.
    """

    step: int
    text: str
    tool_calls: Sequence[ToolCall]
    results: Sequence[ToolMessage]
    usage: Usage
    total_usage: Usage
    finish_reason: str
    reasoning: str = ""
    model: str = ""
    cost: CallCost | None = None

    @property
    def results_by_call(self) -> Mapping[str, ToolMessage]:
        """What its calls came to, by the ids of the calls."""
        return {message.tool_call_id: message for message in self.results}


#: True where the run shall end with this step.
StopCondition = Callable[[StepInfo], bool]


@dataclass(frozen=True, slots=True)
class NextStep:
    """A step that is about to begin, as ``prepare_step`` sees it.

    Attributes:
        run_id: The run.
        step: Its number: 1, 2, …
        messages: The whole conversation so far, the run's input included.
        last: The step before; None for the first.
        context: The JSON value that `stream` was given.
    """

    run_id: str
    step: int
    messages: Sequence[Message]
    last: StepInfo | None = None
    context: Any = None


@dataclass(frozen=True, slots=True)
class StepChoice:
    """What ``prepare_step`` chooses for one step; None means: as for the run.

    Attributes:
        model: ``"openai/<model>"`` or a `Model`; none of the agent's others takes its place.
        instructions: Instead of those of the run.
        active_tools: The names of the tools on offer.
        tool_choice: "auto", "none", "required", or ``{"tool": name}``.
        model_settings: JSON, over the settings of the run.
    """

    model: str | Model | None = None
    instructions: str | None = None
    active_tools: Sequence[str] | None = None
    tool_choice: ToolChoice | None = None
    model_settings: Mapping[str, Any] | None = None


#: A plain or an ``async`` function.
PrepareStep = Callable[[NextStep], StepChoice | Awaitable[StepChoice | None] | None]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What ``on_iteration_complete`` says of a step; ``max_steps`` holds in any case.

    Attributes:
        proceed: False ends the run, True lets it go on, None leaves it as it is.
        feedback: Put before the model as what a user said; it then has one more step, which is the
            last with ``proceed=False``.
    """

    proceed: bool | None = None
    feedback: str | None = None


#: A plain or an ``async`` function.
JudgeStep = Callable[[StepInfo], Verdict | Awaitable[Verdict | None] | None]

#: What is shown of what a tool raised, given its name.
ToolErrorText = Callable[[BaseException, str], str]

EventKind = Literal["start", "step", "suspended", "finish", "error", "abort"]


@dataclass(frozen=True, slots=True)
class RunEvent:
    """What a hook, such as ``on_finish``, is told of a run; at least once each.

    Attributes:
        key: The same each time that a hook is told the same: record it with what you do.
        kind: "start", "step", "suspended", "finish", "error" or "abort".
        run_id: The run.
        agent: The agent's id.
        step: The last step: 1, 2, …
        text: What the agent has said so far.
        finish_reason: Why the run ended, where it has.
        usage: The tokens of the run so far.
        error: Why the run failed, for an "error".
        output: The answer as the output type, for a "finish" of an agent with one.
        info: The step that is complete, for a "step".
        pending: The call that waits for a person, for a "suspended".
        thread_id: The conversation of the run, if it has one.
        resource_id: Whose run it is, if that was given.
        context: The JSON value that `stream` was given.
        cost: What its model calls have cost so far; None where nothing was priced.
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
    cost: Cost | None = None


#: A plain or an ``async`` function; what it returns is ignored.
Hook = Callable[[RunEvent], Any]


def is_async(function: Any) -> bool:
    """Whether calling *function* gives something to await."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - an object with an async __call__
    )
