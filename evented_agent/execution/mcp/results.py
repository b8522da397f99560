"""What a call of an MCP server's tool came to, as the tool's result.  Imports no SDK."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

import pydantic_core

from evented_agent.execution.mcp.cleaning import Cleaner
from evented_agent.execution.mcp.failures import MCPToolFailed

#: Kinds of images that models are shown.
_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")
#: Most parts of one result, and characters of the text of a failed one.
_MOST_PARTS, _MOST_FAILURE = 256, 4_000


def value_of(result: Mapping[str, Any], cleaner: Cleaner) -> Any:
    """The result of a call, from the protocol's JSON form.

    One text is that text, or the data where it is their JSON; images are shown to the model, and
    what it cannot be shown is described. Raises `MCPToolFailed` where the tool says so.
    """
    parts = [_part(each, cleaner) for each in _content(result)]
    if result.get("isError") is True:
        texts = [part for part in parts if isinstance(part, str)]
        text = cleaner.text("\n".join(texts), _MOST_FAILURE)
        raise MCPToolFailed(text or "The tool failed and did not say why.")
    structured = result.get("structuredContent")
    if structured is not None and (not parts or _is_json_of(parts, structured, cleaner)):
        return cleaner.data(structured)
    return parts[0] if len(parts) == 1 else parts


def _content(result: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    content = result.get("content") or []
    kept = [part for part in content[:_MOST_PARTS] if isinstance(part, Mapping)]
    left = len(content) - _MOST_PARTS
    return kept if left <= 0 else [*kept, {"type": "text", "text": f"[{left} more parts]"}]


def _is_json_of(parts: Sequence[Any], structured: Any, cleaner: Cleaner) -> bool:
    if len(parts) != 1 or not isinstance(parts[0], str):
        return False
    try:
        return bool(pydantic_core.from_json(parts[0]) == cleaner.data(structured))
    except ValueError:
        return False


def _part(part: Mapping[str, Any], cleaner: Cleaner) -> Any:
    match part.get("type"):
        case "text":
            return cleaner.text(str(part.get("text", "")))
        case "image":
            image = _image(part.get("mimeType"), part.get("data"))
            return image or _described("image", part.get("data"), part, cleaner)
        case "audio":
            return _described("audio", part.get("data"), part, cleaner)
        case "resource":
            return _resource(part.get("resource"), cleaner)
        case "resource_link":
            about = [part.get("title") or part.get("name"), part.get("uri"), part.get("mimeType")]
            shown = ", ".join(cleaner.text(str(each), 2_000) for each in about if each)
            return f"[resource: {shown}]"
    return "[a part of the result that is not known here]"


def _image(kind: Any, data: Any) -> Any:
    """An image as the part of a message that shows it; None for what is none."""
    if kind not in _IMAGES or not isinstance(data, str):
        return None
    try:
        base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return None
    return {"type": "image", "url": f"data:{kind};base64,{data}"}


def _resource(resource: Any, cleaner: Cleaner) -> Any:
    if not isinstance(resource, Mapping):
        return "[a resource without contents]"
    uri = cleaner.text(str(resource.get("uri", "")), 2_000)
    if isinstance(text := resource.get("text"), str):
        return f"[resource: {uri}]\n{cleaner.text(text)}"
    blob = resource.get("blob")
    image = _image(resource.get("mimeType"), blob)
    return image or _described(f"resource {uri}", blob, resource, cleaner)


def _described(what: str, data: Any, part: Mapping[str, Any], cleaner: Cleaner) -> str:
    kind = cleaner.text(str(part.get("mimeType") or "of no known type"), 100)
    size = len(data) * 3 // 4 if isinstance(data, str) else 0
    return f"[{what}, {kind}, about {size:,} bytes: cannot be shown here]"
