"""Reads what a Responses stream says: deltas, finished items and the whole, one truth."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from evented_agent.chunks import Usage
from evented_agent.models.openai.chat_answer import source_of
from evented_agent.models.openai.faults import Faults
from evented_agent.models.openai.kept_items import KeptItems
from evented_agent.models.openai.values import usage_from
from evented_agent.models.protocol import (
    AnswerEnded,
    CallPiece,
    CallStarted,
    FinishReason,
    ItemFound,
    ModelEvent,
    ReasoningPiece,
    TextPiece,
)

_INCOMPLETE: Mapping[str, FinishReason] = {
    "max_output_tokens": "length",
    "max_tokens": "length",
    "length": "length",
    "content_filter": "content-filter",
}
#: Of which kind of item an event without any name speaks.
_KINDS: Mapping[str, str] = {
    "output_text": "message",
    "refusal": "message",
    "reasoning_summary_text": "reasoning",
    "reasoning_text": "reasoning",
    "function_call_arguments": "function_call",
}


#: What kind of text a part holds.
_PARTS: Mapping[str, str] = {
    "output_text": "output_text",
    "refusal": "refusal",
    "summary_text": "reasoning_summary_text",
}


@dataclass(slots=True)
class _Item:
    """An item of the output, as far as it was said."""

    kind: str
    id: str = ""
    call_id: str = ""
    index: object = None
    #: Ours, where it is a call: its number; None for the answer itself.
    number: int | None = None
    #: What was said of each of its parts: by the kind of text and the part's place.
    said: dict[tuple[str, int], str] = field(default_factory=dict)
    is_done: bool = False


class ResponsesAnswer:
    """Reads the events of one answer; the call *output_tool* is an answer's text, not a call."""

    def __init__(self, faults: Faults, origin: str, output_tool: str | None = None) -> None:
        self.is_complete = False
        self.may_go_on = False
        self._faults = faults
        self._output_tool = output_tool
        self._kept = KeptItems(origin)
        self._reason: FinishReason = "other"
        self._usage = Usage()
        self._model: str | None = None
        self._items: list[_Item] = []
        self._by_id: dict[str, _Item] = {}
        self._by_index: dict[object, _Item] = {}
        self._calls = 0
        # The parts of text and of reasoning get numbers of ours, in the order of their beginning.
        self._texts: dict[object, int] = {}
        self._thoughts: dict[object, int] = {}
        self._sources: set[str | None] = set()

    def read(self, event: Any) -> Iterable[ModelEvent]:
        """Translate one event."""
        reader = self._READERS.get(event.get("type"))
        return () if reader is None else reader(self, event)

    def read_whole(self, said: Any) -> Iterable[ModelEvent]:
        """Translate a response that came in place of a stream, if it has ended."""
        is_over = said.get("status") in ("completed", "incomplete", "failed", "cancelled")
        return self._ended({"type": "response.done", "response": said}) if is_over else ()

    def finished(self, *, said_done: bool) -> bool:  # noqa: ARG002 - the API has its own end
        """Whether the answer is complete, now that the stream has ended."""
        return self.is_complete

    def end(self) -> AnswerEnded:
        """Return the end of the answer as the provider reported it."""
        return AnswerEnded(self._reason, self._usage, self._kept.provider(), self._model)

    def _delta(self, event: Mapping[str, Any]) -> Iterable[ModelEvent]:
        kind = event["type"].removeprefix("response.").removesuffix(".delta")
        item = self._item_of(event, _KINDS[kind])
        return tuple(self._add(item, kind, _place(event, item, kind), event.get("delta") or ""))

    def _done(self, event: Mapping[str, Any]) -> Iterable[ModelEvent]:
        kind = event["type"].removeprefix("response.").removesuffix(".done")
        names = {"function_call_arguments": "arguments", "refusal": "refusal"}
        whole = event.get(names.get(kind, "text"))
        if not isinstance(whole, str):
            return ()
        item = self._item_of(event, _KINDS[kind])
        return tuple(self._complete(item, kind, _place(event, item, kind), whole))

    def _part_done(self, event: Mapping[str, Any]) -> Iterable[ModelEvent]:
        part = event.get("part") or {}
        kind = _PARTS.get(str(part.get("type")))
        if kind is None:
            return ()
        said = {name: part.get(name) for name in ("text", "refusal")}
        return self._done({**event, **said, "type": f"response.{kind}.done"})

    def _add(self, item: _Item, kind: str, place: int, text: str) -> Iterator[ModelEvent]:
        if not text:
            return
        item.said[kind, place] = item.said.get((kind, place), "") + text
        if item.kind == "function_call":
            yield (
                CallPiece(item.number, text)
                if item.number is not None
                else self._text(item, kind, place, text)
            )
        elif item.kind == "reasoning":
            key = (id(item), kind, place)
            yield ReasoningPiece(text, self._thoughts.setdefault(key, len(self._thoughts)))
        else:
            yield self._text(item, "text", place, text)

    def _text(self, item: _Item, kind: str, place: int, text: str) -> TextPiece:
        key = (id(item), kind, place)
        return TextPiece(text, self._texts.setdefault(key, len(self._texts)))

    def _complete(self, item: _Item, kind: str, place: int, whole: str) -> Iterator[ModelEvent]:
        """What is still to be said of a part whose whole text is known."""
        said = item.said.get((kind, place), "")
        if whole.startswith(said):
            yield from self._add(item, kind, place, whole[len(said) :])

    def _item_added(self, event: Mapping[str, Any]) -> Iterable[ModelEvent]:
        item, index = event.get("item"), event.get("output_index")
        if not item:
            return ()
        known = self._by_id.get(str(item.get("id") or ""))
        is_same = known is not None and _is_same(known, item, index)
        return () if is_same else tuple(self._begin(item, index))

    def _begin(self, told: Mapping[str, Any], index: object) -> Iterator[ModelEvent]:
        kind = told["type"]
        item = _Item(kind, str(told.get("id") or ""), str(told.get("call_id") or ""), index)
        self._items.append(item)
        if item.id:
            self._by_id[item.id] = item
        if index is not None:
            self._by_index[index] = item
        if kind == "function_call" and told["name"] != self._output_tool:
            item.number, self._calls = self._calls, self._calls + 1
            yield CallStarted(item.number, item.call_id or item.id, told["name"])

    def _item_of(self, event: Mapping[str, Any], kind: str) -> _Item:
        """The item that an event speaks of: by its id, its place, or what was said last."""
        item = self._by_id.get(str(event.get("item_id") or ""))
        index = event.get("output_index")
        if item is not None and index not in (None, item.index):
            placed = self._by_index.get(index)
            item = placed if placed is not None and placed.id == item.id else item
        if item is None and index is not None:
            item = self._by_index.get(index)
        if item is None and index is None:
            item = next((each for each in self._items[::-1] if each.kind == kind), None)
        if item is not None and item.kind == kind:
            return item
        if kind == "function_call":
            raise KeyError(index)
        list(self._begin({"type": kind, "id": event.get("item_id")}, index))
        return self._items[-1]

    def _item_done(self, event: Mapping[str, Any]) -> Iterable[ModelEvent]:
        told, index = event.get("item"), event.get("output_index")
        if not told:
            return ()
        item = self._known(told, index)
        return tuple(self._finish(told, item, index))

    def _known(self, told: Mapping[str, Any], index: object) -> _Item | None:
        """The item that is told of as a whole, if it has begun: by a name, its place or its order.

        Some servers change an item's id between two events.
        """
        kind, id_, call_id = told["type"], told.get("id"), told.get("call_id")
        alike = [each for each in self._items if each.kind == kind]
        if call_id:
            alike = [each for each in alike if each.call_id in ("", call_id)]
        named = [each for each in alike if (id_ and each.id == id_) or (call_id and each.call_id)]
        # Several of one name: the one at its place, or that is not complete yet.
        named.sort(key=lambda each: (index not in (None, each.index), each.is_done))
        placed = (
            each
            for each in alike
            if not each.is_done and (index is None or each.index in (None, index))
        )
        return named[0] if named else next(placed, None)

    def _finish(
        self, told: Mapping[str, Any], item: _Item | None, index: object
    ) -> Iterator[ModelEvent]:
        if item is None:
            yield from self._begin(told, index)
            item = self._items[-1]
        if item.is_done:
            return
        item.is_done = True
        for kind, place, whole in _texts_in(told):
            yield from self._complete(item, kind, place, whole)
        for part in _parts(told.get("content")) if item.kind == "message" else ():
            yield from self._cited(part.get("annotations") or ())
        if item.kind not in ("message", "reasoning", "function_call"):
            yield ItemFound(item.kind, dict(told))
        if item.kind != "function_call" or item.number is not None:
            self._kept.take(told)

    def _annotation(self, event: Mapping[str, Any]) -> Iterable[ModelEvent]:
        return tuple(self._cited([event.get("annotation")]))

    def _cited(self, annotations: Iterable[Any]) -> Iterator[ModelEvent]:
        for each in annotations:
            if (source := source_of(each)) and source.url not in self._sources:
                self._sources.add(source.url)
                yield source

    def _ended(self, event: Mapping[str, Any]) -> Iterable[ModelEvent]:
        response = event.get("response") or {}
        status = response.get("status") or event["type"].removeprefix("response.")
        if status in ("failed", "cancelled"):
            raise self._faults.reported(response.get("error"))
        pieces = tuple(self._rest(response.get("output") or ()))
        self._usage = usage_from(response.get("usage") or {})
        self._model = response.get("model")
        if "incomplete" in (status, event["type"].removeprefix("response.")):
            details = response.get("incomplete_details") or {}
            self._reason = _INCOMPLETE.get(str(details.get("reason")), "other")
        else:
            self._reason = "tool-calls" if self._calls else "stop"
        self.is_complete = True
        return pieces

    def _rest(self, output: Iterable[Mapping[str, Any]]) -> Iterator[ModelEvent]:
        """What the whole answer has, and nothing before it said."""
        places: dict[str, int] = {}
        for told in filter(None, output):
            kind = told["type"]
            place = places[kind] = places.get(kind, -1) + 1
            alike = [each for each in self._items if each.kind == kind]
            at_place = alike[place] if place < len(alike) else None
            id_ = str(told.get("id") or "")
            is_there = at_place is not None and at_place.id == id_
            item = at_place if is_there else self._by_id.get(id_) or at_place
            yield from self._finish(told, item, None)

    def _failed(self, event: Mapping[str, Any]) -> Iterable[ModelEvent]:
        raise self._faults.reported((event.get("response") or {}).get("error"))

    def _error(self, event: Mapping[str, Any]) -> Iterable[ModelEvent]:
        raise self._faults.reported({name: event.get(name) for name in ("code", "message")})

    _READERS: ClassVar[Mapping[str, Callable[..., Iterable[ModelEvent]]]] = {
        "response.output_text.delta": _delta,
        "response.refusal.delta": _delta,
        "response.reasoning_summary_text.delta": _delta,
        "response.reasoning_text.delta": _delta,
        "response.function_call_arguments.delta": _delta,
        "response.output_text.done": _done,
        "response.refusal.done": _done,
        "response.reasoning_summary_text.done": _done,
        "response.reasoning_text.done": _done,
        "response.function_call_arguments.done": _done,
        "response.content_part.done": _part_done,
        "response.reasoning_summary_part.done": _part_done,
        "response.output_item.added": _item_added,
        "response.output_item.done": _item_done,
        "response.output_text.annotation.added": _annotation,
        "response.completed": _ended,
        "response.done": _ended,
        "response.incomplete": _ended,
        "response.failed": _failed,
        "response.cancelled": _failed,
        "error": _error,
    }


def _is_same(known: _Item, told: Mapping[str, Any], index: object) -> bool:
    """Whether the item of that id is the one that is told of: some give all items one id."""
    if known.kind != told["type"] or (told.get("call_id") or known.call_id) != known.call_id:
        return False
    return not known.is_done if index is None else index == known.index


def _place(event: Mapping[str, Any], item: _Item, kind: str) -> int:
    """Which part of its item an event speaks of; the last, where it does not say."""
    name = "summary_index" if kind == "reasoning_summary_text" else "content_index"
    given = event.get(name)
    if isinstance(given, int):
        return given
    return max((place for said, place in item.said if said == kind), default=0)


def _parts(content: Any) -> list[Mapping[str, Any]]:
    """The parts of an item; one where it is a text, and empty ones for what is none."""
    if isinstance(content, str):
        return [{"text": content}]
    return [part if isinstance(part, Mapping) else {} for part in content or ()]


def _texts_in(told: Mapping[str, Any]) -> Iterator[tuple[str, int, str]]:
    """Each text of a whole item: its kind, its place and itself."""
    if told["type"] == "function_call":
        arguments = told.get("arguments")
        if arguments is not None:
            is_text = isinstance(arguments, str)
            yield "function_call_arguments", 0, arguments if is_text else json.dumps(arguments)
        return
    lists: tuple[tuple[str, str], ...] = (
        ("summary", "reasoning_summary_text"),
        ("content", "reasoning_text"),
    )
    if told["type"] == "message":
        lists = (("content", "output_text"),)
    elif told["type"] != "reasoning":
        return
    for name, kind in lists:
        for place, part in enumerate(_parts(told.get(name))):
            is_refusal = part.get("type") == "refusal"
            text = part.get("refusal") if is_refusal else part.get("text")
            if isinstance(text, str):
                yield "refusal" if is_refusal else kind, place, text
