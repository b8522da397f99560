"""Which part of a run's messages a reply holds.  Pure: does no I/O.

Mostly it is a leg: what a POST starts, what answers its message, or what follows from its
decisions.  A page that is opened again forgets a message at its first `start`, so what it reads
begins with all of that message; and who decides what somebody else has decided before begins where
that was.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from evented_agent.chunks import AnyChunk, ToolCallDecided
from evented_agent.web.faces.ai_sdk.message import UiMessageTranslator
from evented_agent.web.faces.ai_sdk.places import MessagePlaces
from evented_agent.web.faces.ai_sdk.shown import UiEvent
from evented_agent.web.faces.legs import Leg, LegCutter, LegEnd

_REPLY_ID = re.compile(r"([^:]+)(?::(?:([0-9]{1,18})-)?([0-9]{1,18}))?")
#: What ends a leg, and is left out where another one follows in the same reply.
_LAST = ("error", "finish")


@dataclass(frozen=True, slots=True)
class UiReply:
    """A part of a message of a run, up to the end of a leg.

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
        events = [leg for chunk in chunks for leg, _ in cutter.feed(chunk)]
        return events.count(cutter.answer_of(self.leg))


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
        #: What legs before it add, by the ids of the messages.
        self._before: dict[str, list[UiEvent]] = {}
        self._comes_before = reply.begins < reply.leg.first

    def begin(self, leg: Leg, chunk: AnyChunk) -> Sequence[UiEvent]:
        events = self._message.begin(leg, chunk)
        if leg != self._reply.leg:
            return events
        self._comes_before = False
        return [*events, *self._before.pop(self._message.id, ())]

    def feed(self, chunk: AnyChunk) -> Sequence[UiEvent]:
        events = self._message.feed(chunk)
        if chunk.seq < self._reply.begins:
            return []
        self._keep(events)
        return events

    def end(self, ending: LegEnd) -> Sequence[UiEvent]:
        id_, events = self._message.id, self._message.end(ending)
        if ending.seq >= self._reply.begins:
            self._keep([event for event in events if event["type"] not in _LAST], id_)
        return events

    def _keep(self, events: Sequence[UiEvent], id_: str | None = None) -> None:
        """What an earlier leg adds to a message comes before what is wanted of it."""
        if self._comes_before:
            self._before.setdefault(id_ or self._message.id, []).extend(events)


@dataclass(slots=True)
class RunLegs:
    """The legs of a run so far.

    Attributes:
        cutter: What has cut the log.
        places: The legs, in their order, each with the id of the message that it adds to.
        decided: The decisions about questions, by the numbers of these: that of the chunk, and the
            leg in which it came.
        asked_in: The ids of the messages in which these questions were asked.
    """

    cutter: LegCutter[UiEvent]
    places: dict[Leg, str] = field(default_factory=dict)
    decided: dict[int, tuple[int, Leg]] = field(default_factory=dict)
    asked_in: dict[int, str] = field(default_factory=dict)

    @property
    def is_open(self) -> bool:
        """Whether the last leg goes on, or is still to begin."""
        return self.cutter.is_open or not self.places

    def has(self, leg: Leg) -> bool:
        """Whether there is such a leg, or is going to be; a run has its first from its start on."""
        return not leg.first or leg in self.places or self.cutter.is_answer(leg)

    def goes_on(self, leg: Leg) -> bool:
        if self.cutter.is_queued(leg):
            return True
        return self.cutter.answer_of(leg) == self.newest(leg.run_id) and self.is_open

    def newest(self, run_id: str) -> Leg:
        return self.cutter.leg or Leg(run_id)

    def whole(self, run_id: str) -> UiReply:
        """All of the message that the newest leg adds to."""
        newest = self.newest(run_id)
        place = self.places.get(newest)
        same = [leg.first for leg, id_ in self.places.items() if id_ == place]
        return UiReply(newest, min(same, default=newest.first))

    def since(self, run_id: str, numbers: Iterable[int]) -> UiReply | None:
        """What was added to the message of some questions, from the first decision of them on.

        None where that is in another message, which is answered already: the decision came while
        the run was busy there.
        """
        known = [number for number in numbers if number in self.decided]
        if not known:
            newest = self.newest(run_id)
            return UiReply(newest, newest.first)
        first = min(known, key=lambda number: self.decided[number])
        begins, came_in = self.decided[first]
        legs = list(self.places)
        after = legs[legs.index(came_in) :]
        found = [leg for leg in after if self.places[leg] == self.asked_in[first]]
        return UiReply(found[-1], begins) if found else None


def legs_of(run_id: str, chunks: Iterable[AnyChunk]) -> RunLegs:
    """Cut a log into its legs."""
    told = _Placed(MessagePlaces(run_id))
    found = RunLegs(LegCutter(run_id, told))
    for chunk in chunks:
        found.cutter.feed(chunk)
        leg = found.cutter.leg
        assert leg is not None
        found.places.setdefault(leg, told.places.id)
        if isinstance(chunk, ToolCallDecided) and chunk.payload.number is not None:
            number = chunk.payload.number
            found.decided[number] = (chunk.seq, leg)
            found.asked_in[number] = told.places.place_of(number)
    return found


class _Placed:
    """A translator for who asks for the legs alone, and where they are."""

    def __init__(self, places: MessagePlaces) -> None:
        self.places = places

    def begin(self, leg: Leg, chunk: AnyChunk) -> Sequence[UiEvent]:
        self.places.begin(leg, chunk)
        return ()

    def feed(self, chunk: AnyChunk) -> Sequence[UiEvent]:
        self.places.feed(chunk)
        return ()

    def end(self, _: LegEnd) -> Sequence[UiEvent]:
        return ()
