"""What a function's signature and docstring say to a model.  Pure."""

import functools
import inspect
import operator
import re
import textwrap
import typing
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter
from typing import Annotated, Any, cast, get_args

import docstring_parser
import pydantic
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaWarningKind

from evented_agent.agents.typed_dicts import readable
from evented_agent.errors import DeclarationError

#: Most characters of one problem that a model is told.
_MOST_TEXT = 200

_ARGS_SECTION = re.compile(r"(?:Args|Arguments|Parameters):\s*")
_ARGS_ITEM = re.compile(r"(\w+)\s*(?:\(.*?\))?\s*:(?:\s+(.*))?")
#: Keywords of a JSON schema that hold schemas by name, and those that hold plain data.
_NAMED_SCHEMAS = {"properties", "patternProperties", "$defs"}
_DATA = {"default", "const", "enum", "examples", "required", "discriminator"}


def underlying(function: Any) -> Any:
    """The plain function behind a method, a partial or an object that can be called."""
    while not inspect.isfunction(function):
        if isinstance(function, functools.partial):
            function = function.func
        elif inspect.ismethod(function):
            function = function.__func__
        elif not inspect.isclass(function) and inspect.isfunction(
            call := getattr(type(function), "__call__", None)  # noqa: B004 - the function itself
        ):
            function = call
        else:
            break
    return function


def place_of(function: Callable[..., Any]) -> str:
    plain = underlying(function)
    return f"{plain.__module__}.{plain.__qualname__}"


def refusal(function: Any, problem: str) -> DeclarationError:
    is_plain = inspect.isfunction(underlying(function))
    place = place_of(function) if is_plain else repr(function)
    return DeclarationError(f"@tool on {place}: {problem}")


def read_signature(function: Callable[..., Any], context: type) -> tuple[bool, list[Parameter]]:
    """Whether the first parameter takes the *context*, and the parameters that the model fills."""
    takes_context, parameters = False, []
    # What a partial has filled in is not for the model.
    filled = function.keywords if isinstance(function, functools.partial) else {}
    given_parameters = inspect.signature(function).parameters
    free = [each for name, each in given_parameters.items() if name not in filled]
    for index, given in enumerate(free):
        if given.kind not in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY):
            problem = f"{given.name!r} is {given.kind.description}, but arguments come by name"
            raise refusal(function, f"parameter {problem}. Remove *, ** and /.")
        parameter = given.replace(annotation=_annotation(function, given))
        is_context = _is(context, parameter.annotation)
        if is_context and index == 0 and parameter.kind is not Parameter.KEYWORD_ONLY:
            takes_context = True
        elif is_context or any(_is(context, part) for part in get_args(parameter.annotation)):
            place = f"as the first parameter: {parameter.name}: ToolContext"
            raise refusal(function, f"parameter {parameter.name!r}: the context comes {place}.")
        else:
            parameters.append(parameter)
    return takes_context, parameters


def _annotation(function: Callable[..., Any], parameter: Parameter) -> Any:
    if parameter.annotation is Parameter.empty:
        problem = f"has no annotation. Annotate it, as in {parameter.name}: str"
        raise refusal(function, f"parameter {parameter.name!r} {problem} (methods are no tools).")

    # A stand-in, because the return annotation need not be resolvable.
    def stand_in() -> None: ...

    stand_in.__annotations__ = {"it": parameter.annotation}
    names = inspect.unwrap(underlying(function)).__globals__
    try:
        hints = typing.get_type_hints(stand_in, globalns=names, include_extras=True)
        return readable(hints["it"])
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        problem = f"parameter {parameter.name!r}: {parameter.annotation!r} cannot be read ({error})"
        advice = "Define or import its names at the top of the module, also at runtime"
        raise refusal(function, f"{problem}. {advice}.") from error


def arguments_model(
    function: Any, name: str, parameters: Sequence[Parameter], notes: Mapping[str, str]
) -> type[pydantic.BaseModel]:
    fields: dict[str, Any] = {}
    for index, parameter in enumerate(parameters):
        # A neutral name behind an alias: a parameter may be called json, copy or _private.
        field = fields[f"field_{index}"] = _field(parameter, notes.get(parameter.name))
        try:
            part = pydantic.create_model("part", field=field)
            part.model_json_schema(schema_generator=JsonSchema)
        except (pydantic.PydanticUserError, NameError, TypeError, ValueError) as error:
            advice = "Use JSON types, enums, dates, dataclasses or pydantic models, in defaults too"
            problem = f"parameter '{parameter}' has no JSON schema. {advice}."
            raise refusal(function, problem) from error
    return pydantic.create_model(name, __config__=pydantic.ConfigDict(extra="forbid"), **fields)


def _is(context: type, annotation: Any) -> bool:
    """Whether *annotation* is the class *context*, perhaps with its type arguments."""
    return annotation is context or typing.get_origin(annotation) is context


def _field(parameter: Parameter, note: str | None) -> tuple[Any, Any]:
    ours = pydantic.Field(alias=parameter.name, description=note)
    is_annotated = typing.get_origin(parameter.annotation) is Annotated
    parts = get_args(parameter.annotation) if is_annotated else (parameter.annotation,)
    # Ours comes before the user's own Field(…), because what comes later wins.
    annotated = operator.getitem(cast(Any, Annotated), (parts[0], ours, *parts[1:]))
    is_required = parameter.default is Parameter.empty
    return annotated, pydantic.Field() if is_required else parameter.default


class JsonSchema(GenerateJsonSchema):
    """Refuses what cannot be said in a schema, where pydantic would warn and leave it out."""

    def emit_warning(self, kind: JsonSchemaWarningKind, detail: str) -> None:
        raise ValueError(f"{kind}: {detail}")


def opened(schema: Mapping[str, Any]) -> dict[str, Any]:
    """*schema*, beginning with the type itself where it only refers to that, as recursive types do.

    Providers ask for ``"type": "object"`` at the beginning.
    """
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return dict(schema)
    definitions = schema["$defs"]
    return {**definitions[reference.removeprefix("#/$defs/")], "$defs": definitions}


def without_titles(schema: Any) -> Any:
    if isinstance(schema, list):
        return [without_titles(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {}
    for key, value in schema.items():
        if key in _NAMED_SCHEMAS:
            plain[key] = {name: without_titles(part) for name, part in value.items()}
        elif key != "title":
            plain[key] = value if key in _DATA else without_titles(value)
    return plain


def read_docstring(docstring: str) -> tuple[str, dict[str, str]]:
    """The description without its section of parameters, and what that says of each.

    In Google's style other sections stay; in NumPy's, Sphinx's and Epydoc's the description alone.
    """
    lines = inspect.cleandoc(docstring).splitlines()
    start = next((i for i, line in enumerate(lines) if _ARGS_SECTION.fullmatch(line)), len(lines))
    if start == len(lines) and (other := _other_style(docstring)) is not None:
        return other
    end = start + 1
    while end < len(lines) and not lines[end][:1].strip():
        end += 1
    notes: dict[str, str] = {}
    current = ""
    for line in textwrap.dedent("\n".join(lines[start + 1 : end])).splitlines():
        item = _ARGS_ITEM.fullmatch(line)
        current, text = (item[1], item[2] or "") if item else (current, line.strip())
        notes[current] = f"{notes.get(current, '')} {text}".strip()
    return "\n".join(lines[:start] + lines[end:]).strip(), notes


def _other_style(docstring: str) -> tuple[str, dict[str, str]] | None:
    try:
        parsed = docstring_parser.parse(docstring)
    except docstring_parser.ParseError:
        return None
    notes = {
        each.arg_name: " ".join((each.description or "").split())
        for each in parsed.params
        if each.args[0] in ("param", "parameter", "arg", "argument", "key", "keyword")
    }
    return ((parsed.description or "").strip(), notes) if notes else None


def one_line(text: str, most: int = _MOST_TEXT) -> str:
    """*text* on one line, cut where it is long."""
    joined = " ".join(text.split())
    return joined if len(joined) <= most else f"{joined[:most]}…"
