"""Reading a run for a client of another protocol: all of it so far, or one leg as a stream."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from evented_agent.chunks import AnyChunk, TopicReset
from evented_agent.client.run_stream import HEARTBEAT, AsyncRunStream, RunStream
from evented_agent.state.run_info import RunInfo
from evented_agent.web.exchange import EventReply, StreamBroken, in_pieces
from evented_agent.web.faces.legs import Leg, LegCutter, Translator
from evented_agent.web.principal import Principal
from evented_agent.web.site import Site, Verb, WebSteps

_Event = TypeVar("_Event")


@dataclass(frozen=True, slots=True)
class ReadLog:
    """Read all chunks of a run up to where it is now.

    Raises `RunExpired` where they are gone.
    """

    info: RunInfo

    def run(self, site: Site) -> Sequence[AnyChunk]:
        found: list[AnyChunk] = []
        with site.runs.observe(self.info.run_id) as run:
            for chunk in run:
                if self._is_last(found, chunk):
                    break
        return found

    async def arun(self, site: Site) -> Sequence[AnyChunk]:
        found: list[AnyChunk] = []
        async with await site.runs.aobserve(self.info.run_id) as run:
            async for chunk in run:
                if self._is_last(found, chunk):
                    break
        return found

    def _is_last(self, found: list[AnyChunk], chunk: AnyChunk) -> bool:
        if isinstance(chunk, TopicReset):
            # Redis has lost its last second; the chunks follow once more.
            found.clear()
            return False
        found.append(chunk)
        return chunk.seq >= int(self.info.cursor.partition("-")[0] or 0)


@dataclass(frozen=True, slots=True)
class LegRequest(Generic[_Event]):
    """What a client wants to read of a run.

    Attributes:
        leg: Which leg; that of the number of a message is the one that answers it.
        translator: A new translator of the protocol.
        frame: How one event is written as a Server-Sent Event.
        skip: How many of the leg's events the client has.
        last: What is written behind the last event.
        headers: More headers of the reply.
        is_last: Whether nothing is sent behind an event, although its leg goes on.
    """

    leg: Leg
    translator: Translator[_Event]
    frame: Callable[[_Event], str]
    skip: int = 0
    last: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    is_last: Callable[[_Event], bool] = lambda _: False


def follow_leg(
    site: Site,
    who: Principal,
    request: LegRequest[Any],
    run: RunStream[Any] | AsyncRunStream[Any] | None = None,
) -> WebSteps[EventReply]:
    """Follow a leg from its first event, or from where the client was, to its end.

    With the *run* that was just started nothing is asked first, so nothing can be refused any more.
    """
    counted_by = None if who.all_resources else who.name
    if run is None:
        site.streams.check(counted_by)
        run = yield Verb("observe", (request.leg.run_id,), {"close_on_suspend": True})
    events = _LegEvents(run, request, site.heartbeat)
    return EventReply(
        iter(events) if isinstance(run, RunStream) else aiter(events),
        run,
        counted_by,
        request.headers,
        has_end=True,
    )


class _LegEvents(Generic[_Event]):
    """The events of a leg as they are sent, for a thread or an event loop."""

    def __init__(
        self,
        run: RunStream[Any] | AsyncRunStream[Any],
        request: LegRequest[_Event],
        heartbeat: float,
    ) -> None:
        self._run = run
        self._request = request
        self._heartbeat = heartbeat
        self._cutter = LegCutter(request.leg.run_id, request.translator)
        self._skip = request.skip
        self._is_begun = False
        self._is_cut = False

    def __iter__(self) -> Iterator[str]:
        assert isinstance(self._run, RunStream)
        for batch in self._run.batches(self._heartbeat):
            yield from self._pieces(batch)
            if self._is_over():
                break
        yield self._rest()

    async def __aiter__(self) -> AsyncIterator[str]:
        assert isinstance(self._run, AsyncRunStream)
        async for batch in self._run.batches(self._heartbeat):
            for piece in self._pieces(batch):
                yield piece
            if self._is_over():
                break
        yield self._rest()

    def _pieces(self, batch: Sequence[AnyChunk]) -> Iterator[str]:
        """What a batch of chunks becomes; a sign of life for an empty one."""
        return in_pieces(map(self._framed, batch)) if batch else iter([HEARTBEAT])

    def _framed(self, chunk: AnyChunk) -> str:
        if self._is_over():
            return ""
        if isinstance(chunk, TopicReset):
            # No integer can say that what was counted is gone.
            raise StreamBroken
        return self._wanted(self._cutter.feed(chunk))

    def _rest(self) -> str:
        rest = "" if self._is_over() else self._wanted(self._cutter.stop())
        return rest + self._request.last

    def _wanted(self, events: Sequence[tuple[Leg, _Event]]) -> str:
        """The events that the client lacks, as they are written."""
        wanted = self._cutter.answer_of(self._request.leg)
        mine = [event for leg, event in events if leg == wanted]
        self._is_begun |= bool(mine)
        skipped = min(self._skip, len(mine))
        self._skip -= skipped
        self._is_cut = any(map(self._request.is_last, mine))
        return "".join(self._request.frame(event) for event in mine[skipped:])

    def _is_over(self) -> bool:
        """Whether the leg that is wanted has ended, or there can be none such any more."""
        cutter, leg = self._cutter, self._request.leg
        if self._is_begun:
            return self._is_cut or not cutter.is_open or cutter.leg != cutter.answer_of(leg)
        return not cutter.is_queued(leg) and cutter.began > leg.first
