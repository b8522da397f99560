"""Counts how runs have ended, whoever ended them: a worker, a caller, a deadline, a watchdog."""

import time
from collections.abc import Collection, Sequence

from evented_agent.errors import LedgerUnavailable
from evented_agent.execution.counts import Counts
from evented_agent.ledger.connection import Ledger
from evented_agent.ledger.counters import MOST_ENDED, about_ended, take_ended
from evented_agent.ledger.keys import Keys
from evented_agent.logs import logger_of

logger = logger_of(__name__)

#: Seconds between two looks at a shard.
INTERVAL_OF_LOOKS = 1.0


class EndedRuns:
    """The runs of one shard that have ended since somebody of the fleet looked last."""

    def __init__(self, keys: Keys, ledger: Ledger, shard: int, counts: Counts) -> None:
        self._keys = keys
        self._ledger = ledger
        self._shard = shard
        self._counts = counts
        self._next_look = 0.0

    def count(self, agents: Collection[str], *, is_last: bool = False) -> None:
        """Count them once a second, those of others than *agents* for no agent."""
        now = time.monotonic()
        if now < self._next_look and not is_last:
            return
        self._next_look = now + INTERVAL_OF_LOOKS
        try:
            while not self._take(agents):
                pass
        except LedgerUnavailable as error:
            logger.warning("Runs that have ended could not be counted: %s", error)

    def _take(self, agents: Collection[str]) -> bool:
        """Count the next few; whether that was all."""
        found = self._ledger.send(take_ended(self._keys, self._shard), retry_for=0)
        for status, run_ids in found.items():
            for agent, ms in self._about(run_ids):
                known = agent if agent in agents else ""
                self._counts.add(f"runs_{status}", known)
                if status == "finished":
                    self._counts.add("run_ms", known, ms)
                    self._counts.peak("run_peak_ms", known, ms)
        return max(map(len, found.values())) < MOST_ENDED - 1

    def _about(self, run_ids: Sequence[str]) -> Sequence[tuple[str, int]]:
        if not run_ids:
            return ()
        return self._ledger.send(about_ended(self._keys, run_ids), retry_for=0)
