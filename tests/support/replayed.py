"""A run whose log is at hand, for what reads runs."""

from collections.abc import Iterator, Sequence
from typing import Any

from evented_agent import RunStream
from evented_agent.chunks import AnyChunk


class Replayed(RunStream[Any]):
    """Gives the chunks of a log, so many at a time."""

    def __init__(self, chunks: Sequence[AnyChunk], size: int) -> None:
        self._batches = [chunks[at : at + size] for at in range(0, len(chunks), size)]

    def batches(self, heartbeat: float | None = 15) -> Iterator[Sequence[AnyChunk]]:
        return iter(self._batches)
