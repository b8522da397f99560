"""Builds a model's answer: events in, chunks and at last a turn out.  Pure."""

import json
from collections.abc import Iterator
from typing import NamedTuple

from evented_agent.agents.tools.background import ARGUMENT
from evented_agent.chunks import (
    Chunk,
    PartPayload,
    Payload,
    ReasoningDelta,
    ReasoningEnd,
    ReasoningStart,
    TextDelta,
    TextEnd,
    TextStart,
    ToolCallDelta,
    ToolCallInputEnd,
    ToolCallInputStart,
    ToolCallPayload,
    ToolInputEndPayload,
    ToolInputPayload,
)
from evented_agent.models.messages import ToolCall
from evented_agent.models.protocol import (
    AnswerEnded,
    CallPiece,
    CallStarted,
    ModelEvent,
    ReasoningPiece,
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


def without_surrogates(text: str) -> str:
    """*text* with half surrogate pairs replaced, which UTF-8 cannot encode."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class AnswerBuilder:
    """Turns the events of one model call into chunks, and collects them to a turn.

    Part ids contain the step and the attempt, so that withdrawn text is never confused with that
    of the next attempt.
    """

    def __init__(self, *, step: int, attempt: int, used_call_ids: set[str]) -> None:
        self._step = step
        self._attempt = attempt
        self._used = set(used_call_ids)
        self._kind: _Kind | None = None
        self._part = 0
        self._part_id = ""
        self._parts = 0
        self._pieces: list[str] = []
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
            case CallPiece(index=index, text=text):
                call = self._calls[index]
                text = without_surrogates(text)
                call.pieces.append(text)
                yield Delta(ToolCallDelta, call.id, text)
            case AnswerEnded():
                yield from self._end_part()
                for call in self._calls.values():
                    yield ToolCallInputEnd, ToolInputEndPayload(tool_call_id=call.id)
                self.ended = event

    def requests(self) -> Iterator[ToolCallPayload]:
        """The payloads of the `tool-call` chunks of the complete answer."""
        for call in self.calls():
            yield ToolCallPayload(
                tool_call_id=call.id, tool_name=call.name, arguments=call.arguments
            )

    def calls(self) -> list[ToolCall]:
        return [call.parsed() for call in self._calls.values()]

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
        text = without_surrogates(text)
        if self._kind is not kind or self._part != part:
            yield from self._end_part()
            self._parts += 1
            suffix = f".{self._parts}" if self._parts > 1 else ""
            self._part_id = f"{kind.prefix}-{self._step}.{self._attempt}{suffix}"
            self._kind, self._part = kind, part
            yield kind.start, PartPayload(id=self._part_id)
        self._pieces.append(text)
        yield Delta(kind.delta, self._part_id, text)

    def _end_part(self) -> Iterator[NewChunk]:
        if self._kind is None:
            return
        text = "".join(self._pieces)
        (self._texts if self._kind is _TEXT else self._reasoning).append(text)
        kind, self._kind, self._pieces = self._kind, None, []
        yield kind.end, PartPayload(id=self._part_id)

    def _start_call(self, event: CallStarted) -> Iterator[NewChunk]:
        id_ = event.id
        # Providers repeat or omit ids; ours are part of task keys and idempotency keys.
        if not id_ or id_ in self._used:
            id_ = f"call_{self._step}_{event.index}"
            while id_ in self._used:
                id_ += "_"
        self._used.add(id_)
        self._calls[event.index] = _Call(id_, event.name)
        yield ToolCallInputStart, ToolInputPayload(tool_call_id=id_, tool_name=event.name)


class _Call:
    def __init__(self, id_: str, name: str) -> None:
        self.id = id_
        self.name = name
        self.pieces: list[str] = []

    def parsed(self) -> ToolCall:
        text = "".join(self.pieces)
        try:
            arguments = json.loads(text) if text.strip() else {}
            # An escape may stand for half a surrogate pair, which UTF-8 cannot encode.
            json.dumps(arguments, ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            arguments = None
        if not isinstance(arguments, dict):
            return ToolCall(id=self.id, name=self.name, invalid=text[:2000])
        wish = arguments.pop(ARGUMENT, None)
        background = wish if isinstance(wish, dict) else None
        return ToolCall(id=self.id, name=self.name, arguments=arguments, background=background)


_NO_USAGE = AnswerEnded("other").usage
