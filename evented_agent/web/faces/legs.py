"""Where the log of a run is cut into replies.  Pure: does no I/O.

Clients whose protocol ends a reply where people are asked see one run as several replies, its
**legs**.  The log itself says where: `run-waiting` for people ends a leg, and whatever comes next
begins another; so does the retry of a failed run.  The first leg has the run's id, a later one
``<run id>:<seq of its first chunk>``.
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
    RunWaiting,
    RunWaitingPayload,
    StepReset,
)

_LEG_ID = re.compile(r"(?P<run_id>[^:]+)(?::(?P<first>[1-9][0-9]{0,17}))?")

#: How a leg ends: with the run, or where it waits for people.
LegEnd = Finish | Error | Abort | RunWaiting

Event = TypeVar("Event", covariant=True)


@dataclass(frozen=True, slots=True)
class Leg:
    """One reply of a run.

    Attributes:
        run_id: The run.
        first: The number of its first chunk; 0 for a run's first leg.
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

    def begin(self, leg: Leg) -> Sequence[Event]:
        """A leg begins; its chunks follow."""

    def feed(self, chunk: AnyChunk) -> Sequence[Event]:
        """A chunk of the leg that began last, other than its end."""

    def end(self, ending: LegEnd) -> Sequence[Event]:
        """That leg ends."""


class LegCutter(Generic[Event]):
    """Gives the chunks of a log to a translator, leg by leg.

    Attributes:
        leg: The leg that began last; None before the first chunk.
        is_open: Whether it goes on.
    """

    def __init__(self, run_id: str, translator: Translator[Event]) -> None:
        self.leg: Leg | None = None
        self.is_open = False
        self._run_id = run_id
        self._translator = translator
        self._cursor = "0-0"

    def feed(self, chunk: AnyChunk) -> Sequence[tuple[Leg, Event]]:
        """The events of one more chunk, each with the leg that it belongs to."""
        self._cursor = chunk.cursor
        found: list[tuple[Leg, Event]] = []
        if self.is_open and isinstance(chunk, StepReset) and chunk.payload.error is not None:
            # What ended the leg is in the log no more: a retry has taken it back.
            found += self._end(_failure(chunk))
        if not self.is_open:
            found += self._begin(chunk)
        if is_ending(chunk):
            return [*found, *self._end(chunk)]
        return [*found, *self._of_leg(self._translator.feed(chunk))]

    def stop(self) -> Sequence[tuple[Leg, Event]]:
        """Nothing follows for now, though no chunk says so: an older version wrote the log."""
        if not self.is_open:
            return []
        payload = RunWaitingPayload(waits_for="people")
        seq = int(self._cursor.partition("-")[0])
        return self._end(
            RunWaiting(seq=seq, cursor=self._cursor, run_id=self._run_id, payload=payload)
        )

    def _begin(self, chunk: AnyChunk) -> Sequence[tuple[Leg, Event]]:
        self.leg = Leg(self._run_id, 0 if self.leg is None else chunk.seq)
        self.is_open = True
        return self._of_leg(self._translator.begin(self.leg))

    def _end(self, ending: LegEnd) -> Sequence[tuple[Leg, Event]]:
        self.is_open = False
        return self._of_leg(self._translator.end(ending))

    def _of_leg(self, events: Sequence[Event]) -> Sequence[tuple[Leg, Event]]:
        assert self.leg is not None
        return [(self.leg, event) for event in events]


def is_ending(chunk: AnyChunk) -> TypeGuard[LegEnd]:
    """Whether a leg ends with this chunk."""
    if isinstance(chunk, RunWaiting):
        return chunk.payload.waits_for == "people"
    return isinstance(chunk, Finish | Error | Abort)


def _failure(reset: StepReset) -> Error:
    assert reset.payload.error is not None
    payload = ErrorPayload(error=reset.payload.error)
    return Error(
        seq=reset.seq, cursor=reset.cursor, run_id=reset.run_id, task=reset.task, payload=payload
    )
