"""What an MCP server offers, bounded and named for models.  Imports no SDK."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jsonschema
import pydantic
import pydantic_core

from evented_agent.chunks.json_values import NotJson, as_json, for_log
from evented_agent.execution.mcp.cleaning import Cleaner
from evented_agent.logs import logger_of

logger = logger_of(__name__)

#: Most tools of one server, and characters of a name, of a description and of a schema's JSON.
MOST_TOOLS, _MOST_NAME, _MOST_DESCRIPTION, _MOST_SCHEMA = 128, 64, 4_096, 32 * 1024
#: Most characters of all descriptions and schemas of one server.
_MOST_TOTAL = 512 * 1024
#: Most levels of a schema.
_MOST_LEVELS = 24
_OTHER_SIGNS = re.compile(r"[^a-zA-Z0-9_-]")


class Definition(pydantic.BaseModel):
    """One tool of a server, as a run keeps it.

    Attributes:
        name: What the model calls it.
        tool: What the server calls it.
        description: What the model is told of it.
        parameters: The JSON schema of its arguments.
        is_repeatable: Whether the server says that calling it twice is like calling it once.
        digest: Changes with what the server said of its arguments and of its effects.
    """

    model_config = pydantic.ConfigDict(frozen=True)

    name: str
    tool: str
    description: str
    parameters: dict[str, Any]
    is_repeatable: bool = False
    digest: str = ""


def definitions_of(
    server: str, tools: Iterable[Mapping[str, Any]], cleaner: Cleaner
) -> list[Definition]:
    """The tools of *server* that a model can be offered, each with a name of its own.

    *tools* are in the protocol's JSON form. Those that cannot be offered are left out, and logged.
    """
    made: dict[str, Definition] = {}
    total = 0
    for listed in tools:
        if len(made) == MOST_TOOLS or total > _MOST_TOTAL:
            logger.warning("MCP server %s offers more than its first %d tools", server, len(made))
            break
        name = _name(server, str(listed["name"]), made)
        schema = _schema(listed.get("inputSchema"), cleaner)
        if isinstance(schema, str):
            shown = for_log(str(listed["name"]), 80)
            logger.warning("Tool %s of MCP server %s is left out: %s", shown, server, schema)
            continue
        made[name] = Definition(
            name=name,
            tool=str(listed["name"]),
            description=cleaner.text(
                str(listed.get("description") or listed.get("title") or listed["name"]),
                _MOST_DESCRIPTION,
            ),
            parameters=schema,
            is_repeatable=_is_repeatable(listed),
            digest=tool_digest(listed),
        )
        total += len(made[name].model_dump_json())
    return list(made.values())


def tool_digest(listed: Mapping[str, Any]) -> str:
    """Changes with a tool's arguments and effects; its description may tell the time of day."""
    kept = [listed.get("inputSchema"), listed.get("annotations")]
    # Compared as text: a number and a key's order are what the server wrote.
    return hashlib.sha256(pydantic_core.to_json(kept)).hexdigest()[:16]


def _is_repeatable(listed: Mapping[str, Any]) -> bool:
    hints = listed.get("annotations")
    if not isinstance(hints, Mapping):
        return False
    return hints.get("readOnlyHint") is True or hints.get("idempotentHint") is True


def _name(server: str, tool: str, taken: Mapping[str, Definition]) -> str:
    """``<server>_<tool>``, with a digest where that is not valid or was given to another."""
    name = _OTHER_SIGNS.sub("_", f"{server}_{tool}")
    if name == f"{server}_{tool}" and len(name) <= _MOST_NAME and name not in taken:
        return name
    digest = hashlib.sha256(tool.encode(errors="replace")).hexdigest()[:8]
    return f"{name[: _MOST_NAME - 9]}_{digest}"


def _schema(given: Any, cleaner: Cleaner) -> dict[str, Any] | str:
    """The schema as a model may be shown it, or why it cannot be."""
    if not isinstance(given, dict):
        return "its arguments have no schema"
    try:
        schema = cleaner.data(as_json(given, wrapped=_MOST_LEVELS - 64))
    except (NotJson, RecursionError) as error:
        return f"the schema of its arguments is not usable ({error})"
    size = len(pydantic_core.to_json(schema))
    if size > _MOST_SCHEMA:
        return f"the schema of its arguments has {size:,} bytes; at most {_MOST_SCHEMA:,} are used"
    if schema.setdefault("type", "object") != "object":
        return "its arguments are no object"
    schema.setdefault("properties", {})
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except Exception as error:  # noqa: BLE001 - whatever a foreign schema makes of its check
        return f"the schema of its arguments is not valid ({type(error).__name__})"
    return schema  # type: ignore[no-any-return]


_DEFINITIONS = pydantic.TypeAdapter(list[Definition])


def dump_definitions(definitions: Sequence[Definition]) -> str:
    """The stored form of what a server offered."""
    return _DEFINITIONS.dump_json(list(definitions)).decode()


def load_definitions(stored: str) -> list[Definition]:
    """Read what `dump_definitions` wrote."""
    return _DEFINITIONS.validate_json(stored)
