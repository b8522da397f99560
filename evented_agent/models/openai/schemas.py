"""JSON schemas as a model takes them, and typed answers where it has no schemas.  Does no I/O."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evented_agent.models.openai.profiles import OutputMode, Profile
from evented_agent.models.protocol import ModelRequest, ToolSpec

#: Keywords of a JSON schema that hold schemas by name, and those that hold plain data.
_BY_NAME = frozenset({"properties", "patternProperties", "$defs", "definitions"})
_DATA = frozenset({"default", "const", "enum", "examples", "required"})


def adapted_schema(schema: Mapping[str, Any], profile: Profile) -> dict[str, Any]:
    """*schema* without what the model refuses in one; the same where it refuses nothing."""
    made: Any = dict(schema)
    if profile.inline_refs:
        made = _inlined(made, made, ())
        made.pop("$defs", None)
        made.pop("definitions", None)
    if profile.without_keywords:
        made = _without(made, profile.without_keywords)
    return dict(made)


def _inlined(node: Any, root: Mapping[str, Any], within: tuple[str, ...]) -> Any:
    if isinstance(node, list):
        return [_inlined(each, root, within) for each in node]
    if not isinstance(node, dict):
        return node
    ref = node.get("$ref")
    if isinstance(ref, str):
        beside = {name: value for name, value in node.items() if name != "$ref"}
        # What contains itself has no end: from there on any object will do.
        found = {"type": "object"} if ref in within else _target(root, ref)
        return {**_inlined(found, root, (*within, ref)), **_inlined(beside, root, within)}
    return {
        name: value
        if name in _DATA
        else _inlined_each(value, root, within)
        if name in _BY_NAME
        else _inlined(value, root, within)
        for name, value in node.items()
        if name not in ("$defs", "definitions")
    }


def _inlined_each(named: Any, root: Mapping[str, Any], within: tuple[str, ...]) -> Any:
    """Schemas by name, whatever the names: they are no keywords."""
    if not isinstance(named, dict):
        return named
    return {name: _inlined(each, root, within) for name, each in named.items()}


def _target(root: Mapping[str, Any], ref: str) -> dict[str, Any]:
    node: Any = root
    for part in ref.removeprefix("#").strip("/").split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        node = node.get(name) if isinstance(node, Mapping) and name else node
    return dict(node) if isinstance(node, Mapping) and node is not root else {"type": "object"}


def _without(node: Any, keywords: frozenset[str]) -> Any:
    if isinstance(node, list):
        return [_without(each, keywords) for each in node]
    if not isinstance(node, dict):
        return node
    made: dict[str, Any] = {}
    for name, value in node.items():
        if name in _BY_NAME and isinstance(value, dict):
            made[name] = {key: _without(each, keywords) for key, each in value.items()}
        elif name == "const" and name in keywords:
            # The same, in older words.
            made["enum"] = [value]
        elif name not in keywords:
            made[name] = value if name in _DATA else _without(value, keywords)
    return made


@dataclass(frozen=True, slots=True)
class WantedOutput:
    """An answer of a declared type, as a request wants it: its name and schema, and how."""

    name: str
    schema: Mapping[str, Any]
    strict: bool
    mode: OutputMode


def wanted_output(request: ModelRequest, profile: Profile) -> WantedOutput | None:
    """The typed answer that the setting ``response_format`` asks for; None where it asks for none.

    A tool of that name, or a tool choice that names another, leaves no place for a tool of ours.
    """
    wanted = request.settings.get("response_format")
    if not isinstance(wanted, Mapping) or wanted.get("type") != "json_schema":
        return None
    described = wanted.get("json_schema")
    if not isinstance(described, Mapping) or not isinstance(described.get("schema"), Mapping):
        return None
    mode = profile.output_beside_tools if request.tools else profile.output
    name = str(described.get("name") or "answer")
    is_taken = name in (tool.name for tool in request.tools)
    if mode == "tool" and (is_taken or request.tool_choice not in ("auto", "required")):
        mode = "prompt"
    return WantedOutput(name, described["schema"], bool(described.get("strict")), mode)


def output_tool(wanted: WantedOutput) -> ToolSpec:
    """The tool that a model calls to give its answer."""
    return ToolSpec(
        wanted.name,
        "Give the final answer with this function, once nothing else is left to do.",
        wanted.schema,
    )


def output_prompt(wanted: WantedOutput) -> str:
    """What a model without schemas is told of the answer."""
    schema = json.dumps(wanted.schema, ensure_ascii=False, separators=(",", ":"))
    return (
        "Give your final answer as a JSON object that fits this JSON schema, and write nothing "
        f"else in it:\n{schema}"
    )
