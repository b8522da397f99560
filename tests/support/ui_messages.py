"""A client of UI message streams, as strict as that of the AI SDK, and stricter where it is not.

It raises for what the grammar forbids: events outside of a reply, unknown parts and calls, ids that
come twice, steps that overlap, fields that its schema refuses.
"""

from collections.abc import Callable, Mapping
from typing import Any

Event = dict[str, Any]
Part = dict[str, Any]

#: The fields of each event, with a `?` behind those that may be missing.
_FIELDS: Mapping[str, Mapping[str, type]] = {
    "start": {"messageId": str, "messageMetadata": dict},
    "start-step": {},
    "finish-step": {},
    "reset-step": {},
    "finish": {"finishReason": str},
    "abort": {"reason?": str},
    "error": {"errorText": str},
    "text-start": {"id": str},
    "text-delta": {"id": str, "delta": str},
    "text-end": {"id": str},
    "reasoning-start": {"id": str},
    "reasoning-delta": {"id": str, "delta": str},
    "reasoning-end": {"id": str},
    "source-url": {"sourceId": str, "url": str, "title?": str},
    "tool-input-start": {"toolCallId": str, "toolName": str, "dynamic": bool},
    "tool-input-delta": {"toolCallId": str, "inputTextDelta": str},
    "tool-input-available": {"toolCallId": str, "toolName": str, "input": object, "dynamic": bool},
    "tool-input-error": {
        "toolCallId": str,
        "toolName": str,
        "input": object,
        "errorText": str,
        "dynamic": bool,
    },
    "tool-approval-request": {"approvalId": str, "toolCallId": str, "reason?": str},
    "tool-approval-response": {"approvalId": str, "approved": bool, "reason?": str},
    "tool-output-available": {"toolCallId": str, "output": object, "preliminary?": bool},
    "tool-output-error": {"toolCallId": str, "errorText": str},
    "tool-output-denied": {"toolCallId": str},
}
_DATA = {"id?": str, "data": object, "transient?": bool}
#: What changes nothing that a page is shown.
_UNSEEN = {"start-step", "finish-step", "reset-step", "finish", "abort", "error"}
_REASONS = {"stop", "length", "content-filter", "tool-calls", "error", "interrupted", "other"}


class GrammarError(Exception):
    """An event that the protocol does not allow here."""


class UiClient:
    """What a client makes of the replies about one message.

    Attributes:
        parts: The parts of the message.
        is_over: Whether the reply that came last is complete.
    """

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.is_over = True
        self._message: str | None = None
        self._in_step = False
        self._open: dict[str, Part] = {}
        self._names: set[str] = set()
        # What a page is shown: a step that begins, or is empty, is not shown by itself.
        self._shown: list[Part] = []

    @property
    def text(self) -> str:
        """The texts of the message, paragraphs kept apart."""
        texts = [part["text"] for part in self.parts if part["type"] == "text"]
        return "\n\n".join(filter(None, texts))

    @property
    def calls(self) -> Mapping[str, Part]:
        return {part["toolCallId"]: part for part in self.parts if part["type"] == "dynamic-tool"}

    @property
    def last_step(self) -> list[Part]:
        return _last_step(self.parts)

    @property
    def posts_by_itself(self) -> bool:
        """`lastAssistantMessageIsCompleteWith…`, both of them."""
        parts = [part for part in _last_step(self._shown) if part["type"] == "dynamic-tool"]
        complete = {"output-available", "output-error", "output-denied", "approval-responded"}
        return bool(parts) and all(
            part["state"] in complete and not part.get("preliminary") for part in parts
        )

    def take(self, event: Event) -> None:
        self._check(event)
        if event["type"].startswith("data-"):
            self._data(event)
        else:
            take: Callable[[Event], None] = getattr(self, "_" + event["type"].replace("-", "_"))
            take(event)
        if event["type"] not in _UNSEEN:
            self._shown = list(self.parts)

    def answer(self, call: str, output: Any) -> None:
        """`addToolOutput`."""
        self._call(call).update(state="output-available", output=output)

    def _check(self, event: Event) -> None:
        fields = _DATA if event["type"].startswith("data-") else _FIELDS[event["type"]]
        known = {name.rstrip("?"): kind for name, kind in fields.items()}
        needed = {name for name in fields if not name.endswith("?")}
        given = set(event) - {"type"}
        self._expect(needed <= given <= set(known), event)
        self._expect(all(isinstance(event[name], known[name]) for name in given), event)
        self._expect(self.is_over is (event["type"] == "start"), event)

    def _expect(self, holds: bool, event: Event) -> None:
        if not holds:
            raise GrammarError(event, self.parts)

    def _start(self, event: Event) -> None:
        self._expect(self._message in (None, event["messageId"]), event)
        self._message, self.is_over = event["messageId"], False

    def _finish(self, event: Event) -> None:
        self._expect(not self._in_step and event["finishReason"] in _REASONS, event)
        self.is_over = True

    def _error(self, event: Event) -> None:
        self._expect(not self._in_step, event)

    _abort = _error

    def _start_step(self, event: Event) -> None:
        self._expect(not self._in_step, event)
        self._in_step = True
        self.parts.append({"type": "step-start"})

    def _finish_step(self, event: Event) -> None:
        self._expect(self._in_step and not self._open, event)
        self._in_step = False

    def _reset_step(self, event: Event) -> None:
        self._open.clear()
        if self.last_step:
            del self.parts[len(self.parts) - len(self.last_step) :]
            self._shown = list(self.parts)

    def _text_start(self, event: Event) -> None:
        kind = event["type"].removesuffix("-start")
        self._expect(self._in_step and event["id"] not in self._names, event)
        self._names.add(event["id"])
        self._open[event["id"]] = {"type": kind, "text": ""}
        self.parts.append(self._open[event["id"]])

    def _text_delta(self, event: Event) -> None:
        self._expect(event["id"] in self._open, event)
        self._open[event["id"]]["text"] += event["delta"]

    def _text_end(self, event: Event) -> None:
        self._expect(event["id"] in self._open, event)
        del self._open[event["id"]]

    _reasoning_start, _reasoning_delta = _text_start, _text_delta
    _reasoning_end = _text_end

    def _source_url(self, event: Event) -> None:
        self.parts.append(dict(event))

    def _tool_input_start(self, event: Event) -> None:
        self._expect(self._in_step and event["toolCallId"] not in self.calls, event)
        self.parts.append({**event, "type": "dynamic-tool", "state": "input-streaming"})

    def _tool_input_delta(self, event: Event) -> None:
        self._expect(self._call(event["toolCallId"])["state"] == "input-streaming", event)

    def _tool_input_available(self, event: Event) -> None:
        call = event["toolCallId"]
        # The client looks for it in the last step, and else makes another part of the same name.
        self._expect(any(part.get("toolCallId") == call for part in self.last_step), event)
        self._call(call).update(state="input-available", input=event["input"])

    def _tool_input_error(self, event: Event) -> None:
        call = event["toolCallId"]
        self._expect(any(part.get("toolCallId") == call for part in self.last_step), event)
        error = {"errorText": event["errorText"], "preliminary": False}
        self._call(call).update(state="output-error", **error)

    def _tool_approval_request(self, event: Event) -> None:
        call = self._call(event["toolCallId"])
        call.update(state="approval-requested", approval={"id": event["approvalId"]})

    def _tool_approval_response(self, event: Event) -> None:
        [call] = [
            call
            for call in self.calls.values()
            if call.get("approval", {}).get("id") == event["approvalId"]
        ]
        call.update(state="approval-responded")

    def _tool_output_available(self, event: Event) -> None:
        preliminary = event.get("preliminary", False)
        call = self._call(event["toolCallId"])
        call.update(state="output-available", output=event["output"], preliminary=preliminary)

    def _tool_output_error(self, event: Event) -> None:
        call = self._call(event["toolCallId"])
        call.update(state="output-error", errorText=event["errorText"], preliminary=False)

    def _tool_output_denied(self, event: Event) -> None:
        self._call(event["toolCallId"]).update(state="output-denied")

    def _data(self, event: Event) -> None:
        if event.get("transient"):
            return
        for part in self.parts:
            if part["type"] == event["type"] and part.get("id", self) == event.get("id"):
                part["data"] = event["data"]
                return
        self.parts.append(dict(event))

    def _call(self, name: str) -> Part:
        if name not in self.calls:
            raise GrammarError(name, self.parts)
        return self.calls[name]


def _last_step(parts: list[Part]) -> list[Part]:
    steps = [at for at, part in enumerate(parts) if part["type"] == "step-start"]
    return parts[steps[-1] + 1 :] if steps else parts
