"""Tools: functions that a model may call, as users declare them.  Knows no model and no run."""

import functools
import inspect
import json
import math
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, cast, overload

import pydantic
import pydantic_core

from evented_agent.agents.tools.approvals import ApprovalPolicy
from evented_agent.agents.tools.background import Background, checked_background
from evented_agent.agents.tools.context import ToolContext
from evented_agent.agents.tools.schema import (
    JsonSchema,
    arguments_model,
    one_line,
    place_of,
    read_docstring,
    read_signature,
    refusal,
    without_titles,
)

if TYPE_CHECKING:
    # With defaults, so that a plain `Tool` means any tool.
    from typing_extensions import ParamSpec, TypeVar

    P = ParamSpec("P", default=...)
    R = TypeVar("R", default=Any)
else:
    from typing import ParamSpec, TypeVar

    P = ParamSpec("P")
    R = TypeVar("R")

OnCrash = Literal["rerun", "ask", "fail"]
OnExpiry = Literal["decline", "fail"]
#: Seconds that a suspended call waits for a person, unless its tool says otherwise: 90 days.
EXPIRY = 90 * 24 * 3600.0

#: Most problems of wrong arguments that a model is told.
_MOST_PROBLEMS = 10

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class InvalidArguments(ValueError):
    """Raised when a model's arguments do not fit the tool; the text is for the model."""


@dataclass(frozen=True, eq=False, repr=False)
class Tool(Generic[P, R]):
    """A function that a model may call; made by `tool`, and still callable like the function.

    *parameters* is a JSON schema of type object, *timeout* is in seconds.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    function: Callable[..., Any]
    is_async: bool
    takes_context: bool
    timeout: float | None
    retries: int
    on_crash: OnCrash
    isolate: bool
    requires_approval: bool | ApprovalPolicy
    expiry: float
    on_expiry: OnExpiry
    background: Background | None
    _arguments: type[pydantic.BaseModel]
    _argument_names: tuple[str, ...]

    def __post_init__(self) -> None:
        # As functools.update_wrapper does, which cannot write to a frozen object.
        for attribute in functools.WRAPPER_ASSIGNMENTS:
            if hasattr(self.function, attribute):
                object.__setattr__(self, attribute, getattr(self.function, attribute))
        object.__setattr__(self, "__wrapped__", self.function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return cast(R, self.function(*args, **kwargs))

    def __repr__(self) -> str:
        return f"<Tool {self.name}: {place_of(self.function)}>"

    def validate(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Turn a model's JSON arguments into the function's keyword arguments.

        Defaults are filled in.  Raises `InvalidArguments`, one line for each problem.
        """
        try:
            # As JSON, where a string may be a date or an enum's value even in a strict model.
            parsed = self._arguments.model_validate_json(pydantic_core.to_json(arguments))
        except pydantic.ValidationError as error:
            problems = error.errors(include_url=False, include_context=False)
            lines = [f"- {self._problem(problem)}" for problem in problems[:_MOST_PROBLEMS]]
            if len(problems) > _MOST_PROBLEMS:
                lines.append(f"- and {len(problems) - _MOST_PROBLEMS} more problems")
        except Exception as error:  # noqa: BLE001 - validators are user code
            lines = [f"- {one_line(f'{type(error).__name__}: {error}')}"]
        else:
            values = [getattr(parsed, field) for field in self._arguments.model_fields]
            return dict(zip(self._argument_names, values, strict=True))
        raise InvalidArguments("\n".join([f"The arguments of {self.name} are not valid:", *lines]))

    def _problem(self, problem: Mapping[str, Any]) -> str:
        where = one_line(".".join(str(part) for part in problem["loc"])) or "arguments"
        if problem["type"] == "extra_forbidden" and len(problem["loc"]) == 1:
            known = ", ".join(self.parameters["properties"]) or "none"
            return f"{where}: there is no such argument (known: {one_line(known)})"
        given = problem["input"]
        is_short = given is None or isinstance(given, (bool, int, float, str))
        shown = f" (given: {one_line(repr(given), 60)})" if is_short else ""
        return f"{where}: {one_line(problem['msg'])}{shown}"


@overload
def tool(function: Callable[P, R], /) -> Tool[P, R]: ...


@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float | None = None,
    retries: int = 0,
    on_crash: OnCrash = "rerun",
    isolate: bool = False,
    requires_approval: bool | ApprovalPolicy = False,
    expiry: float = EXPIRY,
    on_expiry: OnExpiry = "decline",
    background: bool | Background = False,
) -> Callable[[Callable[P, R]], Tool[P, R]]: ...


def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float | None = None,
    retries: int = 0,
    on_crash: OnCrash = "rerun",
    isolate: bool = False,
    requires_approval: bool | ApprovalPolicy = False,
    expiry: float = EXPIRY,
    on_expiry: OnExpiry = "decline",
    background: bool | Background = False,
) -> Any:
    """Declare that a model may call this function, ``def`` or ``async def``.

    The parameters and their annotations become the JSON schema that the model sees, a Google-style
    ``Args:`` section their descriptions.  *name* and *description* stand in for the function's name
    and docstring.  A call fails after *timeout* seconds; a failed call is tried again *retries*
    times before the model is told; *on_crash* says what becomes of a call whose worker died or
    was stopped: it runs again, a person is asked, or it fails; *isolate* runs a ``def`` in a child
    process, which can be killed.

    With *requires_approval*, or where that function of an `ApprovalRequest` returns True, the call
    waits until a person approves or declines it. After *expiry* seconds without a decision a call
    counts as declined, or the run fails, as *on_expiry* says.

    With *background*, calls run beside the run's steps: the model gets a placeholder at once and
    is told when the result is there. See `Background`.

    Raises `DeclarationError` for what could not work, saying what to change.
    """
    policy = {"timeout": timeout, "retries": retries, "on_crash": on_crash, "isolate": isolate}
    people = {"requires_approval": requires_approval, "expiry": expiry, "on_expiry": on_expiry}

    def declare(function: Callable[..., Any]) -> Tool[..., Any]:
        _check_function(function, isolate=isolate)
        _check_policy(function, **policy)
        _check_people(function, **people)
        apart = checked_background(background, f"@tool on {place_of(function)}")
        return _make(function, name, description, policy | people | {"background": apart})

    return declare if function is None else declare(function)


def dump_result(value: Any) -> Any:
    """Return what a tool gave as JSON data.

    Models, dataclasses, dates, sets and the like become what pydantic makes of them; bytes become
    text, or base64 where they are not UTF-8.  Raises `ValueError` for what JSON cannot hold.
    """
    try:
        data = _jsonable(value)
        json.dumps(data, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"A value of type {type(value).__name__} cannot become JSON: {one_line(str(error))}. "
            "Give JSON types, dataclasses or pydantic models; None instead of NaN or infinity."
        ) from error
    return data


def _jsonable(value: Any) -> Any:
    try:
        return pydantic_core.to_jsonable_python(value, bytes_mode="utf8")
    except UnicodeDecodeError:
        return pydantic_core.to_jsonable_python(value, bytes_mode="base64")


def _make(
    function: Any, name: str | None, description: str | None, policy: Mapping[str, Any]
) -> Tool[..., Any]:
    name = str(function.__name__ if name is None else name)
    if not _NAME.fullmatch(name):
        allowed = "1 to 64 ASCII letters, digits, _ and -"
        raise refusal(function, f"the name {name!r} is not valid. Use @tool(name=…): {allowed}.")
    documented, notes = read_docstring(function.__doc__ or "")
    description = documented if description is None else description.strip()
    if not description:
        problem = "nothing says what it does. Write a docstring, or @tool(description=…)."
        raise refusal(function, problem)
    takes_context, parameters = read_signature(function, ToolContext)
    arguments = arguments_model(function, name, parameters, notes)
    return Tool(
        name=name,
        description=description,
        parameters=without_titles(arguments.model_json_schema(schema_generator=JsonSchema)),
        function=function,
        is_async=inspect.iscoroutinefunction(function),
        takes_context=takes_context,
        _arguments=arguments,
        _argument_names=tuple(parameter.name for parameter in parameters),
        **policy,
    )


def _check_function(function: Any, *, isolate: bool) -> None:
    if isinstance(function, Tool):
        raise refusal(function, "this is a tool already. Decorate it once.")
    if not inspect.isfunction(function) or function.__name__ == "<lambda>":
        raise refusal(function, "a tool is a function. Write it with def or async def.")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        problem = "a tool cannot yield. Return one result; send what is ready earlier by ctx.emit."
        raise refusal(function, problem)
    if isolate and inspect.iscoroutinefunction(function):
        raise refusal(function, "only a def can be isolated. Write def, or remove isolate=True.")
    if isolate and (function.__module__ == "__main__" or "<locals>" in function.__qualname__):
        problem = "an isolated tool is imported by its name in a child process. Move it to the top"
        raise refusal(function, f"{problem} level of a module that is imported, not run.")


def _check_policy(function: Any, timeout: Any, retries: Any, on_crash: Any, isolate: Any) -> None:
    if timeout is not None and not (type(timeout) in (int, float) and 0 < timeout < math.inf):
        raise refusal(function, f"timeout={timeout!r}. Give seconds above 0, or None for no limit.")
    if type(retries) is not int or retries < 0:
        raise refusal(function, f"retries={retries!r}. Give a whole number from 0 up.")
    if on_crash not in typing.get_args(OnCrash):
        allowed = " or ".join(repr(value) for value in typing.get_args(OnCrash))
        raise refusal(function, f"on_crash={on_crash!r}. Use {allowed}.")
    if not isinstance(isolate, bool):
        raise refusal(function, f"isolate={isolate!r}. Use True or False.")


def _check_people(function: Any, requires_approval: Any, expiry: Any, on_expiry: Any) -> None:
    is_policy = callable(requires_approval) and not inspect.iscoroutinefunction(requires_approval)
    if not isinstance(requires_approval, bool) and not is_policy:
        problem = "Use True, False, or a def that takes an ApprovalRequest and returns a bool."
        raise refusal(function, f"requires_approval={requires_approval!r}. {problem}")
    if type(expiry) not in (int, float) or not 0 < expiry < math.inf:
        raise refusal(function, f"expiry={expiry!r}. Give seconds above 0.")
    if on_expiry not in typing.get_args(OnExpiry):
        raise refusal(function, f"on_expiry={on_expiry!r}. Use 'decline' or 'fail'.")
