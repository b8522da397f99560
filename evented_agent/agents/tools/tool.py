"""Tools: functions that a model may call, as users declare them.  Imports no model and no run."""

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Unpack, cast, overload

import pydantic
import pydantic_core
from typing_extensions import ParamSpec, TypeVar

from evented_agent.agents.tools.context import ToolContext
from evented_agent.agents.tools.policy import ToolOptions, ToolPolicy
from evented_agent.agents.tools.schema import (
    JsonSchema,
    arguments_model,
    one_line,
    place_of,
    read_docstring,
    read_signature,
    refusal,
    underlying,
    without_titles,
)
from evented_agent.chunks.json_values import NotJson, as_json

# With defaults, so that a plain `Tool` means any tool.
P = ParamSpec("P", default=...)
R = TypeVar("R", default=Any)

#: Most problems of wrong arguments that a model is told.
_MOST_PROBLEMS = 10

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class InvalidArguments(ValueError):
    """Raised when a model's arguments do not fit the tool; the text is for the model."""


class ToolResultUnusable(Exception):
    """Raised where a call has been made and what it returned cannot be kept: it is not repeated."""

    def __init__(self, why: str) -> None:
        super().__init__(
            "The tool ran to its end, and is not run again; only its result is missing, because it "
            f"cannot be kept. {why}"
        )


@dataclass(frozen=True, eq=False, repr=False)
class Tool(Generic[P, R]):
    """A function that a model may call; made by `tool`, and still callable like the function.

    Attributes:
        name: What the model calls it: 1 to 64 ASCII letters, digits, ``_`` and ``-``.
        description: What the model is told of it.
        parameters: The JSON schema (of type object) of its arguments, as the model sees it.
        function: What was declared: a ``def`` or an ``async def``, a method of an object, a
            `functools.partial`, or an object that can be called.
        is_async: Whether *function* is an ``async def``.
        takes_context: Whether its first parameter is a `ToolContext`, which the model never sees.
        policy: The options that were given to `tool`, checked.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    function: Callable[..., Any]
    is_async: bool
    takes_context: bool
    policy: ToolPolicy
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
        parsed = self._parsed(arguments)
        values = [getattr(parsed, field) for field in self._arguments.model_fields]
        return dict(zip(self._argument_names, values, strict=True))

    def _parsed(self, arguments: Mapping[str, Any]) -> pydantic.BaseModel:
        try:
            # As JSON, where a string may be a date or an enum's value even in a strict model.
            return self._arguments.model_validate_json(pydantic_core.to_json(arguments))
        except pydantic.ValidationError as error:
            problems = error.errors(include_url=False, include_context=False)
            lines = [f"- {self._problem(problem)}" for problem in problems[:_MOST_PROBLEMS]]
            if len(problems) > _MOST_PROBLEMS:
                lines.append(f"- and {len(problems) - _MOST_PROBLEMS} more problems")
        except Exception as error:  # noqa: BLE001 - validators are user code
            lines = [f"- {one_line(f'{type(error).__name__}: {error}')}"]
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
    *, name: str | None = None, description: str | None = None, **options: Unpack[ToolOptions]
) -> Callable[[Callable[P, R]], Tool[P, R]]: ...


def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    **options: Unpack[ToolOptions],
) -> Any:
    """Declare that a model may call this function, ``def`` or ``async def``.

    The parameters and their annotations become the JSON schema that the model sees, what the
    docstring says of them (in the style of Google, NumPy or Sphinx) their descriptions.

    What the function returns becomes JSON: models, dataclasses, enums, numpy's arrays and scalars
    as what they hold, dates as ISO 8601, decimals and UUIDs as text. Bytes of an image, or an
    `ImagePart`, alone or in a list, are shown to the model as an image; other bytes are the text
    that they are in UTF-8, or else URL-safe base64. The model is told where that cannot be done,
    as with NaN, sets or more than 64 levels.

    Args:
        function: What the model may call; a first parameter of type `ToolContext` is not its own.
        name: Instead of the function's name.
        description: Instead of the function's docstring.
        options: How its calls are run: timeouts, retries, approval, the background; see
            `ToolOptions`.

    Raises `DeclarationError` for what could not work, saying what to change.
    """

    def declare(function: Callable[..., Any]) -> Tool[..., Any]:
        _check_function(function)
        policy = ToolPolicy.of(function, options)
        _check_isolation(function, policy)
        return _make(function, name, description, policy)

    return declare if function is None else declare(function)


def dump_result(value: Any) -> Any:
    """Return what a tool gave as JSON data; `as_json` says what becomes of which type.

    Raises `ValueError` for what JSON cannot hold, or what would not be read back as it is.
    """
    try:
        return as_json(value)
    except NotJson as error:
        raise ValueError(
            f"A value of type {type(value).__name__} cannot become JSON: {one_line(str(error))}. "
            "Give JSON types, dataclasses or pydantic models; None instead of NaN or infinity."
        ) from error


def _make(
    function: Any, name: str | None, description: str | None, policy: ToolPolicy
) -> Tool[..., Any]:
    name = _own_name(function) if name is None else str(name)
    if not _NAME.fullmatch(name):
        allowed = "1 to 64 ASCII letters, digits, _ and -"
        raise refusal(function, f"the name {name!r} is not valid. Use @tool(name=…): {allowed}.")
    documented, notes = read_docstring(_docstring(function))
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
        is_async=inspect.iscoroutinefunction(underlying(function)),
        takes_context=takes_context,
        policy=policy,
        _arguments=arguments,
        _argument_names=tuple(parameter.name for parameter in parameters),
    )


def _own_name(function: Any) -> str:
    """The function's name; of an object that can be called, that of its class."""
    plain = underlying(function)
    is_object = plain.__name__ == "__call__" and not inspect.ismethod(function)
    return type(function).__name__ if is_object else str(plain.__name__)


def _docstring(function: Any) -> str:
    plain = underlying(function)
    return plain.__doc__ or (type(function).__doc__ if plain.__name__ == "__call__" else "") or ""


def _check_function(function: Any) -> None:
    if isinstance(function, Tool):
        raise refusal(function, "this is a tool already. Decorate it once.")
    plain = underlying(function)
    if not inspect.isfunction(plain) or plain.__name__ == "<lambda>":
        raise refusal(function, "a tool is a function. Write it with def or async def.")
    if inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain):
        problem = "a tool cannot yield. Return one result; send what is ready earlier by ctx.emit."
        raise refusal(function, problem)


def _check_isolation(function: Any, policy: ToolPolicy) -> None:
    if not policy.isolate:
        return
    if inspect.iscoroutinefunction(function) or not inspect.isfunction(function):
        raise refusal(function, "only a def can be isolated. Write def, or remove isolate=True.")
    if function.__module__ == "__main__" or "<locals>" in function.__qualname__:
        problem = "an isolated tool is imported by its name in a child process. Move it to the top"
        raise refusal(function, f"{problem} level of a module that is imported, not run.")
