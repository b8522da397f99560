"""Where the log of a run is cut into replies.  Pure: does no I/O.

Clients whose protocol ends a reply where people are asked see one run as several replies, its
**legs**.  The log itself says where: `run-waiting` for people ends a leg, and whatever comes next
begins another; so does the retry of a failed run.  The first leg has the run's id, a later one
``<run id>:<number>``, that of the chunk that it begins with.

A message that is sent to the run has a leg that answers it, whose number is that of its
`message-queued`, so the id is known as soon as the message is sent:

- Sent while a leg is open, it is in that leg; its first `message-applied` ends that leg and begins
  the one that answers it.  Later ones, after a `step-reset`, are in the leg that there is.
- Sent while none is open, it begins the leg itself, and what it puts off, `step-start` and
  `message-applied` are in it.  One that waits for a decision (`hold`) begins none: it goes with
  whatever begins the next leg, and so does a `run-waiting` that only says once more who is asked.
- Messages that are applied together have one leg, that of the first of them.
- One that is dropped has a leg of its own without a chunk, behind the one that the run ends with,
  and it ends as that one.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeGuard, TypeVar

from evented_agent.chunks import (
    Abort,
    AnyChunk,
    Error,
    ErrorPayload,
    Finish,
    MessageApplied,
    MessageDropped,
    MessageQueued,
    RunWaiting,
    RunWaitingPayload,
    StepReset,
)
from evented_agent.web.faces.child_calls import ChildCalls

_LEG_ID = re.compile(r"(?P<run_id>[^:]+)(?::(?P<first>[1-9][0-9]{0,17}))?")

#: How a leg ends: with the run, where it waits for people, or where a message is answered.
LegEnd = Finish | Error | Abort | RunWaiting | MessageApplied

Event = TypeVar("Event", covariant=True)


@dataclass(frozen=True, slots=True)
class Leg:
    """One reply of a run.

    Attributes:
        run_id: The run.
        first: The number of the chunk that it begins with, or of the message that it answers; 0 for
            a run's first leg.
    """

    run_id: str
    first: int = 0

    @property
    def id(self) -> str:
        return f"{self.run_id}:{self.first}" if self.first else self.run_id


def leg_of(leg_id: str) -> Leg | None:
    """The leg of that id, whether or not there is one; None for what is no id of a leg."""
    found = _LEG_ID.fullmatch(leg_id)
    return None if found is None else Leg(found["run_id"], int(found["first"] or 0))


class Translator(Protocol[Event]):
    """What a protocol makes of a run's log, given all of it from its first chunk on.

    Its state comes from what it was given and from nothing else, so any process makes the same
    events of the same log: a cursor that counts them means the same everywhere.
    """

    def begin(self, leg: Leg, chunk: AnyChunk) -> Sequence[Event]:
        """A leg begins with that chunk; its chunks follow, that one among them.

        With a `message-dropped` it is the leg of a message that nothing has answered: its end
        follows, and a retry goes on from the leg before.
        """

    def feed(self, chunk: AnyChunk) -> Sequence[Event]:
        """A chunk of the leg that began last, other than its end."""

    def end(self, ending: LegEnd) -> Sequence[Event]:
        """That leg ends."""


class LegCutter(Generic[Event]):
    """Gives the chunks of a log to a translator, leg by leg.

    Attributes:
        leg: The leg that began last; None before the first chunk.
        is_open: Whether it goes on.
        began: The number of the chunk that it began with.
    """

    def __init__(self, run_id: str, translator: Translator[Event]) -> None:
        self.leg: Leg | None = None
        self.is_open = False
        self.began = 0
        self._run_id = run_id
        self._translator = translator
        self._cursor = "0-0"
        #: The messages that no leg answers yet: the numbers, by their ids.
        self._queued: dict[str, int] = {}
        #: The legs of messages, by the numbers of these.
        self._answers: dict[int, Leg] = {}
        #: The message that has begun the leg, until the model has it.
        self._opener: str | None = None
        #: What came while no leg was open and waits for one.
        self._held: list[AnyChunk] = []
        self._dropped: MessageDropped | None = None
        self._children = ChildCalls()

    def feed(self, chunk: AnyChunk) -> Sequence[tuple[Leg, Event]]:
        """The events of one more chunk, each with the leg that it belongs to."""
        self._cursor = chunk.cursor
        shown = self._children.shown(chunk)
        return [event for each in shown for event in self._feed(each)]

    def _feed(self, chunk: AnyChunk) -> Sequence[tuple[Leg, Event]]:
        found: list[tuple[Leg, Event]] = []
        if self.is_open and isinstance(chunk, StepReset) and chunk.payload.error is not None:
            # What ended the leg is in the log no more: a retry has taken it back.
            found += self._end_run(_failure(chunk))
        if isinstance(chunk, MessageQueued):
            self._queued[chunk.payload.message_id] = chunk.seq
        if not self.is_open and self.leg is not None and _begins_nothing(chunk):
            self._held.append(chunk)
            return found
        found += self._legs_of(chunk)
        if is_ending(chunk):
            return [*found, *self._end_run(chunk)]
        if isinstance(chunk, MessageDropped):
            self._dropped = chunk
        return [*found, *self._of_leg(self._translator.feed(chunk))]

    def answer_of(self, leg: Leg) -> Leg:
        """The leg that answers a message, given the one of its number; else the same leg."""
        return self._answers.get(leg.first, leg)

    def is_queued(self, leg: Leg) -> bool:
        """Whether it is that of a message that nothing answers yet."""
        return leg.first in self._queued.values()

    def is_answer(self, leg: Leg) -> bool:
        """Whether its number is that of a message, which it answers, or is going to."""
        return leg.first in self._answers or self.is_queued(leg)

    def stop(self) -> Sequence[tuple[Leg, Event]]:
        """Nothing follows for now, though no chunk says so: an older version wrote the log."""
        if not self.is_open:
            return []
        payload = RunWaitingPayload(waits_for="people")
        seq = int(self._cursor.partition("-")[0])
        return self._end(
            RunWaiting(seq=seq, cursor=self._cursor, run_id=self._run_id, payload=payload)
        )

    def _legs_of(self, chunk: AnyChunk) -> Sequence[tuple[Leg, Event]]:
        """End and begin legs before a chunk, as it says."""
        if isinstance(chunk, MessageApplied):
            return self._apply(chunk)
        if self.is_open:
            return []
        first = 0 if self.leg is None else chunk.seq
        if first and isinstance(chunk, MessageQueued):
            self._opener = chunk.payload.message_id
            self._answered([self._opener], Leg(self._run_id, first))
        return self._begin(Leg(self._run_id, first), chunk)

    def _apply(self, chunk: MessageApplied) -> Sequence[tuple[Leg, Event]]:
        ids = [id_ for id_ in chunk.payload.message_ids if id_ in self._queued]
        is_own, self._opener = self._opener in chunk.payload.message_ids, None
        if self.is_open and (is_own or not ids):
            assert self.leg is not None
            self._answered(ids, self.leg)
            return []
        ended = self._end(chunk) if self.is_open else []
        first = 0 if self.leg is None else self._queued[ids[0]] if ids else chunk.seq
        self._answered(ids, Leg(self._run_id, first))
        return [*ended, *self._begin(Leg(self._run_id, first), chunk)]

    def _answered(self, ids: Sequence[str], leg: Leg) -> None:
        for id_ in ids:
            self._answers[self._queued.pop(id_)] = leg

    def _begin(self, leg: Leg, chunk: AnyChunk) -> Sequence[tuple[Leg, Event]]:
        self.leg, self.began, self.is_open = leg, chunk.seq, True
        held, self._held = self._held, []
        begun = self._of_leg(self._translator.begin(leg, chunk))
        for each in held:
            begun = [*begun, *self._of_leg(self._translator.feed(each))]
        return begun

    def _end_run(self, ending: LegEnd) -> Sequence[tuple[Leg, Event]]:
        """End the leg, and those of messages that were dropped."""
        found = [*self._end(ending)]
        dropped, self._dropped = self._dropped, None
        for id_ in () if dropped is None else dropped.payload.message_ids:
            if dropped is not None and id_ in self._queued:
                leg = Leg(self._run_id, self._queued[id_])
                self._answered([id_], leg)
                events = [*self._translator.begin(leg, dropped), *self._translator.end(ending)]
                found += [(leg, event) for event in events]
        return found

    def _end(self, ending: LegEnd) -> Sequence[tuple[Leg, Event]]:
        self.is_open, self._opener = False, None
        return self._of_leg(self._translator.end(ending))

    def _of_leg(self, events: Sequence[Event]) -> Sequence[tuple[Leg, Event]]:
        assert self.leg is not None
        return [(self.leg, event) for event in events]


def _begins_nothing(chunk: AnyChunk) -> bool:
    """Whether no leg begins with it, although none is open."""
    if isinstance(chunk, MessageQueued):
        return chunk.payload.hold
    return isinstance(chunk, RunWaiting) and is_ending(chunk)


def is_ending(chunk: AnyChunk) -> TypeGuard[Finish | Error | Abort | RunWaiting]:
    """Whether a leg ends with this chunk, whatever came before."""
    if isinstance(chunk, RunWaiting):
        return chunk.payload.waits_for == "people"
    return isinstance(chunk, Finish | Error | Abort)


def _failure(reset: StepReset) -> Error:
    assert reset.payload.error is not None
    payload = ErrorPayload(error=reset.payload.error)
    return Error(
        seq=reset.seq, cursor=reset.cursor, run_id=reset.run_id, task=reset.task, payload=payload
    )
