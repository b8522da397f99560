"""Models behind OpenAI's Responses API, called without storing anything there."""

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
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

_ENCRYPTED = "reasoning.encrypted_content"
# These answer 400 to a request for encrypted reasoning, having none.
_UNREASONING = ("gpt-3", "gpt-4", "gpt-5-chat", "chatgpt")
_REASONING_FIELDS = ("type", "id", "summary", "encrypted_content")
_INCOMPLETE: Mapping[str, FinishReason] = {
    "max_output_tokens": "length",
    "content_filter": "content-filter",
}
# Settings that the Responses API keeps inside an object: which, and under what name.
_NESTED = {
    "reasoning_effort": ("reasoning", "effort"),
    "reasoning_summary": ("reasoning", "summary"),
    "verbosity": ("text", "verbosity"),
    "response_format": ("text", "format"),
}


class OpenAIResponses(OpenAIModel):
    """A model behind the Responses API; reasoning items travel with the conversation, encrypted."""

    provider: ClassVar[str] = "openai"
    path: ClassVar[str] = "/responses"

    def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Call the model once; see `Model.stream`."""
        return self._call(
            request,
            lambda asked, host: responses_body(self.model, asked, self._origin(host)),
            lambda faults, host: ResponsesAnswer(faults, self._origin(host)),
        )

    def _origin(self, host: str) -> str:
        return f"{self.model} at {host}"


def responses_body(model: str, request: ModelRequest, origin: str) -> dict[str, Any]:
    """Return the JSON of one call, all but ``stream``.

    Reasoning items that came from another *origin* are left out: only their maker can read them.
    """
    body: dict[str, Any] = {
        "model": model,
        "input": responses_input(request.messages, origin),
        "store": False,
    }
    if not model.removeprefix("ft:").startswith(_UNREASONING):
        body["include"] = [_ENCRYPTED]
    if request.instructions:
        body["instructions"] = request.instructions
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
        body["tool_choice"] = _tool_choice(request.tool_choice)
    return with_settings(body, _settings(request.settings, body.get("include", [])))


def responses_input(messages: Sequence[Message], origin: str) -> list[dict[str, Any]]:
    """Return the conversation as the API's input items."""
    return [item for message in messages for item in _items(message, origin)]


def _settings(given: Mapping[str, Any], include: list[str]) -> dict[str, Any]:
    settings = {name: value for name, value in given.items() if name not in _NESTED}
    for name, (outer, inner) in _NESTED.items():
        if given.get(name) is not None:
            value = _flat_format(given[name]) if inner == "format" else given[name]
            settings[outer] = {**(settings.get(outer) or {}), inner: value}
    if settings.get("include"):
        settings["include"] = list(dict.fromkeys([*include, *settings["include"]]))
    return settings


def _flat_format(response_format: Mapping[str, Any]) -> dict[str, Any]:
    schema = response_format.get("json_schema")
    if not isinstance(schema, Mapping):
        return dict(response_format)
    return {"type": "json_schema", **schema}


def _items(message: Message, origin: str) -> list[dict[str, Any]]:
    match message:
        case SystemMessage():
            return [{"role": "system", "content": message.content}]
        case UserMessage():
            return [{"role": "user", "content": _user_content(message)}]
        case AssistantMessage():
            return _assistant_items(message, origin)
    return [
        {
            "type": "function_call_output",
            "call_id": message.tool_call_id,
            "output": output_text(message),
        }
    ]


def _user_content(message: UserMessage) -> str | list[dict[str, Any]]:
    if isinstance(message.content, str):
        return message.content
    return [_part(part) for part in message.content]


def _part(part: TextPart | ImagePart) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "input_text", "text": part.text}
    return {"type": "input_image", "image_url": part.url, "detail": "auto"}


def _assistant_items(message: AssistantMessage, origin: str) -> list[dict[str, Any]]:
    texts = [{"role": "assistant", "content": message.content}] if message.content else []
    calls = [
        {
            "type": "function_call",
            "call_id": call.id,
            "name": call.name,
            "arguments": arguments_text(call),
        }
        for call in message.tool_calls
    ]
    kept = _kept_items(message, origin)
    kinds = [item["type"] for item in kept]
    # The API wants each reasoning item before the item it led to, so where the order no longer
    # fits the message they all stay away.
    if (kinds.count("message"), kinds.count("function_call")) != (len(texts), len(calls)):
        return [*texts, *calls]
    own = {"message": iter(texts), "function_call": iter(calls)}
    return [_restored(item, own) for item in kept]


def _kept_items(message: AssistantMessage, origin: str) -> list[dict[str, Any]]:
    kept = message.provider.get("openai") or {}
    items: list[dict[str, Any]] = kept["items"] if kept.get("origin") == origin else []
    return items


def _restored(item: dict[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    if item["type"] == "reasoning":
        return item
    restored = {**next(own[item["type"]])}
    return {**restored, "phase": item["phase"]} if "phase" in item else restored


def _tool(tool: ToolSpec) -> dict[str, Any]:
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": dict(tool.parameters),
        "strict": False,
    }


def _tool_choice(choice: ToolChoice) -> str | dict[str, Any]:
    return choice if isinstance(choice, str) else {"type": "function", "name": choice["tool"]}


class ResponsesAnswer:
    """Reads the events of one answer."""

    def __init__(self, faults: Faults, origin: str) -> None:
        self.is_complete = False
        self._faults = faults
        self._origin = origin
        self._reason: FinishReason = "other"
        self._usage = Usage()
        # The API counts parts per item; ours count through the answer, in order of appearance.
        self._texts: dict[tuple[object, object], int] = {}
        self._thoughts: dict[tuple[object, object], int] = {}
        self._calls: dict[object, int] = {}
        self._silent: set[object] = set()
        self._kept: list[dict[str, Any]] = []

    def read(self, event: Any) -> Iterable[ModelEvent]:
        """Translate one event; events without news for us translate to nothing."""
        reader = self._READERS.get(event["type"])
        return reader(self, event) if reader else ()

    def end(self) -> AnswerEnded:
        """Return the end of the answer, with the reasoning to hand back."""
        return AnswerEnded(self._reason, self._usage, self._provider())

    def _text(self, event: Mapping[str, Any]) -> Iterable[ModelEvent]:
        place = (event["output_index"], event["content_index"])
        return (TextPiece(event["delta"], self._texts.setdefault(place, len(self._texts))),)

    def _summary(self, event: Mapping[str, Any]) -> Iterable[ModelEvent]:
        return self._thought(event, event["summary_index"])

    def _reasoning(self, event: Mapping[str, Any]) -> Iterable[ModelEvent]:
        return self._thought(event, event["content_index"])

    def _thought(self, event: Mapping[str, Any], index: object) -> Iterable[ModelEvent]:
        part = self._thoughts.setdefault((event["output_index"], index), len(self._thoughts))
        return (ReasoningPiece(event["delta"], part),)

    def _item_added(self, event: Mapping[str, Any]) -> Iterable[ModelEvent]:
        item = event["item"]
        if item["type"] != "function_call":
            return ()
        index = self._calls[event["output_index"]] = len(self._calls)
        self._silent.add(event["output_index"])
        return (CallStarted(index, item.get("call_id") or item.get("id") or "", item["name"]),)

    def _arguments(self, event: Mapping[str, Any]) -> Iterable[ModelEvent]:
        place = event["output_index"]
        self._silent.discard(place)
        return (CallPiece(self._calls[place], event["delta"]),)

    def _item_done(self, event: Mapping[str, Any]) -> Iterable[ModelEvent]:
        item = event["item"]
        self._keep(item)
        if item["type"] != "function_call":
            return ()
        place = event["output_index"]
        started = () if place in self._calls else tuple(self._item_added(event))
        # Some compatible servers send the arguments only here.
        if place in self._silent and item.get("arguments"):
            return (*started, CallPiece(self._calls[place], item["arguments"]))
        return started

    def _ended(self, event: Mapping[str, Any]) -> Iterable[ModelEvent]:
        response = event["response"]
        self._usage = _usage(response.get("usage") or {})
        if event["type"] == "response.incomplete":
            details = response.get("incomplete_details") or {}
            self._reason = _INCOMPLETE.get(str(details.get("reason")), "other")
        else:
            self._reason = "tool-calls" if self._calls else "stop"
        self.is_complete = True
        return ()

    def _failed(self, event: Mapping[str, Any]) -> Iterable[ModelEvent]:
        raise self._faults.reported(event["response"].get("error"))

    def _error(self, event: Mapping[str, Any]) -> Iterable[ModelEvent]:
        raise self._faults.reported({name: event.get(name) for name in ("code", "message")})

    def _keep(self, item: Mapping[str, Any]) -> None:
        match item["type"]:
            case "reasoning" if item.get("encrypted_content"):
                fields = {name: item[name] for name in _REASONING_FIELDS if name in item}
                self._kept.append({"summary": [], **fields})
            case "function_call":
                self._kept.append({"type": "function_call"})
            case "message" if any(p.get("text") or p.get("refusal") for p in item["content"]):
                # A message of the conversation holds all text of an answer, so one marker stands.
                self._kept = [kept for kept in self._kept if kept["type"] != "message"]
                phase = {"phase": item["phase"]} if item.get("phase") else {}
                self._kept.append({"type": "message", **phase})

    def _provider(self) -> dict[str, Any]:
        kept = list(self._kept)
        # The API refuses a reasoning item that nothing follows.
        while kept and kept[-1]["type"] == "reasoning":
            kept.pop()
        if all(item.keys() == {"type"} for item in kept):
            return {}
        return {"openai": {"origin": self._origin, "items": kept}}

    _READERS: ClassVar[Mapping[str, Callable[..., Iterable[ModelEvent]]]] = {
        "response.output_text.delta": _text,
        "response.refusal.delta": _text,
        "response.reasoning_summary_text.delta": _summary,
        "response.reasoning_text.delta": _reasoning,
        "response.function_call_arguments.delta": _arguments,
        "response.output_item.added": _item_added,
        "response.output_item.done": _item_done,
        "response.completed": _ended,
        "response.incomplete": _ended,
        "response.failed": _failed,
        "error": _error,
    }


def _usage(usage: Mapping[str, Any]) -> Usage:
    return usage_from(
        usage,
        "input_tokens",
        "output_tokens",
        ("input_tokens_details", "output_tokens_details"),
    )
