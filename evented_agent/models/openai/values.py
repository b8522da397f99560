"""How values are written for both OpenAI APIs.  Does no I/O."""

import json
from collections.abc import Mapping
from typing import Any

from evented_agent.chunks import Usage
from evented_agent.chunks.base import token_count
from evented_agent.models.messages import ToolCall, ToolMessage

_write = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def arguments_text(call: ToolCall) -> str:
    """Return a call's arguments as the text of a JSON object.

    What the model wrote is wrapped where it was invalid, since many servers parse this field.
    """
    return _write(call.arguments if call.invalid is None else {"invalid_json": call.invalid})


def output_text(message: ToolMessage) -> str:
    """Return a tool's result as a model reads it: text as it is, anything else as JSON."""
    if message.is_error:
        return _write({"error": message.result})
    return message.result if isinstance(message.result, str) else _write(message.result)


def with_settings(body: dict[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return *body* with *settings* on top; a setting of None removes that key."""
    return {name: value for name, value in {**body, **settings}.items() if value is not None}


def usage_from(
    usage: Mapping[str, Any], inputs: str, outputs: str, details: tuple[str, str]
) -> Usage:
    """Read the provider's count of tokens under the names that its API gives them."""
    taken, given = token_count(usage.get(inputs)), token_count(usage.get(outputs))
    input_details, output_details = (_mapping(usage.get(name)) for name in details)
    return Usage(
        input_tokens=taken,
        output_tokens=given,
        total_tokens=token_count(usage.get("total_tokens")) or taken + given,
        reasoning_tokens=token_count(output_details.get("reasoning_tokens")),
        cached_input_tokens=token_count(input_details.get("cached_tokens")),
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
