"""Agents: instructions, models, tools and policies, as a user declares them.  Knows no run."""

import contextlib
import hashlib
import inspect
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NoReturn

import pydantic_core

from evented_agent.chunks import Usage
from evented_agent.errors import DeclarationError
from evented_agent.messages import ToolCall, ToolMessage
from evented_agent.models.protocol import Model, ToolChoice
from evented_agent.models.resolve import resolve
from evented_agent.tools import ApprovalPolicy, Tool

#: Text, or a function of the run's context that returns it.
Instructions = str | Callable[[Any], str]
ModelRef = str | Model

_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_CHOICES = ("auto", "none", "required")


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


StopCondition = Callable[[StepInfo], bool]


@dataclass(frozen=True, slots=True)
class _Answering:
    """What `Agent.override` can replace."""

    instructions: Instructions
    model: ModelRef | Sequence[ModelRef]
    models: tuple[Model, ...]
    tools: tuple[Tool, ...]


class Agent:
    """An agent: what it is told, which models answer, and which tools they may call.

    Declare it at the top level of a module that workers import too; it cannot be changed.

    >>> clerk = Agent(id="clerk", instructions="Be brief.", model="openai/gpt-5.5")
    """

    id: str
    name: str
    description: str
    max_steps: int
    stop_when: tuple[StopCondition, ...]
    tool_choice: ToolChoice
    active_tools: tuple[str, ...] | None
    model_settings: Mapping[str, Any]
    model_retries: int
    model_timeout: float
    tool_call_concurrency: int
    require_tool_approval: bool | ApprovalPolicy
    policies: Mapping[str, ApprovalPolicy]
    version: str
    _answering: _Answering

    def __init__(
        self,
        *,
        id: str,
        model: ModelRef | Sequence[ModelRef],
        instructions: Instructions = "",
        tools: Sequence[Tool] = (),
        name: str | None = None,
        description: str = "",
        max_steps: int = 5,
        stop_when: StopCondition | Sequence[StopCondition] = (),
        tool_choice: ToolChoice = "auto",
        active_tools: Sequence[str] | None = None,
        model_settings: Mapping[str, Any] | None = None,
        model_retries: int = 2,
        model_timeout: float = 600.0,
        tool_call_concurrency: int = 10,
        require_tool_approval: bool | ApprovalPolicy = False,
        policies: Mapping[str, ApprovalPolicy] | None = None,
        version: str | None = None,
    ) -> None:
        """Check the declaration; `DeclarationError` says what to change.

        Args:
            id: What runs and workers know it by: 1 to 64 letters, digits, ``_``, ``.`` and ``-``.
            model: ``"openai/<model>"``, a `Model`, or several in the order in which to fall back.
            instructions: Text, or a function of the run's context that returns it.
            tools: Functions declared with `tool`.
            name: For people; the id, unless given.
            description: For people.
            max_steps: The most model calls of a run.
            stop_when: Conditions looked at after each step; the first true one ends the run.
            tool_choice: "auto", "none", "required", or ``{"tool": name}``.
            active_tools: The names of the tools on offer; all, unless given.
            model_settings: JSON for every model call, such as ``{"temperature": 0}``.
            model_retries: How often a failed call is tried again before the next model is.
            model_timeout: Seconds that a model call may take.
            tool_call_concurrency: How many tool calls of a run may be under way.
            require_tool_approval: Whether every call waits for a person's approval, or a function
                of an `ApprovalRequest` that says so; beside what the tools themselves require.
            policies: Such functions by name, for runs to choose: ``require_tool_approval="name"``.
            version: What records say answered; a digest of the declaration, unless given.
        """
        _check_id(id)
        answering = _answering(id, instructions, model, tools)
        known = [tool.name for tool in answering.tools]
        self._set(
            id=id,
            name=_text(id, "name", id if name is None else name),
            description=_text(id, "description", description),
            max_steps=_whole(id, "max_steps", max_steps, least=1),
            stop_when=_conditions(id, stop_when),
            active_tools=_active(id, active_tools, known),
            model_settings=_settings(id, model_settings),
            model_retries=_whole(id, "model_retries", model_retries, least=0),
            model_timeout=_seconds(id, "model_timeout", model_timeout),
            tool_call_concurrency=_whole(
                id, "tool_call_concurrency", tool_call_concurrency, least=1
            ),
            require_tool_approval=_approval(id, "require_tool_approval", require_tool_approval),
            policies=MappingProxyType(
                {name: _policy(id, name, given) for name, given in (policies or {}).items()}
            ),
            _answering=answering,
        )
        offered = known if self.active_tools is None else self.active_tools
        self._set(tool_choice=_choice(id, tool_choice, offered))
        self._set(version=_digest(self) if version is None else _text(id, "version", version))

    @property
    def instructions(self) -> Instructions:
        return self._answering.instructions

    @property
    def model(self) -> ModelRef | Sequence[ModelRef]:
        """The model or models as they were given."""
        return self._answering.model

    @property
    def models(self) -> tuple[Model, ...]:
        """The models in the order in which to fall back."""
        return self._answering.models

    @property
    def tools(self) -> tuple[Tool, ...]:
        return self._answering.tools

    @property
    def tools_by_name(self) -> Mapping[str, Tool]:
        return {tool.name: tool for tool in self.tools}

    def tool_named(self, name: str) -> Tool | None:
        return self.tools_by_name.get(name)

    @contextlib.contextmanager
    def override(
        self,
        *,
        model: ModelRef | Sequence[ModelRef] | None = None,
        instructions: Instructions | None = None,
        tools: Sequence[Tool] | None = None,
    ) -> Iterator["Agent"]:
        """Answer with these instead, in all threads of this process, until the block ends.

        For tests.  Raises `DeclarationError` as the declaration would.
        """
        before = self._answering
        now = _answering(
            self.id,
            before.instructions if instructions is None else instructions,
            before.model if model is None else model,
            before.tools if tools is None else tools,
        )
        if model is None:
            # The same objects, with what they hold open.
            now = replace(now, models=before.models)
        known = [tool.name for tool in now.tools]
        offered = (
            known if (active := _active(self.id, self.active_tools, known)) is None else active
        )
        _choice(self.id, self.tool_choice, offered)
        self._set(_answering=now)
        try:
            yield self
        finally:
            self._set(_answering=before)

    def _set(self, **values: Any) -> None:
        vars(self).update(values)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(
            f"Agent {self.id!r} cannot be changed ({name}={value!r}). Declare another one; in a "
            "test, use agent.override(…)."
        )

    def __repr__(self) -> str:
        models = [model.name for model in self.models]
        return f"Agent(id={self.id!r}, model={models!r}, tools={list(self.tools_by_name)!r})"


def _check_id(given: Any) -> None:
    if not isinstance(given, str) or not _ID.fullmatch(given):
        allowed = "1 to 64 ASCII letters, digits, _, . and -"
        raise DeclarationError(f"Agent(id={given!r}): the id is not valid. Use {allowed}.")


def _refusal(id_: str, problem: str) -> DeclarationError:
    return DeclarationError(f"Agent {id_!r}: {problem}")


def _answering(id_: str, instructions: Any, model: Any, tools: Any) -> _Answering:
    return _Answering(
        instructions=_instructions(id_, instructions),
        model=model,
        models=_models(id_, model),
        tools=_tools(id_, tools),
    )


def _instructions(id_: str, given: Any) -> Instructions:
    if isinstance(given, str):
        return given
    if not callable(given) or inspect.iscoroutinefunction(given) or isinstance(given, Tool):
        raise _refusal(
            id_,
            f"instructions={given!r}. Pass text, or a def that takes the run's context and returns "
            "text.",
        )
    return given  # type: ignore[no-any-return]


def _models(id_: str, given: Any) -> tuple[Model, ...]:
    refs = list(given) if isinstance(given, (list, tuple)) else [given]
    if not refs:
        raise _refusal(id_, "model=[] names no model. Pass at least one, such as 'openai/<model>'.")
    try:
        return tuple(resolve(ref) for ref in refs)
    except DeclarationError as error:
        raise _refusal(id_, str(error)) from None


def _tools(id_: str, given: Any) -> tuple[Tool, ...]:
    if not isinstance(given, (list, tuple)):
        raise _refusal(id_, f"tools={given!r}. Pass a list of tools.")
    by_name: dict[str, Tool] = {}
    for tool in given:
        if not isinstance(tool, Tool):
            name = getattr(tool, "__qualname__", repr(tool))
            raise _refusal(id_, f"{name} in tools is no tool. Write @tool above its def.")
        if tool.name in by_name:
            raise _refusal(
                id_,
                f"two tools have the name {tool.name!r}: {by_name[tool.name]!r} and {tool!r}. "
                "Rename one with @tool(name=…).",
            )
        by_name[tool.name] = tool
    return tuple(given)


def _text(id_: str, option: str, given: Any) -> str:
    if not isinstance(given, str):
        raise _refusal(id_, f"{option}={given!r} is not text. Pass a string.")
    return given


def _whole(id_: str, option: str, given: Any, *, least: int) -> int:
    if type(given) is not int or given < least:
        raise _refusal(id_, f"{option}={given!r}. Pass a whole number from {least} up.")
    return given


def _seconds(id_: str, option: str, given: Any) -> float:
    if type(given) not in (int, float) or not 0 < given < math.inf:
        raise _refusal(id_, f"{option}={given!r}. Pass seconds above 0.")
    return float(given)


def _conditions(id_: str, given: Any) -> tuple[StopCondition, ...]:
    conditions = tuple(given) if isinstance(given, (list, tuple)) else (given,)
    for condition in conditions:
        if not callable(condition) or inspect.iscoroutinefunction(condition):
            raise _refusal(
                id_,
                f"{condition!r} in stop_when. Pass a def that takes a StepInfo and returns a bool.",
            )
    return conditions


def _approval(id_: str, option: str, given: Any) -> bool | ApprovalPolicy:
    return given if isinstance(given, bool) else _policy(id_, option, given)


def _policy(id_: str, name: str, given: Any) -> ApprovalPolicy:
    if not callable(given) or inspect.iscoroutinefunction(given):
        problem = "Pass a def that takes an ApprovalRequest and returns a bool."
        raise _refusal(id_, f"{name}={given!r}. {problem}")
    return given  # type: ignore[no-any-return]


def _active(id_: str, given: Any, known: Sequence[str]) -> tuple[str, ...] | None:
    if given is None:
        return None
    if not isinstance(given, (list, tuple)):
        raise _refusal(id_, f"active_tools={given!r}. Pass a list of names of tools, or None.")
    for name in given:
        _check_known(id_, "active_tools", name, known)
    return tuple(given)


def _choice(id_: str, given: Any, offered: Sequence[str]) -> ToolChoice:
    if isinstance(given, Mapping) and list(given) == ["tool"]:
        _check_known(id_, "tool_choice", given["tool"], offered)
        return MappingProxyType(dict(given))
    if given not in _CHOICES:
        allowed = ", ".join(map(repr, _CHOICES))
        raise _refusal(id_, f"tool_choice={given!r}. Use {allowed} or {{'tool': name}}.")
    if given == "required" and not offered:
        raise _refusal(
            id_, "tool_choice='required' and no tool on offer. Add tools, or use 'auto'."
        )
    return given  # type: ignore[no-any-return]


def _check_known(id_: str, option: str, name: Any, known: Sequence[str]) -> None:
    if name not in known:
        names = ", ".join(known) or "none"
        problem = f"{option} names {name!r}, which is no tool on offer (there are: {names})"
        raise _refusal(id_, f"{problem}. Correct the name, or add the tool.")


def _settings(id_: str, given: Any) -> Mapping[str, Any]:
    """A copy, so that nobody changes it later; JSON, because it is merged with what runs pass."""
    try:
        copied = json.loads(json.dumps(dict(given or {}), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise _refusal(
            id_,
            f"model_settings is not a JSON object ({error}). Clients and keys belong on a Model.",
        ) from None
    return MappingProxyType(copied)


def _digest(agent: Agent) -> str:
    """Changes with what the model is told and may call; the same in every process."""
    instructions = agent.instructions
    if not isinstance(instructions, str):
        named = instructions if hasattr(instructions, "__qualname__") else type(instructions)
        instructions = f"{named.__module__}.{named.__qualname__}"
    declared = {
        "instructions": instructions,
        "models": [model.name for model in agent.models],
        "tools": [[tool.name, tool.description, tool.parameters] for tool in agent.tools],
    }
    return hashlib.sha256(pydantic_core.to_json(declared)).hexdigest()[:12]
