"""Builds a model's answer: events in, chunks and at last a turn out.  Pure."""

import hashlib
import json
import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from evented_agent.agents.tools.background import ARGUMENT
from evented_agent.chunks import (
    Chunk,
    PartPayload,
    Payload,
    ProviderItem,
    ProviderItemPayload,
    ReasoningDelta,
    ReasoningEnd,
    ReasoningStart,
    Source,
    SourcePayload,
    TextDelta,
    TextEnd,
    TextStart,
    ToolCallDelta,
    ToolCallInputEnd,
    ToolCallInputStart,
    ToolCallPayload,
    ToolInputEndPayload,
    ToolInputPayload,
    Usage,
)
from evented_agent.chunks.base import dump_json
from evented_agent.chunks.json_values import NotJson, as_json, without_surrogates
from evented_agent.errors import ModelError
from evented_agent.models.messages import ToolCall
from evented_agent.models.protocol import (
    AnswerEnded,
    CallPiece,
    CallStarted,
    ItemFound,
    ModelEvent,
    ReasoningPiece,
    SourceFound,
    TextPiece,
)
from evented_agent.state.journal import Turn


class Delta(NamedTuple):
    """One more piece of a part, or of a tool call's arguments."""

    chunk: type[Chunk]
    part: str
    text: str


#: A chunk's class and its payload, or a piece, for which no payload is made: there are many.
NewChunk = tuple[type[Chunk], Payload] | Delta


class _Kind(NamedTuple):
    """The chunks that a kind of parts consists of."""

    prefix: str
    start: type[Chunk]
    delta: type[Chunk]
    end: type[Chunk]


_TEXT = _Kind("txt", TextStart, TextDelta, TextEnd)
_REASONING = _Kind("rsn", ReasoningStart, ReasoningDelta, ReasoningEnd)


#: What the ids of calls consist of: they are part of task keys, of Celery's ids and of labels.
_ID = re.compile(r"[A-Za-z0-9_.-]{1,128}")
#: What names of tools consist of; providers refuse others when they are sent back.
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
#: Most bytes of a call's arguments, unless the deployment says otherwise.
_MOST_BYTES = 1024 * 1024
#: Most characters of one delta; providers send words, others perhaps everything at once.
_MOST_PIECE = 64 * 1024


def call_id(given: object, place: str, used: Container[str]) -> str:
    """The id of a call: the provider's where it is a plain name of its own, else one of its place.

    Both sides of the conversation see ours, so nothing has to know the provider's.
    """
    if isinstance(given, str) and _ID.fullmatch(given) and given not in used:
        return given
    made = f"call_{place}"
    while made in used:
        made += "_"
    return made


def tool_name(given: object) -> str:
    """The name that a model gave, or where that is no possible one, a name that no tool has.

    The same for the same name, and another for another.
    """
    text = given if isinstance(given, str) else repr(given)
    if _NAME.fullmatch(text):
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{re.sub('[^A-Za-z0-9_-]', '_', text[:40])}-{digest}"


class AnswerBuilder:
    """Turns the events of one model call into chunks, and collects them to a turn.

    Part ids contain the step and the attempt, so that withdrawn text is never confused with that
    of the next attempt. *id_prefix* begins all ids, so that no other run of the tree has them.
    """

    def __init__(
        self,
        *,
        step: int,
        attempt: int,
        used_call_ids: set[str],
        most_bytes: int = _MOST_BYTES,
        id_prefix: str = "",
    ) -> None:
        self._step = step
        self._id_prefix = id_prefix
        self._most_bytes = most_bytes
        self._attempt = attempt
        self._used = {id_.removeprefix(id_prefix) for id_ in used_call_ids}
        self._kind: _Kind | None = None
        self._part = 0
        self._part_id = ""
        self._parts = 0
        self._pieces: list[str] = []
        # The first half of a character whose second half is in the next piece.
        self._half = ""
        self._texts: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[int, _Call] = {}
        self.ended: AnswerEnded | None = None

    def take(self, event: ModelEvent) -> Iterator[NewChunk]:
        """Add an event; yield its chunks."""
        match event:
            case TextPiece(text=text, part=part):
                yield from self._add_text(_TEXT, text, part)
            case ReasoningPiece(text=text, part=part):
                yield from self._add_text(_REASONING, text, part)
            case CallStarted():
                yield from self._end_part()
                yield from self._start_call(event)
            case CallPiece():
                yield from self._add_to_call(event)
            case SourceFound() | ItemFound():
                yield _beside(event)
            case AnswerEnded():
                yield from self._end_part()
                for call in self._calls.values():
                    yield from call.rest()
                    yield ToolCallInputEnd, ToolInputEndPayload(tool_call_id=call.id)
                self.ended = replace(
                    event,
                    usage=_counted(event.usage),
                    provider=_provider(event.provider),
                    model=event.model if isinstance(event.model, str) else None,
                )

    def requests(self) -> Iterator[ToolCallPayload]:
        """The payloads of the `tool-call` chunks of the complete answer."""
        for call in self.calls():
            yield ToolCallPayload(
                tool_call_id=call.id, tool_name=call.name, arguments=call.arguments
            )

    def begun(self) -> list[tuple[str, str]]:
        """The id and the tool of each call that was begun."""
        return [(call.id, call.name) for call in self._calls.values()]

    def calls(self) -> list[ToolCall]:
        return [call.parsed(self._most_bytes) for call in self._calls.values()]

    def turn(self, *, model: str, reason: str | None = None, seen: int = 0) -> Turn:
        """The turn so far; *reason* for one that was cut short, without its half-made calls."""
        list(self._end_part())
        ended = self.ended
        return Turn(
            step=self._step,
            texts=tuple(self._texts),
            calls=tuple(self.calls()) if ended else (),
            reason=reason or (ended.reason if ended else "other"),
            usage=ended.usage if ended else _NO_USAGE,
            reasoning="".join(self._reasoning),
            model=model,
            provider=dict(ended.provider) if ended else {},
            seen=seen,
        )

    def _add_text(self, kind: _Kind, text: str, part: int) -> Iterator[NewChunk]:
        if not text:
            return
        if self._kind is not kind or self._part != part:
            yield from self._end_part()
        text, self._half = _whole(self._half + text)
        if self._kind is None:
            self._parts += 1
            suffix = f".{self._parts}" if self._parts > 1 else ""
            self._part_id = f"{self._id_prefix}{kind.prefix}-{self._step}.{self._attempt}{suffix}"
            self._kind, self._part = kind, part
            yield kind.start, PartPayload(id=self._part_id)
        if text:
            self._pieces.append(text)
        for piece in _slices(text):
            yield Delta(kind.delta, self._part_id, piece)

    def _end_part(self) -> Iterator[NewChunk]:
        half, self._half = self._half, ""
        if self._kind is None:
            return
        if half:
            self._pieces.append(_LOST)
            yield Delta(self._kind.delta, self._part_id, _LOST)
        text = "".join(self._pieces)
        (self._texts if self._kind is _TEXT else self._reasoning).append(text)
        kind, self._kind, self._pieces = self._kind, None, []
        yield kind.end, PartPayload(id=self._part_id)

    def _add_to_call(self, event: CallPiece) -> Iterator[NewChunk]:
        call = self._calls[event.index]
        text, call.half = _whole(call.half + event.text)
        for piece in _slices(text):
            if call.takes(piece, self._most_bytes):
                yield Delta(ToolCallDelta, call.id, piece)

    def _start_call(self, event: CallStarted) -> Iterator[NewChunk]:
        # Providers repeat or omit ids, and a model may make up both ids and names.
        id_ = call_id(event.id, f"{self._step}_{event.index}", self._used)
        name = tool_name(event.name)
        self._used.add(id_)
        id_ = f"{self._id_prefix}{id_}"
        self._calls[event.index] = _Call(id_, name)
        yield ToolCallInputStart, ToolInputPayload(tool_call_id=id_, tool_name=name)


def _provider(given: Mapping[str, Any]) -> dict[str, Any]:
    """What a provider wants back, as it will be read back; `ModelError` where that fails."""
    try:
        return dict(as_json(given))
    except NotJson as error:
        raise ModelError(
            f"The model's own data beside its answer is not JSON: {error}.", retryable=True
        ) from None


class _Call:
    def __init__(self, id_: str, name: str) -> None:
        self.id = id_
        self.name = name
        self.pieces: list[str] = []
        self.half = ""
        self._size = 0

    def rest(self) -> Iterator[Delta]:
        """What is left of a character whose second half never came."""
        if self.half:
            self.half = ""
            self.pieces.append(_LOST)
            yield Delta(ToolCallDelta, self.id, _LOST)

    def takes(self, piece: str, most_bytes: int) -> bool:
        """Add more of the arguments, unless there are too many already; whether it did."""
        self._size += len(piece.encode())
        if self._size > most_bytes:
            return False
        self.pieces.append(piece)
        return True

    def parsed(self, most_bytes: int) -> ToolCall:
        text = "".join(self.pieces)
        arguments = _arguments(text, most_bytes) if self._size <= most_bytes else None
        if arguments is None:
            return ToolCall(id=self.id, name=self.name, invalid=text[:2000])
        wish = arguments.pop(ARGUMENT, None)
        background = wish if isinstance(wish, dict) else None
        return ToolCall(id=self.id, name=self.name, arguments=arguments, background=background)


def _arguments(text: str, most_bytes: int) -> dict[str, Any] | None:
    """The object that a model wrote; None where it is none, or none that can be kept."""
    try:
        found = as_json(_parsed(text))
    except (ValueError, RecursionError):
        return None
    # Written anew it may be longer than the model wrote it.
    is_kept = isinstance(found, dict) and len(dump_json(found).encode()) <= most_bytes
    return found if is_kept else None


_decoder = json.JSONDecoder()


def _parsed(text: str) -> Any:
    """What a model meant as arguments, in the forms in which servers pass them on.

    Nothing and null stand for none; "{}" may come first, and the real ones behind it; some say them
    twice, or as the text of a text.
    """
    for _ in range(2):
        values = list(_values(text))
        real = [value for value in values if value not in ({}, None)]
        if not real:
            return {}
        if any(value != real[0] for value in real):
            raise ValueError("these are several values")
        if not isinstance(real[0], str):
            return real[0]
        text = real[0]
    return text


def _values(text: str) -> Iterator[Any]:
    """The JSON values that stand in *text*, one behind the other."""
    rest = text.strip()
    while rest:
        value, end = _decoder.raw_decode(rest)
        yield value
        rest = rest[end:].lstrip()


#: What stands for a character of which one half is missing.
_LOST = "\ufffd"


def _whole(text: str) -> tuple[str, str]:
    """*text* as far as its characters are complete, and the half of one that it ends with."""
    if text and "\ud800" <= text[-1] <= "\udbff":
        return without_surrogates(text[:-1]), text[-1]
    return without_surrogates(text), ""


def _beside(event: SourceFound | ItemFound) -> NewChunk:
    """The chunk of what is neither said nor called; texts that are too long are cut."""
    try:
        if isinstance(event, SourceFound):
            url, title, data = (
                as_json(_cut(each)) for each in (event.url, event.title, event.data)
            )
            return Source, SourcePayload(url=url, title=title, data=data)
        kind, item = as_json(_cut(event.kind)), as_json(_cut(event.item))
        return ProviderItem, ProviderItemPayload(kind=kind, item=item)
    except NotJson as error:
        raise ModelError(
            f"A part of the model's answer is not JSON: {error}.", retryable=True
        ) from None


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        text = without_surrogates(value)
        return text if len(text) <= _MOST_PIECE else f"{text[:_MOST_PIECE]}…"
    if isinstance(value, list):
        return [_cut(each) for each in value]
    if isinstance(value, dict):
        return {name: _cut(each) for name, each in value.items()}
    return value


def _slices(text: str) -> Iterator[str]:
    """*text* in pieces of which each fits in a chunk."""
    for start in range(0, len(text), _MOST_PIECE):
        yield text[start : start + _MOST_PIECE]


_NO_USAGE = AnswerEnded("other").usage


def _counted(usage: object) -> Usage:
    """Any model's count of tokens, as numbers that the ledger can add up."""
    found = {name: getattr(usage, name, 0) for name in Usage.model_fields}
    more = usage.model_extra if isinstance(usage, Usage) else None
    return Usage(**{**(more or {}), **found})
