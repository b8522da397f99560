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

from evented_agent.errors import DeclarationError
from evented_agent.memory import Memory, Window
from evented_agent.models.protocol import Model, ToolChoice
from evented_agent.models.resolve import resolve
from evented_agent.outputs import OutputType
from evented_agent.policies import Hook, JudgeStep, PrepareStep, StopCondition, is_async
from evented_agent.tools import ApprovalPolicy, Tool

#: Text, or a function of the run's context that returns it.
Instructions = str | Callable[[Any], str]
ModelRef = str | Model

#: What an agent's hooks are for, in the order of a run.
HOOKS = ("on_start", "on_step", "on_suspended", "on_finish", "on_error", "on_abort")
#: A function that a run may choose by its name, where its kind is asked for.
Policy = Callable[..., Any]

_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_CHOICES = ("auto", "none", "required")


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
    policies: Mapping[str, Policy]
    prepare_step: PrepareStep | None
    on_iteration_complete: JudgeStep | None
    hooks: Mapping[str, Hook]
    memory: Memory | None
    window: Window
    output_type: OutputType | None
    output_types: Mapping[str, OutputType]
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
        policies: Mapping[str, Policy] | None = None,
        prepare_step: PrepareStep | None = None,
        on_iteration_complete: JudgeStep | None = None,
        on_start: Hook | None = None,
        on_step: Hook | None = None,
        on_suspended: Hook | None = None,
        on_finish: Hook | None = None,
        on_error: Hook | None = None,
        on_abort: Hook | None = None,
        memory: Memory | None = None,
        window: Window | None = None,
        output_type: Any = None,
        output_types: Sequence[Any] = (),
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
            policies: Functions by name, for runs to choose: ``require_tool_approval="name"``,
                ``stop_when="name"``, ``prepare_step="name"``.
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
            prepare_step=_function(id, "prepare_step", prepare_step),
            on_iteration_complete=_function(id, "on_iteration_complete", on_iteration_complete),
            hooks=_hooks(id, (on_start, on_step, on_suspended, on_finish, on_error, on_abort)),
            memory=memory,
            window=_window(id, window),
            **_outputs(id, output_type, output_types),
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


def _hooks(id_: str, given: Sequence[Any]) -> Mapping[str, Hook]:
    named = zip(HOOKS, given, strict=True)
    checked = {name: _function(id_, name, hook) for name, hook in named}
    return MappingProxyType({name: hook for name, hook in checked.items() if hook is not None})


def _function(id_: str, option: str, given: Any) -> Any:
    if given is not None and not callable(given):
        raise _refusal(id_, f"{option}={given!r}. Pass a def or an async def.")
    return given


def _window(id_: str, given: Any) -> Window:
    if given is not None and not isinstance(given, Window):
        raise _refusal(id_, f"window={given!r}. Pass a Window(messages=…, tokens=…).")
    return given or Window()


def _outputs(id_: str, default: Any, others: Any) -> dict[str, Any]:
    try:
        first = None if default is None else OutputType(default)
        made = [*([first] if first else []), *(OutputType(each) for each in others)]
    except DeclarationError as error:
        raise _refusal(id_, str(error)) from None
    by_name = {each.name: each for each in made}
    if len(by_name) < len(made):
        raise _refusal(id_, "two output types have the same name. Rename one.")
    return {"output_type": first, "output_types": MappingProxyType(by_name)}


def _approval(id_: str, option: str, given: Any) -> bool | ApprovalPolicy:
    if isinstance(given, bool):
        return given
    if not callable(given) or is_async(given):
        problem = "Pass a def that takes an ApprovalRequest and returns a bool."
        raise _refusal(id_, f"{option}={given!r}. {problem}")
    return given  # type: ignore[no-any-return]


def _policy(id_: str, name: str, given: Any) -> Policy:
    if not callable(given):
        raise _refusal(id_, f"policies[{name!r}]={given!r}. Pass a def.")
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
