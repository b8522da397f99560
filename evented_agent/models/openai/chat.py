"""Models behind the Chat Completions API, OpenAI's or any compatible server's."""

import json
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from evented_agent.chunks import Usage
from evented_agent.models.messages import (
    AssistantMessage,
    ImagePart,
    Message,
    SystemMessage,
    TextPart,
    UserMessage,
)
from evented_agent.models.openai.faults import Faults
from evented_agent.models.openai.stream import OpenAIModel
from evented_agent.models.openai.values import (
    arguments_text,
    output_text,
    usage_from,
    with_settings,
)
from evented_agent.models.protocol import (
    AnswerEnded,
    CallPiece,
    CallStarted,
    FinishReason,
    ModelEvent,
    ModelRequest,
    ReasoningPiece,
    TextPiece,
    ToolChoice,
    ToolSpec,
)

_REASONS: Mapping[str, FinishReason] = {
    "stop": "stop",
    "tool_calls": "tool-calls",
    "function_call": "tool-calls",
    "length": "length",
    "content_filter": "content-filter",
    "error": "error",
}


class OpenAIChat(OpenAIModel):
    """A model behind a Chat Completions API.

    ``OpenAIChat("qwen3", base_url="http://127.0.0.1:8000/v1")`` is a model of a local server.
    """

    provider: ClassVar[str] = "openai-chat"
    path: ClassVar[str] = "/chat/completions"

    def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Call the model once; see `Model.stream`."""
        return self._call(
            request,
            lambda asked, host: chat_body(self.model, asked, host),
            lambda faults, _: ChatAnswer(faults),
        )


def chat_body(model: str, request: ModelRequest, host: str) -> dict[str, Any]:
    """Return the JSON of one call, all but ``stream``."""
    body: dict[str, Any] = {
        "model": model,
        "messages": chat_messages(request.instructions, request.messages),
        "stream_options": {"include_usage": True},
    }
    settings = dict(request.settings)
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
        body["tool_choice"] = _tool_choice(request.tool_choice)
    else:
        # OpenAI refuses it in a call without tools.
        settings.pop("parallel_tool_calls", None)
    if "max_output_tokens" in settings:
        settings[_limit_name(host)] = settings.pop("max_output_tokens")
    return with_settings(body, settings)


def chat_messages(instructions: str, messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return the conversation as the API wants it."""
    system = [{"role": "system", "content": instructions}] if instructions else []
    return system + [_message(message) for message in messages]


def _limit_name(host: str) -> str:
    # OpenAI's newer models refuse max_tokens; many other servers ignore the newer name, and an
    # ignored limit is worse than a refused one.
    is_openai = host.endswith((".openai.com", ".azure.com"))
    return "max_completion_tokens" if is_openai else "max_tokens"


def _message(message: Message) -> dict[str, Any]:
    match message:
        case SystemMessage():
            return {"role": "system", "content": message.content}
        case UserMessage():
            return {"role": "user", "content": _user_content(message)}
        case AssistantMessage():
            return _assistant(message)
    return {
        "role": "tool",
        "tool_call_id": message.tool_call_id,
        "content": output_text(message),
    }


def _user_content(message: UserMessage) -> str | list[dict[str, Any]]:
    if isinstance(message.content, str):
        return message.content
    return [_part(part) for part in message.content]


def _part(part: TextPart | ImagePart) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    return {"type": "image_url", "image_url": {"url": part.url}}


def _assistant(message: AssistantMessage) -> dict[str, Any]:
    if not message.tool_calls:
        return {"role": "assistant", "content": message.content}
    return {
        "role": "assistant",
        "content": message.content or None,
        "tool_calls": [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": arguments_text(call)},
            }
            for call in message.tool_calls
        ],
    }


def _tool(tool: ToolSpec) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {
            "name": tool.name,
            "description": tool.description,
            "parameters": dict(tool.parameters),
            "strict": False,
        },
    }


def _tool_choice(choice: ToolChoice) -> str | dict[str, Any]:
    if isinstance(choice, str):
        return choice
    return {"type": "function", "function": {"name": choice["tool"]}}


class ChatAnswer:
    """Reads the chunks of one answer."""

    def __init__(self, faults: Faults) -> None:
        self.is_complete = False
        self._faults = faults
        self._reason = ""
        self._usage = Usage()
        self._call_ids: list[str] = []
        # The server's index of a call and ours; some servers use one index for all calls.
        self._latest: dict[object, int] = {}

    def read(self, event: Any) -> Iterable[ModelEvent]:
        """Translate one chunk."""
        if usage := event.get("usage"):
            self._usage = _usage(usage)
        choices = event.get("choices")
        if not choices:
            if event.get("object") == "error":
                raise self._faults.reported(event)
            return ()
        choice = choices[0]
        delta = choice.get("delta")
        pieces = self._pieces(delta) if delta else ()
        if reason := choice.get("finish_reason"):
            self._reason = reason
            self.is_complete = True
        return pieces

    def end(self) -> AnswerEnded:
        """Return the end of the answer as the provider reported it."""
        reason = _REASONS.get(self._reason, "other")
        # A forced call and several compatible servers end with "stop" all the same.
        if reason == "stop" and self._call_ids:
            reason = "tool-calls"
        return AnswerEnded(reason, self._usage)

    def _pieces(self, delta: Mapping[str, Any]) -> Sequence[ModelEvent]:
        pieces: list[ModelEvent] = []
        if thought := delta.get("reasoning_content") or delta.get("reasoning"):
            pieces.append(ReasoningPiece(_checked(thought)))
        if text := delta.get("content"):
            pieces.append(TextPiece(_checked(text)))
        if refusal := delta.get("refusal"):
            pieces.append(TextPiece(_checked(refusal)))
        for entry in delta.get("tool_calls") or ():
            self._call(entry, pieces)
        return pieces

    def _call(self, entry: Mapping[str, Any], pieces: list[ModelEvent]) -> None:
        function = entry.get("function") or {}
        place = entry.get("index")
        if self._begins(place, entry.get("id") or "", function.get("name") or ""):
            self._latest[place] = len(self._call_ids)
            self._call_ids.append(entry.get("id") or "")
            pieces.append(CallStarted(self._latest[place], self._call_ids[-1], function["name"]))
        if arguments := function.get("arguments"):
            text = arguments if isinstance(arguments, str) else json.dumps(arguments)
            pieces.append(CallPiece(self._latest[place], text))

    def _begins(self, place: object, call_id: str, name: str) -> bool:
        if not name:
            return False
        known = self._latest.get(place)
        return known is None or bool(call_id and call_id != self._call_ids[known])


def _checked(text: object) -> str:
    if not isinstance(text, str):
        raise TypeError(f"text is {type(text).__name__}")
    return text


def _usage(usage: Mapping[str, Any]) -> Usage:
    return usage_from(
        usage,
        "prompt_tokens",
        "completion_tokens",
        ("prompt_tokens_details", "completion_tokens_details"),
    )
