"""What an MCP server asks of a person before it answers a call.  Imports no SDK."""

from collections.abc import Mapping
from typing import Any

import pydantic

from evented_agent.execution.mcp.cleaning import Cleaner
from evented_agent.execution.mcp.failures import MCPToolRefused

#: Most questions at a time, fields of a form, and characters of a question and of a short text.
_MOST_QUESTIONS, _MOST_FIELDS, _MOST_MESSAGE, _MOST_SHORT = 16, 64, 4_000, 500
#: Most bytes of what a server wants back with the answers.
_MOST_STATE = 64 * 1024
#: What is kept of a field, by its type; a pattern could compute for long.
_NUMBERS = ("minimum", "maximum")
_KEPT: Mapping[str, tuple[str, ...]] = {
    "string": ("minLength", "maxLength"),
    "number": _NUMBERS,
    "integer": _NUMBERS,
    "boolean": (),
    "array": ("minItems", "maxItems"),
}


#: The answer of a person who declines, as `decline` gives it.
DECLINED: Mapping[str, Any] = {
    "type": "object",
    "properties": {"approved": {"const": False}, "reason": {"type": "string"}},
    "required": ["approved"],
    "additionalProperties": False,
}


class WaitingCall(pydantic.BaseModel):
    """A call that a server answers once people have answered it, as a run keeps it.

    Attributes:
        kinds: What each question is, by the server's name for it: "form" or "url".
        state: What the server wants back with the answers.
        may_decline: Whether people may decline, as they decline a call.
    """

    kinds: dict[str, str]
    state: str | None = None
    may_decline: bool = False


class PersonAsked(Exception):
    """Raised to ask a person; *payload* and *schema* are what the run is suspended with."""

    def __init__(
        self, payload: Any, schema: Mapping[str, Any] | None, waiting: WaitingCall
    ) -> None:
        self.payload, self.schema, self.waiting = payload, schema, waiting
        super().__init__("The MCP server asks a person.")


def question_of(
    server: str, requests: Mapping[str, Any], state: str | None, cleaner: Cleaner
) -> PersonAsked:
    """What *requests*, in the protocol's JSON form, ask.

    One question is answered by its form's data, several by an object with those of each.  Raises
    `MCPToolRefused` for what no person is asked: models and roots.
    """
    if len(requests) > _MOST_QUESTIONS or len((state or "").encode()) > _MOST_STATE:
        raise MCPToolRefused(f"The MCP server {server!r} asks for too much at once.")
    shown: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    kinds: dict[str, str] = {}
    for key, request in requests.items():
        if request.get("method") != "elicitation/create":
            method = cleaner.text(str(request.get("method")), 100)
            raise MCPToolRefused(f"The MCP server {server!r} asks for {method}: not given here.")
        asked = request.get("params") or {}
        kinds[key] = "url" if asked.get("mode") == "url" else "form"
        shown[key] = {"message": cleaner.text(str(asked.get("message", "")), _MOST_MESSAGE)}
        if kinds[key] == "url":
            shown[key]["url"] = cleaner.text(str(asked.get("url", "")), 2_000)
        schemas[key] = _form(asked.get("requestedSchema"), cleaner)
    if len(shown) == 1:
        [key] = shown
        payload, form = {"server": server, **shown[key]}, schemas[key]
    else:
        payload = {"server": server, "questions": shown}
        form = {"type": "object", "properties": schemas, "required": list(schemas)}
    # A field of that name means what the server means by it.
    may_decline = "approved" not in form.get("properties", {})
    schema = {"anyOf": [form, DECLINED]} if may_decline else form
    waiting = WaitingCall(kinds=kinds, state=state, may_decline=may_decline)
    return PersonAsked(payload, schema, waiting)


def answers_of(waiting: WaitingCall, data: Any) -> dict[str, dict[str, Any]]:
    """What a person answered, in the protocol's JSON form, by the server's names."""
    if waiting.may_decline and isinstance(data, dict) and data.get("approved") is False:
        return {key: {"action": "decline"} for key in waiting.kinds}
    is_single = len(waiting.kinds) == 1
    answers = dict.fromkeys(waiting.kinds, data) if is_single else data
    return {
        key: _answer(kind, answers.get(key) if isinstance(answers, dict) else None)
        for key, kind in waiting.kinds.items()
    }


def _answer(kind: str, data: Any) -> dict[str, Any]:
    if kind == "url":
        return {"action": "accept"}
    if not isinstance(data, dict):
        return {"action": "cancel"}
    return {"action": "accept", "content": data}


def _form(given: Any, cleaner: Cleaner) -> dict[str, Any]:
    """A flat form, rebuilt from the words that are known."""
    fields = given.get("properties") if isinstance(given, Mapping) else None
    if not isinstance(fields, Mapping):
        return {"type": "object"}
    properties = {
        cleaner.text(str(name), 200): _field(field, cleaner)
        for name, field in list(fields.items())[:_MOST_FIELDS]
        if isinstance(field, Mapping)
    }
    required = given.get("required")
    names = [name for name in properties if isinstance(required, list) and name in required]
    return {"type": "object", "properties": properties, "required": names}


def _field(field: Mapping[str, Any], cleaner: Cleaner) -> dict[str, Any]:
    kind = field.get("type")
    made: dict[str, Any] = {}
    if isinstance(kind, str) and kind in _KEPT:
        made["type"] = kind
        bounds = {name: field.get(name) for name in _KEPT[kind]}
        made |= {name: n for name, n in bounds.items() if type(n) in (int, float)}
    for name in ("title", "description"):
        if isinstance(text := field.get(name), str):
            made[name] = cleaner.text(text, _MOST_SHORT)
    choices = _choices(field)
    if kind == "array" and isinstance(items := field.get("items"), Mapping):
        made["items"] = _field({"type": "string", **items}, cleaner)
    elif choices:
        made["enum"] = choices
    return made


def _choices(field: Mapping[str, Any]) -> list[str]:
    """The values of an enum, which may be given with a title each."""
    titled = field.get("oneOf") or field.get("anyOf") or []
    listed = field.get("enum") or [
        each.get("const") for each in titled if isinstance(each, Mapping)
    ]
    return [each for each in listed if isinstance(each, str)][:256]
