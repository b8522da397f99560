"""Answers that come when a leg ends, for clients that stream nothing."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from evented_agent.chunks import AnyChunk, TopicReset
from evented_agent.client.run_stream import AsyncRunStream, RunStream
from evented_agent.errors import LedgerUnavailable
from evented_agent.web.exchange import PlainReply
from evented_agent.web.faces.legs import Leg, LegCutter, Translator
from evented_agent.web.principal import Principal

_Event = TypeVar("_Event")

#: Seconds for which somebody waits: as long as the clients do by default.
MOST_WAIT = 600.0
#: Seconds between two looks at the time.
_LOOK = 5.0


def counted_as(who: Principal) -> str | None:
    """Whose open streams those of *who* count as; None for a service, which has no limit."""
    return None if who.all_resources else who.name


@dataclass(frozen=True, slots=True)
class LegWait(Generic[_Event]):
    """Waits for the end of a leg.

    Attributes:
        run: What reads the run, from its first chunk on.
        leg: Which leg.
        translator: Makes a translator of the protocol.
        answer: What is answered, given the leg's last event.
        instead: What is answered where it takes longer than anybody waits.
    """

    run: RunStream[Any] | AsyncRunStream[Any]
    leg: Leg
    translator: Callable[[], Translator[_Event]]
    answer: Callable[[_Event], PlainReply]
    instead: PlainReply

    def wait(self) -> PlainReply:
        assert isinstance(self.run, RunStream)
        reading = _Reading(self)
        with _unless_away(), self.run as run:
            for batch in run.batches(_LOOK):
                if reading.is_over(batch):
                    break
            else:
                reading.stop()
        return reading.reply()

    async def await_(self) -> PlainReply:
        assert isinstance(self.run, AsyncRunStream)
        reading = _Reading(self)
        with _unless_away():
            async with self.run as run:
                async for batch in run.batches(_LOOK):
                    if reading.is_over(batch):
                        break
                else:
                    reading.stop()
        return reading.reply()


@contextmanager
def _unless_away() -> Iterator[None]:
    """The run goes on while Redis is away: the client may ask for it again."""
    try:
        yield
    except LedgerUnavailable:
        return


class _Reading(Generic[_Event]):
    """How far a leg was read."""

    def __init__(self, wait: LegWait[_Event]) -> None:
        self._wait = wait
        self._cutter = LegCutter(wait.leg.run_id, wait.translator())
        self._last: _Event | None = None
        self._has_ended = False
        self._until = time.monotonic() + MOST_WAIT

    def is_over(self, batch: Sequence[AnyChunk]) -> bool:
        """Take chunks in; whether nobody has to wait for more."""
        for chunk in batch:
            if isinstance(chunk, TopicReset):
                self._cutter = LegCutter(self._wait.leg.run_id, self._wait.translator())
            elif not self._has_ended:
                self._take(self._cutter.feed(chunk))
        return self._has_ended or time.monotonic() > self._until

    def stop(self) -> None:
        """Nothing follows for now."""
        self._take(self._cutter.stop())

    def reply(self) -> PlainReply:
        if self._last is None or not self._has_ended:
            return self._wait.instead
        return self._wait.answer(self._last)

    def _take(self, events: Sequence[tuple[Leg, _Event]]) -> None:
        leg = self._cutter.answer_of(self._wait.leg)
        wanted = [event for each, event in events if each == leg]
        if wanted:
            self._last = wanted[-1]
            self._has_ended = not self._cutter.is_open or self._cutter.leg != leg
