"""What was said, in the form that the GenAI conventions ask for.  Only where it was asked for."""

import json
import os
from collections.abc import Sequence
from typing import Any

from evented_agent.models.messages import (
    AssistantMessage,
    Message,
    SystemMessage,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from evented_agent.models.protocol import ModelRequest
from evented_agent.state.journal import Turn
from evented_agent.telemetry.conventions import Attributes, finish_reason

#: The variable that all instrumentations of GenAI ask.
VARIABLE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_ON_SPANS = ("true", "span_only", "span_and_event")


def is_wanted() -> bool:
    """Whether spans may hold what people, models and tools said."""
    return os.environ.get(VARIABLE, "").strip().lower() in _ON_SPANS


def request_content(request: ModelRequest) -> Attributes:
    found: Attributes = {"gen_ai.input.messages": as_text([_message(m) for m in request.messages])}
    if request.instructions:
        parts = [_text(request.instructions)]
        found["gen_ai.system_instructions"] = as_text(parts)
    if request.tools:
        tools = [
            {
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters,
            }
            for tool in request.tools
        ]
        found["gen_ai.tool.definitions"] = as_text(tools)
    return found


def answer_content(turn: Turn) -> Attributes:
    parts = _assistant(turn.reasoning, turn.text, turn.calls)
    answer = {"role": "assistant", "parts": parts, "finish_reason": finish_reason(turn.reason)}
    return {"gen_ai.output.messages": as_text([answer])}


def as_text(value: Any) -> str:
    """*value* as JSON, which a span's attribute has to be."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


def _message(message: Message) -> dict[str, Any]:
    return {"role": message.role, "parts": _parts(message)}


def _parts(message: Message) -> list[dict[str, Any]]:
    match message:
        case SystemMessage(content=text):
            return [_text(text)]
        case UserMessage():
            return _pieces(message)
        case AssistantMessage():
            return _assistant(message.reasoning, message.content, message.tool_calls)
        case ToolMessage(tool_call_id=call, result=result):
            return [{"type": "tool_call_response", "id": call, "response": result}]


def _pieces(message: UserMessage) -> list[dict[str, Any]]:
    if isinstance(message.content, str):
        return [_text(message.content)]
    return [
        _text(part.text) if part.type == "text" else _image(part.url) for part in message.content
    ]


def _image(url: str) -> dict[str, Any]:
    # One in the message itself would be all that anybody sees of the span.
    shown = url.partition(",")[0] if url.startswith("data:") else url
    return {"type": "uri", "modality": "image", "uri": shown}


def _assistant(reasoning: str, text: str, calls: Sequence[ToolCall]) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    if reasoning:
        parts.append({"type": "reasoning", "content": reasoning})
    if text:
        parts.append(_text(text))
    parts.extend(
        {"type": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments}
        for call in calls
    )
    return parts


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "content": text}
