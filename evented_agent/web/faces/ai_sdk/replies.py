"""Which part of a run's message a reply holds.  Pure: does no I/O.

Mostly it is a leg: what a POST starts, or what follows from its decisions.  A page that is opened
again forgets the message at the first `start`, so what it reads begins with the whole message; and
who decides what somebody else has decided before begins where that was.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from evented_agent.chunks import AnyChunk, ToolCallDecided
from evented_agent.web.faces.ai_sdk.message import UiEvent, UiMessageTranslator
from evented_agent.web.faces.legs import Leg, LegCutter, LegEnd

_REPLY_ID = re.compile(r"([^:]+)(?::(?:([0-9]{1,18})-)?([0-9]{1,18}))?")
#: What ends a leg, and is left out where another one follows in the same reply.
_LAST = ("error", "finish")


@dataclass(frozen=True, slots=True)
class UiReply:
    """A part of a run's message, up to the end of a leg.

    Attributes:
        leg: The leg that it ends with.
        begins: The number of the first chunk that it is made of.
    """

    leg: Leg
    begins: int

    @property
    def id(self) -> str:
        """``<run id>``, ``<run id>:<first>``, or ``<run id>:<begins>-<first>``."""
        if self.begins == self.leg.first:
            return self.leg.id
        return f"{self.leg.run_id}:{self.begins}-{self.leg.first}"

    def of(self, run_id: str) -> "UiReply":
        """The same reply of the run that a client's name stands for."""
        return UiReply(Leg(run_id, self.leg.first), self.begins)

    def translator(self) -> "UiReplyTranslator":
        return UiReplyTranslator(self)

    def count(self, chunks: Iterable[AnyChunk]) -> int:
        """How many events the log has for it so far."""
        cutter = LegCutter(self.leg.run_id, self.translator())
        return sum(leg == self.leg for chunk in chunks for leg, _ in cutter.feed(chunk))


def reply_of(reply_id: str) -> UiReply | None:
    """The reply of that id, whether or not there is one; None for what is no such id."""
    found = _REPLY_ID.fullmatch(reply_id)
    if found is None:
        return None
    run_id, begins, first = found[1], found[2], int(found[3] or 0)
    return UiReply(Leg(run_id, first), first if begins is None else int(begins))


class UiReplyTranslator:
    """Makes the events of a reply, as those of its leg."""

    def __init__(self, reply: UiReply) -> None:
        self._reply = reply
        self._message = UiMessageTranslator(reply.leg.run_id)
        self._before: list[UiEvent] = []
        self._leg = reply.leg

    def begin(self, leg: Leg) -> Sequence[UiEvent]:
        self._leg = leg
        return [*self._message.begin(leg), *self._before]

    def feed(self, chunk: AnyChunk) -> Sequence[UiEvent]:
        events = self._message.feed(chunk)
        if chunk.seq < self._reply.begins:
            return []
        if self._comes_before:
            self._before += events
        return events

    def end(self, ending: LegEnd) -> Sequence[UiEvent]:
        events = self._message.end(ending)
        if self._comes_before and ending.seq >= self._reply.begins:
            self._before += [event for event in events if event["type"] not in _LAST]
        return events

    @property
    def _comes_before(self) -> bool:
        """Whether the leg that is under way is an earlier one, and wanted as well."""
        return self._leg.first < self._reply.leg.first > self._reply.begins


@dataclass(slots=True)
class RunLegs:
    """The legs of a run so far.

    Attributes:
        legs: They, in their order.
        is_open: Whether the last one goes on.
        decided: The numbers of the chunks in which questions were decided, by theirs.
    """

    legs: list[Leg] = field(default_factory=list)
    is_open: bool = True
    decided: dict[int, int] = field(default_factory=dict)

    def has(self, leg: Leg) -> bool:
        """Whether there is such a leg; a run has its first from its start on."""
        return not leg.first or leg in self.legs

    def goes_on(self, leg: Leg) -> bool:
        return leg == self.newest(leg.run_id) and self.is_open

    def newest(self, run_id: str) -> Leg:
        return self.legs[-1] if self.legs else Leg(run_id)

    def since(self, run_id: str, numbers: Iterable[int]) -> UiReply:
        """The message up to the newest leg, from the first decision about *numbers* on."""
        newest = self.newest(run_id)
        begins = [self.decided[number] for number in numbers if number in self.decided]
        return UiReply(newest, min(begins, default=newest.first))


def legs_of(run_id: str, chunks: Iterable[AnyChunk]) -> RunLegs:
    """Cut a log into its legs."""
    found = RunLegs()
    cutter = LegCutter(run_id, _Nothing())
    for chunk in chunks:
        cutter.feed(chunk)
        assert cutter.leg is not None
        if not found.legs or found.legs[-1] != cutter.leg:
            found.legs.append(cutter.leg)
        if isinstance(chunk, ToolCallDecided) and chunk.payload.number is not None:
            found.decided[chunk.payload.number] = chunk.seq
    found.is_open = cutter.is_open
    return found


class _Nothing:
    """A translator for who asks for the legs alone."""

    def begin(self, _: Leg) -> Sequence[Mapping[str, object]]:
        return ()

    def feed(self, _: AnyChunk) -> Sequence[Mapping[str, object]]:
        return ()

    def end(self, _: LegEnd) -> Sequence[Mapping[str, object]]:
        return ()
