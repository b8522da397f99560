"""Structured output: the type that an answer must have, its schema, and what a text makes of it."""

import json
import re
from collections.abc import Mapping
from typing import Any

import pydantic
import pydantic_core

from evented_agent.agents.tools.schema import opened
from evented_agent.agents.typed_dicts import readable
from evented_agent.chunks.json_values import as_json
from evented_agent.errors import DeclarationError

#: Most problems of a wrong answer that the model is told.
_MOST_PROBLEMS = 10


class InvalidOutput(ValueError):
    """Raised when an answer is not what the agent's output type asks for."""


class OutputType:
    """A pydantic model, dataclass or TypedDict that an agent's answer must fit."""

    def __init__(self, declared: Any) -> None:
        """Raises `DeclarationError` for what has no JSON schema of type object."""
        self.declared = declared
        self.name: str = str(getattr(declared, "__name__", ""))
        try:
            self._adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(readable(declared))
            self.schema: Mapping[str, Any] = opened(self._adapter.json_schema())
        except (pydantic.errors.PydanticUserError, TypeError) as error:
            raise DeclarationError(f"{declared!r} cannot be an output type: {error}") from None
        if self.schema.get("type") != "object" or not self.name:
            raise DeclarationError(
                f"{declared!r} cannot be an output type: models answer with a JSON object. Pass a "
                "pydantic model, a dataclass or a TypedDict."
            )

    def parse(self, text: str) -> Any:
        """The answer as the declared type.  Raises `InvalidOutput`, for the model to read."""
        try:
            answer = self._adapter.validate_json(json_in(text))
            as_json(pydantic_core.to_jsonable_python(answer))
            return answer
        except pydantic.ValidationError as error:
            found = error.errors(include_url=False, include_context=False, include_input=False)
            lines = [
                f"- {'.'.join(map(str, each['loc'])) or 'the answer'}: {each['msg']}"
                for each in found[:_MOST_PROBLEMS]
            ]
        except Exception as error:  # noqa: BLE001 - validators are user code
            lines = [f"- {type(error).__name__}: {error}"]
        raise InvalidOutput("\n".join([f"The answer is no valid {self.name}:", *lines]))


_THOUGHTS = re.compile(r"<(think|thinking|thought|reasoning)>.*?(?:</\1>|\Z)", re.DOTALL)
_FENCE = re.compile(r"```[a-zA-Z0-9]*[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL)
_LINE = re.compile(r"(?:\A|\n)(\{)")
_decoder = json.JSONDecoder(strict=False)


def json_in(text: str) -> str:
    """The JSON object that *text* holds, without thoughts, a fence or words around it.

    The text itself where it is one already, or holds none; of several the last counts.
    """
    if _object_at(text.strip(), 0) == len(text.strip()):
        return text
    plain = _THOUGHTS.sub("", text).strip()
    fenced = [found[1].strip() for found in _FENCE.finditer(plain)]
    for each in (*reversed(fenced), plain):
        if (found := _last_object(each)) is not None:
            return found
    return text


def _last_object(text: str) -> str | None:
    """The last whole object that begins at the first brace, or at one that begins a line.

    What begins elsewhere may be a part of an object that was cut off.
    """
    starts = {text.find("{"), *(found.start(1) for found in _LINE.finditer(text))} - {-1}
    for at in sorted(starts, reverse=True):
        if (end := _object_at(text, at)) is not None:
            return text[at:end]
    return None


def _object_at(text: str, at: int) -> int | None:
    """Where the JSON object that begins at *at* ends; None where there is none."""
    if not text.startswith("{", at):
        return None
    try:
        return _decoder.raw_decode(text, at)[1]
    except (ValueError, RecursionError):
        return None


def partial(text: str) -> Any:
    """What a text that is not complete says so far as JSON; None where that is nothing."""
    plain = _THOUGHTS.sub("", text).lstrip()
    start = plain.find("{")
    if not plain.startswith(("{", "[", '"')) and start >= 0:
        plain = plain[start:]
    try:
        return as_json(pydantic_core.from_json(plain, allow_partial="trailing-strings"))
    except ValueError:
        return None


def strict_schema(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """*schema* as providers with strict schemas want it; None where they could not express it.

    Every object names all its properties as required and allows no others, as OpenAI demands.
    """
    try:
        made = _strict(json.loads(json.dumps(dict(schema))))
    except _NotStrict:
        return None
    return dict(made)


class _NotStrict(Exception):
    pass


def _strict(node: Any) -> Any:
    if isinstance(node, list):
        return [_strict(each) for each in node]
    if not isinstance(node, dict):
        return node
    if node.get("type") == "object":
        # Free names are what strict schemas cannot have.
        if node.get("additionalProperties") or "properties" not in node:
            raise _NotStrict
        node["additionalProperties"] = False
        node["required"] = list(node["properties"])
    node.pop("default", None)
    return {
        name: {key: _strict(each) for key, each in value.items()}
        if name in ("properties", "$defs")
        else _strict(value)
        for name, value in node.items()
    }
