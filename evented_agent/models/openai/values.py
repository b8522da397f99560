"""How values are written for both OpenAI APIs.  Does no I/O."""

import json
from collections.abc import Mapping
from typing import Any

from evented_agent.chunks import Usage
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
    taken, given = usage.get(inputs) or 0, usage.get(outputs) or 0
    input_details, output_details = (usage.get(name) or {} for name in details)
    return Usage(
        input_tokens=taken,
        output_tokens=given,
        total_tokens=usage.get("total_tokens") or taken + given,
        reasoning_tokens=output_details.get("reasoning_tokens") or 0,
        cached_input_tokens=input_details.get("cached_tokens") or 0,
    )
