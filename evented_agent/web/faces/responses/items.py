"""Input items: what clients say and decide, and what they are shown of it.  Pure: does no I/O."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pydantic_core

from evented_agent.chunks import AnyChunk, MessageQueued, ToolCallDecided
from evented_agent.client.decisions import approval_data, denial_data
from evented_agent.models.messages import (
    AssistantMessage,
    ImagePart,
    Message,
    UserMessage,
    parse_messages,
)
from evented_agent.web.faces.openai.errors import wrong_field
from evented_agent.web.faces.responses.objects import Json

_DECISION_ID = re.compile(r"(?P<run_id>[^:]+):(?P<number>[1-9][0-9]{0,17})")
_DECISIONS = ("mcp_approval_response", "function_call_output")
_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}


@dataclass(frozen=True, slots=True)
class GivenDecision:
    """What a client decides about a call that waits.

    Attributes:
        run_id: The run.
        number: Which suspension of it.
        data: What is decided, as `resume` takes it.
    """

    run_id: str
    number: int
    data: Any


def parse_input(given: Any) -> str | list[Json] | list[GivenDecision]:
    """What is said, or what is decided: never both.

    Raises `HttpFailure` that names the first wrong place.
    """
    if isinstance(given, str):
        return given
    if not isinstance(given, list) or not given:
        raise wrong_field("input", "pass a text, or a list of items.")
    kinds = [each.get("type") in _DECISIONS for each in given if isinstance(each, dict)]
    if not any(kinds):
        return [parse_message(each, f"input[{at}]") for at, each in enumerate(given)]
    if len(kinds) != len(given) or not all(kinds):
        raise wrong_field("input", "decide first what waits, and say more when that is answered.")
    return [_decision(each, f"input[{at}]") for at, each in enumerate(given)]


def parse_message(given: Any, where: str) -> Json:
    """A message in OpenAI's form as one of ours."""
    if not isinstance(given, dict) or given.get("type", "message") != "message":
        raise wrong_field(
            where,
            "send messages, mcp_approval_response or function_call_output; what the agent did "
            "before is kept here, go on from it with previous_response_id.",
        )
    role = _ROLES.get(given["role"]) if isinstance(given.get("role"), str) else None
    if role is None:
        raise wrong_field(f"{where}.role", f"use one of {', '.join(_ROLES)}.")
    if given.get("tool_calls"):
        raise wrong_field(f"{where}.tool_calls", "what the agent calls is kept here.")
    return {"role": role, "content": _content(role, given.get("content"), f"{where}.content")}


def _content(role: str, given: Any, where: str) -> Any:
    if isinstance(given, str):
        return given
    if not isinstance(given, list):
        raise wrong_field(where, "pass a text, or a list of parts.")
    parts = [_part(each, f"{where}[{at}]") for at, each in enumerate(given)]
    if role == "user":
        return parts
    if any(part["type"] == "image" for part in parts):
        raise wrong_field(where, "images are in messages of users.")
    return "".join(part["text"] for part in parts)


def _part(given: Any, where: str) -> Json:
    kind = given.get("type") if isinstance(given, dict) else None
    if kind in ("input_text", "output_text", "text") and isinstance(given.get("text"), str):
        return {"type": "text", "text": given["text"]}
    if kind in ("input_image", "image_url"):
        return _image(given.get("image_url"), given.get("detail"), where)
    raise wrong_field(where, "use input_text with a text, or input_image with an image_url.")


def _image(given: Any, detail: Any, where: str) -> Json:
    if isinstance(given, dict):
        # In Chat Completions.
        given, detail = given.get("url"), given.get("detail")
    if not isinstance(given, str) or not isinstance(detail, str | None):
        raise wrong_field(where, "an image has an image_url, https: or data:.")
    return {"type": "image", "url": given, **({} if detail is None else {"detail": detail})}


def _decision(given: Json, where: str) -> GivenDecision:
    if given["type"] == "mcp_approval_response":
        run_id, number = _place(given.get("approval_request_id"), f"{where}.approval_request_id")
        return GivenDecision(run_id, number, _approval(given, where))
    run_id, number = _place(given.get("call_id"), f"{where}.call_id")
    return GivenDecision(run_id, number, _answer(given.get("output"), f"{where}.output"))


def _place(id_: Any, where: str) -> tuple[str, int]:
    found = _DECISION_ID.fullmatch(id_) if isinstance(id_, str) else None
    if found is None:
        raise wrong_field(where, "this is no id of a call that waits.")
    return found["run_id"], int(found["number"])


def _approval(given: Json, where: str) -> Any:
    approve, reason = given.get("approve"), given.get("reason")
    if not isinstance(approve, bool):
        raise wrong_field(f"{where}.approve", "pass true or false.")
    if not isinstance(reason, str | None):
        raise wrong_field(f"{where}.reason", "this is no text.")
    return approval_data(None) if approve else denial_data(reason)


def _answer(given: Any, where: str) -> Any:
    """What the tool is told: the JSON that the text is, or the text itself."""
    if not isinstance(given, str):
        raise wrong_field(where, "pass a text: the answer as JSON.")
    try:
        return pydantic_core.from_json(given, allow_inf_nan=False)
    except ValueError:
        return given


# What is shown -----------------------------------------------------------------------------------


def message_items(run_id: str, messages: Sequence[Message]) -> list[Json]:
    """The input of a run as items."""
    return [
        {
            "id": f"msg_{run_id}_in{at}",
            "type": "message",
            "role": message.role,
            "status": "completed",
            "content": _shown_content(message),
        }
        for at, message in enumerate(messages)
        if message.role != "tool"
    ]


def _shown_content(message: Message) -> list[Json]:
    if not isinstance(message, UserMessage) or isinstance(message.content, str):
        kind = "output_text" if isinstance(message, AssistantMessage) else "input_text"
        return [{"type": kind, "text": str(getattr(message, "content", ""))}]
    return [
        {"type": "input_image", "image_url": part.url, "detail": part.detail or "auto"}
        if isinstance(part, ImagePart)
        else {"type": "input_text", "text": part.text}
        for part in message.content
    ]


def sent_items(run_id: str, sent: MessageQueued) -> list[Json]:
    """A message to a run that was under way, as items; none of one too long for the log."""
    given = parse_messages(sent.payload.input) if sent.payload.input else ()
    return message_items(f"{run_id}_{sent.seq}", given)


def decision_items(run_id: str, chunks: Sequence[AnyChunk]) -> list[Json]:
    """The approvals that a leg began with; the answers to questions are not in the log."""
    return [
        {
            "id": f"mcpr_{run_id}_{chunk.seq}",
            "type": "mcp_approval_response",
            "approval_request_id": f"{run_id}:{chunk.payload.number}",
            "approve": chunk.payload.approved,
            "reason": chunk.payload.reason,
        }
        for chunk in chunks
        if isinstance(chunk, ToolCallDecided) and chunk.payload.approved is not None
    ]
