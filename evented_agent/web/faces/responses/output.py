"""The items of a response, and the events that tell of them.  Pure: does no I/O.

An item keeps its index for good: what is withdrawn stays there, without content.
"""

from collections.abc import Sequence
from typing import Any

from evented_agent.web.faces.responses.objects import Json


class OutputItem:
    """One item of a response's output, and what has been said of it.

    Attributes:
        fields: The item, all but what is still being said.
        index: Its place in the output.
        task: What wrote it.
        seq: The number of the chunk that it began with.
        is_open: Whether more of it follows.
        is_withdrawn: Whether nothing of it counts.
    """

    #: The field that holds what is said, and is empty in an item that is withdrawn.
    said_in = ""

    def __init__(self, fields: Json, index: int, task: str | None, seq: int) -> None:
        self.fields = fields
        self.index = index
        self.task = task
        self.seq = seq
        self.is_open = True
        self.is_withdrawn = False
        self.pieces: list[str] = []
        #: What events say of it to name it.
        self.place: Json = {"item_id": fields["id"], "output_index": index}

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def now(self) -> Json:
        """The item as far as it was said."""
        return {**self.fields, **self._said()} if self.is_open else dict(self.fields)

    def opening(self) -> Sequence[tuple[str, Json]]:
        """What is told behind its beginning."""
        return ()

    def delta(self, text: str) -> tuple[str, Json]:
        """What is told of more of it."""
        raise NotImplementedError

    def closing(self) -> Sequence[tuple[str, Json]]:
        """What is told before its end."""
        return ()

    def close(self, status: str) -> None:
        self.fields = {**self.now(), "status": status}
        self.is_open = False

    def empty(self) -> None:
        """It is withdrawn."""
        self.fields = {**self.now(), self.said_in: self._nothing(), "status": "incomplete"}
        self.is_open = False
        self.is_withdrawn = True

    def _said(self) -> Json:
        return {}

    def _nothing(self) -> Any:
        return []


class TextItem(OutputItem):
    """A part of the text: a message with one content part."""

    said_in = "content"

    def opening(self) -> Sequence[tuple[str, Json]]:
        part = _text_part("")
        return [("content_part.added", {**self.place, "content_index": 0, "part": part})]

    def delta(self, text: str) -> tuple[str, Json]:
        self.pieces.append(text)
        fields = {**self.place, "content_index": 0, "delta": text, "logprobs": []}
        return "output_text.delta", fields

    def closing(self) -> Sequence[tuple[str, Json]]:
        place = {**self.place, "content_index": 0}
        return [
            ("output_text.done", {**place, "text": self.text, "logprobs": []}),
            ("content_part.done", {**place, "part": _text_part(self.text)}),
        ]

    def _said(self) -> Json:
        return {"content": [_text_part(self.text)]}


class ReasoningItem(OutputItem):
    """A part of the model's reasoning: an item with one summary."""

    said_in = "summary"

    def opening(self) -> Sequence[tuple[str, Json]]:
        part = {"type": "summary_text", "text": ""}
        return [("reasoning_summary_part.added", {**self._summary, "part": part})]

    def delta(self, text: str) -> tuple[str, Json]:
        self.pieces.append(text)
        return "reasoning_summary_text.delta", {**self._summary, "delta": text}

    def closing(self) -> Sequence[tuple[str, Json]]:
        part = {"type": "summary_text", "text": self.text}
        return [
            ("reasoning_summary_text.done", {**self._summary, "text": self.text}),
            ("reasoning_summary_part.done", {**self._summary, "part": part}),
        ]

    @property
    def _summary(self) -> Json:
        return {**self.place, "summary_index": 0}

    def _said(self) -> Json:
        return {"summary": [{"type": "summary_text", "text": self.text}]}


class CallItem(OutputItem):
    """A call of one of the agent's own tools, which no client may try to execute."""

    said_in = "arguments"

    def opening(self) -> Sequence[tuple[str, Json]]:
        return [("mcp_call.in_progress", self.place)]

    def delta(self, text: str) -> tuple[str, Json]:
        self.pieces.append(text)
        return "mcp_call_arguments.delta", {**self.place, "delta": text}

    def written(self, arguments: str) -> tuple[str, Json]:
        """What is told where the arguments are complete."""
        self.pieces = [arguments]
        return "mcp_call_arguments.done", {**self.place, "arguments": arguments}

    def closing(self) -> Sequence[tuple[str, Json]]:
        status = self.fields["status"]
        return [(f"mcp_call.{status}", self.place)] if status in ("completed", "failed") else ()

    def _said(self) -> Json:
        return {"arguments": self.text}

    def _nothing(self) -> Any:
        return ""


class ResponseOutput:
    """The items of one response, and its numbered events."""

    def __init__(self) -> None:
        self.items: list[OutputItem] = []
        self._count = 0

    def event(self, type_: str, fields: Json) -> Json:
        """The response's next event."""
        number, self._count = self._count, self._count + 1
        return {"type": f"response.{type_}", "sequence_number": number, **fields}

    def add(self, kind: type[OutputItem], fields: Json, task: str | None, seq: int) -> list[Json]:
        """Another item, the last one from now on."""
        item = kind(fields, len(self.items), task, seq)
        self.items.append(item)
        added = self.event("output_item.added", {"output_index": item.index, "item": dict(fields)})
        return [added, *self._told(item.opening())]

    def delta(self, item: OutputItem, text: str) -> list[Json]:
        return [self.event(*item.delta(text))] if item.is_open else []

    def close(self, item: OutputItem, status: str) -> list[Json]:
        """An item is complete, or complete as far as it goes."""
        item.fields = {**item.fields, "status": status}
        told = self._told(item.closing())
        item.close(status)
        return [*told, self._done(item)]

    def withdraw(self, task: str | None, from_seq: int) -> list[Json]:
        """What a task wrote from a chunk on no longer counts."""
        events = []
        for item in self.items:
            if item.task == task and item.seq >= from_seq and not item.is_withdrawn:
                item.empty()
                events.append(self._done(item))
        return events

    def close_all(self) -> list[Json]:
        """Nothing follows of what is open."""
        open_ = [item for item in self.items if item.is_open]
        return [event for item in open_ for event in self.close(item, "incomplete")]

    def now(self) -> list[Json]:
        """All items as far as they were said."""
        return [item.now() for item in self.items]

    def _done(self, item: OutputItem) -> Json:
        return self.event("output_item.done", {"output_index": item.index, "item": item.now()})

    def _told(self, events: Sequence[tuple[str, Json]]) -> list[Json]:
        return [self.event(type_, fields) for type_, fields in events]


def _text_part(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
