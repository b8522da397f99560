"""What an agent's declaration may hold: each value checked, and refused with what to pass."""

import functools
import inspect
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Generic, TypedDict

from evented_agent.agents.callbacks import (
    Hook,
    JudgeStep,
    PrepareStep,
    StopCondition,
    ToolErrorText,
    is_async,
)
from evented_agent.agents.generics import Out
from evented_agent.agents.handoffs import HandoffTarget
from evented_agent.agents.memory import Memory, Window
from evented_agent.agents.output_types import OutputType
from evented_agent.agents.tools.approvals import ApprovalPolicy
from evented_agent.agents.tools.background import Background, checked_background
from evented_agent.agents.tools.mcp_server import MCPServer
from evented_agent.agents.tools.tool import Tool
from evented_agent.chunks.json_values import as_json
from evented_agent.durations import Duration, as_seconds, is_positive
from evented_agent.errors import DeclarationError
from evented_agent.given import as_stored_count, check_names
from evented_agent.models.protocol import Model, ToolChoice
from evented_agent.models.resolve import resolve

#: Text, or a function of the run's context that returns it.
Instructions = str | Callable[[Any], str]
ModelRef = str | Model

#: What an agent's hooks are for, in the order of a run.
HOOKS = ("on_start", "on_step", "on_suspended", "on_finish", "on_error", "on_abort")
#: A function that a run may choose by its name, where its kind is asked for.
Policy = Callable[..., Any]


class AgentOptions(TypedDict, Generic[Out], total=False):
    """What an `Agent` may declare beside what it is told and may call.

    Attributes:
        prepare_step: A function of a `NextStep` that may choose its model, tools and
            instructions with a `StepChoice`.
        on_iteration_complete: A function of a `StepInfo` that may say with a `Verdict` whether
            the run goes on, and what the model is told.
        on_start: A hook: called in a worker, with a `RunEvent`, before the first model call;
            at least once, as all hooks. One that fails is tried again twice, then logged.
        on_step: A hook, called after each step, before the run goes on.
        on_suspended: A hook, called for each call that begins to wait for a person.
        on_finish: A hook, called before the run counts as finished.
        on_error: A hook, called after the run has failed.
        on_abort: A hook, called after the run was aborted.
        memory: Where threads are kept; in the deployment's Redis, unless given.
        window: How much of a thread the model sees: its last 100 messages, unless given.
        output_type: What the answer must be: a pydantic model, a dataclass or a TypedDict. A
            wrong answer is put before the model once more, then the run fails.
        output_types: Others that a run may choose: ``output_type=Invoice``, or by its name.
        background: How calls of tools run in the background, by name, instead of what the tools
            declare; False keeps them in the foreground.
        tool_error: A function of what a tool raised and the tool's name, that returns the text
            shown in place of the exception's: to the model, to readers, in logs and in Celery.
        background_concurrency: How many background calls of this agent run at a time, in all of
            its runs; 5, unless given.
        handoffs: Agents, or their ids, that its model may let go on with the run: each is a tool
            ``transfer_to_<id>``. From the next step on that agent answers, with its instructions,
            models, tools and policies; options of the run that are about an agent no longer hold.
        max_model_wait: Seconds, or a timedelta, that a run waits at most for a model that asks it
            to, as with 429; a longer wait means the next model, or a failure. 60, unless given.
    """

    handoffs: Sequence[Any]
    tool_error: ToolErrorText
    prepare_step: PrepareStep
    on_iteration_complete: JudgeStep
    on_start: Hook
    on_step: Hook
    on_suspended: Hook
    on_finish: Hook
    on_error: Hook
    on_abort: Hook
    memory: Memory
    window: Window
    output_type: type[Out]
    output_types: Sequence[Any]
    background: Mapping[str, bool | Background]
    background_concurrency: int
    max_model_wait: Duration


_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_CHOICES = ("auto", "none", "required")


@dataclass(frozen=True)
class Answering:
    """What `Agent.override` can replace."""

    instructions: Instructions
    model: ModelRef | Sequence[ModelRef]
    models: tuple[Model, ...]
    tools: tuple[Tool, ...]
    mcp_servers: tuple[MCPServer, ...] = ()

    @functools.cached_property
    def tools_by_name(self) -> Mapping[str, Tool]:
        """The tools by their names; each call of a tool is looked up in it several times."""
        return {tool.name: tool for tool in self.tools}

    @property
    def offered(self) -> list[str]:
        """The names of the tools, and of the MCP servers with ``_*`` for whatever they offer."""
        names = [tool.name for tool in self.tools]
        return [*names, *(f"{server.name}_*" for server in self.mcp_servers)]


def check_id(given: Any) -> None:
    if not isinstance(given, str) or not _ID.fullmatch(given):
        allowed = "1 to 64 ASCII letters, digits, _, . and -"
        raise DeclarationError(f"Agent(id={given!r}): the id is not valid. Use {allowed}.")


def agent_refusal(id_: str, problem: str) -> DeclarationError:
    return DeclarationError(f"Agent {id_!r}: {problem}")


def answering(id_: str, told: Any, model: Any, offered: Any) -> Answering:
    if not isinstance(offered, (list, tuple)):
        raise agent_refusal(id_, f"tools={offered!r}. Pass a list of tools.")
    servers = tuple(each for each in offered if isinstance(each, MCPServer))
    return Answering(
        instructions=instructions(id_, told),
        model=model,
        models=models(id_, model),
        tools=tools(id_, [each for each in offered if not isinstance(each, MCPServer)]),
        mcp_servers=mcp_servers(id_, servers),
    )


def instructions(id_: str, given: Any) -> Instructions:
    if isinstance(given, str):
        return given
    if not callable(given) or inspect.iscoroutinefunction(given) or isinstance(given, Tool):
        raise agent_refusal(
            id_,
            f"instructions={given!r}. Pass text, or a def that takes the run's context and returns "
            "text.",
        )
    return given  # type: ignore[no-any-return]


def models(id_: str, given: Any) -> tuple[Model, ...]:
    refs = list(given) if isinstance(given, (list, tuple)) else [given]
    if not refs:
        raise agent_refusal(
            id_, "model=[] names no model. Pass at least one, such as 'openai/<model>'."
        )
    try:
        return tuple(resolve(ref) for ref in refs)
    except DeclarationError as error:
        raise agent_refusal(id_, str(error)) from None


def mcp_servers(id_: str, given: tuple[MCPServer, ...]) -> tuple[MCPServer, ...]:
    names = [server.name for server in given]
    for name in names:
        if names.count(name) > 1:
            raise agent_refusal(id_, f"two MCP servers have the name {name!r}. Rename one.")
    return given


def tools(id_: str, given: Sequence[Any]) -> tuple[Tool, ...]:
    by_name: dict[str, Tool] = {}
    for tool in given:
        if not isinstance(tool, Tool):
            name = getattr(tool, "__qualname__", repr(tool))
            raise agent_refusal(id_, f"{name} in tools is no tool. Write @tool above its def.")
        if tool.name in by_name:
            raise agent_refusal(
                id_,
                f"two tools have the name {tool.name!r}: {by_name[tool.name]!r} and {tool!r}. "
                "Rename one with @tool(name=…).",
            )
        by_name[tool.name] = tool
    return tuple(given)


def text(id_: str, option: str, given: Any) -> str:
    if not isinstance(given, str):
        raise agent_refusal(id_, f"{option}={given!r} is not text. Pass a string.")
    return given


def whole(id_: str, option: str, given: Any, *, least: int) -> int:
    if type(given) is not int or given < least:
        raise agent_refusal(id_, f"{option}={given!r}. Pass a whole number from {least} up.")
    return as_stored_count(given)


def seconds(id_: str, option: str, given: Any) -> float:
    span = as_seconds(given)
    if not is_positive(span):
        raise agent_refusal(id_, f"{option}={given!r}. Pass seconds above 0.")
    return span


def conditions(id_: str, given: Any) -> tuple[StopCondition, ...]:
    conditions = tuple(given) if isinstance(given, (list, tuple)) else (given,)
    for condition in conditions:
        if not callable(condition) or inspect.iscoroutinefunction(condition):
            raise agent_refusal(
                id_,
                f"{condition!r} in stop_when. Pass a def that takes a StepInfo and returns a bool.",
            )
    return conditions


def more(id_: str, given: Mapping[str, Any], named: Collection[str]) -> dict[str, Any]:
    """What `AgentOptions` may hold, each checked, with its default; *named* are the others."""
    check_names("Agent()", given, {*AgentOptions.__annotations__, *named})
    hooks = {name: function(id_, name, given.get(name)) for name in HOOKS}
    steers = ("prepare_step", "on_iteration_complete")
    tool_error = function(id_, "tool_error", given.get("tool_error"))
    if tool_error is not None and is_async(tool_error):
        raise agent_refusal(
            id_, f"tool_error={tool_error!r}. Pass a def that takes an exception and a tool's name."
        )
    return {
        **{name: function(id_, name, given.get(name)) for name in steers},
        "hooks": MappingProxyType({name: hook for name, hook in hooks.items() if hook}),
        "tool_error": tool_error,
        "memory": given.get("memory"),
        "window": window(id_, given.get("window")),
        **outputs(id_, given.get("output_type"), given.get("output_types", ())),
        "background": MappingProxyType(
            {
                name: checked_background(made, f"Agent {id_!r}, tool {name!r}")
                for name, made in given.get("background", {}).items()
            }
        ),
        "background_concurrency": whole(
            id_, "background_concurrency", given.get("background_concurrency", 5), least=1
        ),
        "max_model_wait": seconds(id_, "max_model_wait", given.get("max_model_wait", 60.0)),
    }


def handoffs(id_: str, given: Any, tools: Collection[str]) -> Mapping[str, HandoffTarget]:
    """By the names of the tools that the model calls."""
    if not isinstance(given, (list, tuple)):
        raise agent_refusal(id_, f"handoffs={given!r}. Pass a list of agents, or of their ids.")
    found: dict[str, HandoffTarget] = {}
    for each in given:
        made = _handoff(id_, each)
        if made.tool_name in (*found, *tools):
            raise agent_refusal(
                id_,
                f"the hand-off to {made.agent_id!r} is called {made.tool_name!r}, as is another "
                "one or a tool. Rename one.",
            )
        found[made.tool_name] = made
    return MappingProxyType(found)


def _handoff(id_: str, given: Any) -> HandoffTarget:
    if isinstance(given, str) and _ID.fullmatch(given):
        made = HandoffTarget(given)
    elif isinstance(getattr(given, "id", None), str) and hasattr(given, "models"):
        made = HandoffTarget(given.id, given.description, given)
    else:
        raise agent_refusal(id_, f"{given!r} in handoffs is no agent. Pass an Agent, or its id.")
    if made.agent_id == id_:
        raise agent_refusal(id_, "handoffs names the agent itself. Leave it out.")
    return made


def function(id_: str, option: str, given: Any) -> Any:
    if given is not None and not callable(given):
        raise agent_refusal(id_, f"{option}={given!r}. Pass a def or an async def.")
    return given


def window(id_: str, given: Any) -> Window:
    if given is not None and not isinstance(given, Window):
        raise agent_refusal(id_, f"window={given!r}. Pass a Window(messages=…, tokens=…).")
    return given or Window()


def outputs(id_: str, default: Any, others: Any) -> dict[str, Any]:
    try:
        first = None if default is None else OutputType(default)
        made = [*([first] if first else []), *(OutputType(each) for each in others)]
    except DeclarationError as error:
        raise agent_refusal(id_, str(error)) from None
    by_name = {each.name: each for each in made}
    if len(by_name) < len(made):
        raise agent_refusal(id_, "two output types have the same name. Rename one.")
    return {"output_type": first, "output_types": MappingProxyType(by_name)}


def approval(id_: str, option: str, given: Any) -> bool | ApprovalPolicy:
    if isinstance(given, bool):
        return given
    if not callable(given) or is_async(given):
        problem = "Pass a def that takes an ApprovalRequest and returns a bool."
        raise agent_refusal(id_, f"{option}={given!r}. {problem}")
    return given  # type: ignore[no-any-return]


def policies(id_: str, given: Mapping[str, Any]) -> Mapping[str, Policy]:
    for name, made in given.items():
        if not callable(made):
            raise agent_refusal(id_, f"policies[{name!r}]={made!r}. Pass a def.")
    return MappingProxyType(dict(given))


def active(id_: str, given: Any, known: Sequence[str]) -> tuple[str, ...] | None:
    if given is None:
        return None
    if not isinstance(given, (list, tuple)):
        raise agent_refusal(id_, f"active_tools={given!r}. Pass a list of names of tools, or None.")
    for name in given:
        check_known(id_, "active_tools", name, known)
    return tuple(given)


def choice(id_: str, given: Any, offered: Sequence[str]) -> ToolChoice:
    if isinstance(given, Mapping) and list(given) == ["tool"]:
        check_known(id_, "tool_choice", given["tool"], offered)
        return MappingProxyType(dict(given))
    if given not in _CHOICES:
        allowed = ", ".join(map(repr, _CHOICES))
        raise agent_refusal(id_, f"tool_choice={given!r}. Use {allowed} or {{'tool': name}}.")
    if given == "required" and not offered:
        raise agent_refusal(
            id_, "tool_choice='required' and no tool on offer. Add tools, or use 'auto'."
        )
    return given  # type: ignore[no-any-return]


def check_known(id_: str, option: str, name: Any, known: Sequence[str]) -> None:
    # What an MCP server offers is known when a run asks it.
    if name not in known and f"{str(name).partition('_')[0]}_*" not in known:
        names = ", ".join(known) or "none"
        problem = f"{option} names {name!r}, which is no tool on offer (there are: {names})"
        raise agent_refusal(id_, f"{problem}. Correct the name, or add the tool.")


def settings(id_: str, given: Any) -> Mapping[str, Any]:
    """A copy, so that nobody changes it later; JSON, because it is merged with what runs pass."""
    try:
        copied = as_json(dict(given or {}))
    except (TypeError, ValueError) as error:
        raise agent_refusal(
            id_,
            f"model_settings is not a JSON object ({error}). Clients and keys belong on a Model.",
        ) from None
    return MappingProxyType(copied)
