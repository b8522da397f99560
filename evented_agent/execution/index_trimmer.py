"""Takes runs and conversations that have expired out of the indexes, a little at each look.

The indexes of statuses are ordered by the runs' ends, so what has expired is known. Those of
agents, threads and resources are ordered by the runs' starts, and may be of agents that no process
knows any more: they are found by scanning, and their oldest runs are looked up. So are those of
conversations, which are ordered by when they were in use last.
"""

import time
from collections.abc import Sequence

from evented_agent.ledger.connection import Ledger
from evented_agent.ledger.indexes import forget_gone, forget_gone_threads, oldest, trim
from evented_agent.ledger.keys import CONVERSATIONS, Keys

#: Seconds between two rounds over a shard, and those of one look.
TRIM = 60.0
_WORK = 0.2
#: How many runs trim.lua takes out at a time, and runs looked up together.
_TRIMMED, _LOOKED_UP = 500, 500


class IndexTrimmer:
    """Trims the indexes of one shard."""

    def __init__(
        self, keys: Keys, ledger: Ledger, shard: int, *, record_ms: int, thread_ms: int
    ) -> None:
        self._keys = keys
        self._ledger = ledger
        self._shard = shard
        self._record_ms = record_ms
        self._thread_ms = thread_ms
        self._next_round = time.monotonic() + TRIM
        self._cursor = 0
        self._found: list[tuple[str, int]] = []
        self._is_scanning = False

    def work(self, now: int, agents: Sequence[str]) -> None:
        """Go on for a moment, once a round is due; *now* is Redis's time (ms)."""
        ends = time.monotonic() + _WORK
        if not self._is_scanning:
            if time.monotonic() < self._next_round or not self._trim(now, agents, ends):
                return
            self._is_scanning, self._cursor = True, 0
        while time.monotonic() < ends:
            if self._found:
                self._look_up(now)
            elif not self._is_scanning:
                self._next_round = time.monotonic() + TRIM
                return
            else:
                self._cursor, names = self._ledger.scan(
                    self._keys.index(self._shard, "*"), self._cursor
                )
                self._found = [
                    (name, 0)
                    for name in names
                    if self._is_by_start(name) or self._is_of_conversations(name)
                ]
                self._is_scanning = self._cursor != 0
        # What is left is looked at at the next look.
        self._is_scanning = self._is_scanning or bool(self._found)

    def _trim(self, now: int, agents: Sequence[str], ends: float) -> bool:
        """Trim by the ends of runs; whether nothing is left."""
        for status in ("finished", "failed", "aborted"):
            call = trim(
                self._keys, self._shard, status, agents=agents, ended_before=now - self._record_ms
            )
            while self._ledger.send(call, retry_for=0) >= _TRIMMED:
                if time.monotonic() > ends:
                    return False
        return True

    def _is_by_start(self, name: str) -> bool:
        kinds = ("agent", "thread", "resource")
        return name.startswith(
            tuple(f"{self._keys.index(self._shard, kind)}:" for kind in kinds)
        ) or name == self._keys.index(self._shard, "all")

    def _is_of_conversations(self, name: str) -> bool:
        every = self._keys.index(self._shard, *CONVERSATIONS)
        return name == every or name.startswith(f"{every}:")

    def _look_up(self, now: int) -> None:
        name, offset = self._found.pop()
        is_of_runs = not self._is_of_conversations(name)
        before = now - (self._record_ms if is_of_runs else self._thread_ms)
        call = oldest(name, before=before, offset=offset, limit=_LOOKED_UP)
        members = self._ledger.send(call, retry_for=0)
        if not members:
            return
        if is_of_runs:
            forget = forget_gone(self._keys, name, members)
        else:
            forget = forget_gone_threads(self._keys, self._shard, name, members)
        gone = self._ledger.send(forget, retry_for=0)
        if len(members) == _LOOKED_UP:
            self._found.append((name, offset + len(members) - gone))
