"""What one request and one principal may take."""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from evented_agent.web.exchange import READINGS, Reading
from evented_agent.web.failures import HttpFailure


@dataclass(frozen=True, slots=True)
class Limits:
    """What is refused beyond; sizes in bytes, times in seconds.

    Attributes:
        body: Of a request, 1 MB; then 413.
        headers: Of a request, all together, 16 KB; then 431.
        message: Of what is said in one message, 256 KB; then 413.
        streams: That a principal may have open in one process, 50; then 429.
        live_runs: Of a principal that have not ended, counted in Redis, 100; then 429. Runs that
            are started at the same moment may exceed it by as many.
        body_seconds: That a request's body may take to arrive, 30; then 408.
        stall_seconds: That a reader may take nothing of what is sent, 60; then its stream is cut.
            It goes on from its last event, as after any drop.
    """

    body: int = 1_000_000
    headers: int = 16_384
    message: int = 262_144
    streams: int = 50
    live_runs: int = 100
    body_seconds: float = 30
    stall_seconds: float = 60


class OpenStreams:
    """How many streams each principal has open in this process, and of which kind all are."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: Counter[str] = Counter()
        self._of_kind: Counter[Reading] = Counter()
        self._lock = threading.Lock()

    def check(self, principal: str | None) -> None:
        """Refuse one more than are allowed, without opening it."""
        if principal is not None and self._open[principal] >= self._most:
            raise self._too_many()

    @contextmanager
    def one_of(self, principal: str | None, reading: Reading) -> Iterator[None]:
        """Count a stream while it is open; None has no limit."""
        with self._lock:
            self.check(principal)
            self._add(principal, reading, 1)
        try:
            yield
        finally:
            with self._lock:
                self._add(principal, reading, -1)

    def readers(self) -> Mapping[Reading, int]:
        """How many streams are open, by what they follow."""
        with self._lock:
            return {reading: self._of_kind[reading] for reading in READINGS}

    def _add(self, principal: str | None, reading: Reading, by: int) -> None:
        self._of_kind[reading] += by
        if principal is not None:
            self._open[principal] += by
            if self._open[principal] <= 0:
                del self._open[principal]

    def _too_many(self) -> HttpFailure:
        return HttpFailure(
            429,
            "too_many_streams",
            f"You have {self._most} open streams here, the most that are allowed. Close one.",
            {"retry-after": "5"},
        )
