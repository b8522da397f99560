"""Reads what a run's log holds so far, and waits for nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from evented_agent.chunks import AnyChunk, TopicReset
from evented_agent.errors import RunExpired
from evented_agent.state.run_info import RunInfo
from evented_agent.web.site import Site, Verb, WebSteps

#: Seconds of silence after which what there should be is not there: a retry has taken it back.
_PATIENCE = 1.0


@dataclass(slots=True)
class _Pile:
    """Chunks of a log, up to a number, at most so many."""

    until: int
    most: int
    chunks: list[AnyChunk] = field(default_factory=list)

    def add(self, batch: Sequence[AnyChunk]) -> bool:
        """Whether more is wanted."""
        for chunk in batch:
            if isinstance(chunk, TopicReset):
                self.chunks.clear()
            elif chunk.seq <= self.until and len(self.chunks) < self.most:
                self.chunks.append(chunk)
        last = batch[-1].seq if batch else 0
        return last < self.until and len(self.chunks) < self.most


@dataclass(frozen=True, slots=True)
class _ReadLog:
    run_id: str
    after: int
    until: int
    most: int

    def run(self, site: Site) -> Sequence[AnyChunk]:
        pile = _Pile(self.until, self.most)
        with site.runs.observe(self.run_id, after=self.after, timeout=_PATIENCE) as stream:
            try:
                for batch in stream.batches(None):
                    if not pile.add(batch):
                        break
            except TimeoutError:
                pass
        return pile.chunks

    async def arun(self, site: Site) -> Sequence[AnyChunk]:
        pile = _Pile(self.until, self.most)
        stream = await site.runs.aobserve(self.run_id, after=self.after, timeout=_PATIENCE)
        async with stream:
            try:
                async for batch in stream.batches(None):
                    if not pile.add(batch):
                        break
            except TimeoutError:
                pass
        return pile.chunks


def log_so_far(
    info: RunInfo, *, after: int = 0, most: int = 20_000
) -> WebSteps[Sequence[AnyChunk] | None]:
    """The chunks of a run from *after* on, at most *most*; None where they have expired."""
    until = last_seq(info)
    if after >= until:
        return []
    try:
        found: Sequence[AnyChunk] = yield _ReadLog(info.run_id, after, until, most)
    except RunExpired:
        return None
    return found


def fresh(run_id: str) -> WebSteps[RunInfo]:
    found: RunInfo = yield Verb("get", (run_id,))
    return found


def last_seq(info: RunInfo) -> int:
    return int(info.cursor.partition("-")[0] or 0)


def as_wire(chunks: Sequence[AnyChunk]) -> list[dict[str, Any]]:
    """Chunks as web clients read them."""
    return [chunk.wire() for chunk in chunks]
