"""The end of one topic: what came last, and who waits for what comes next.  Without I/O.

Whoever waits gets what an `XREAD` after its own position would have given it; a topic keeps its
last entries for readers that are a little behind, and no memory for those that are further.
"""

import weakref
from bisect import bisect_right
from collections.abc import Sequence

from evented_agent.client.follow import StoredChunk
from evented_agent.client.hub.waits import Wait

#: What a topic keeps for readers that are a little behind.
MOST_ENTRIES = 500
MOST_BYTES = 256 * 1024

Place = tuple[int, int]
News = list[tuple[Wait, Sequence[StoredChunk]]]


class Seat:
    """One reader of a topic; the topic is read as long as somebody holds one."""

    __slots__ = ("__weakref__",)


class Topic:
    """Knows no lock: its group calls it under its own."""

    def __init__(self, key: str, blobs: str, run_id: str) -> None:
        self.key = key
        self.blobs = blobs
        self.run_id = run_id
        self.seats: weakref.WeakSet[Seat] = weakref.WeakSet()
        #: The entry after which it is read next, as Redis writes it; None if it is not read.
        self.position: str | None = None
        self._head: Place = (0, 0)
        self._waits: list[tuple[Place, Wait]] = []
        # Entries after `_start`, the last of them at `_head`.
        self._start: Place = (0, 0)
        self._recent: list[StoredChunk] = []
        self._places: list[Place] = []
        self._sizes: list[int] = []
        self._bytes = self._untaken = 0

    def wait(self, position: str, wait: Wait) -> Sequence[StoredChunk] | None:
        """Let a reader at *position* wait: an empty answer.

        What it missed is the answer if it is still here, None if that must be read from Redis.
        """
        place = entry_order(position)
        self._untaken = 0
        if self.position is None and place >= self._head:
            self.rewind(position)
        if place < self._head:
            return self._after(place)
        self._waits.append((place, wait))
        return ()

    @property
    def has_waits(self) -> bool:
        return bool(self._waits)

    def rewind(self, position: str) -> None:
        """Read after *position* next: there was nothing after it."""
        self.position = position
        self._head = entry_order(position)
        self._forget()

    def withdraw(self, wait: Wait) -> None:
        """Somebody waits no longer."""
        self._waits = [each for each in self._waits if each[1] is not wait]

    def take(self, entries: Sequence[StoredChunk], sizes: Sequence[int]) -> News:
        """Take what came after `position`: who gets what of it."""
        places = [entry_order(cursor) for cursor, _ in entries]
        self.position, self._head = entries[-1][0], places[-1]
        news: News = []
        waits, self._waits = self._waits, []
        for place, wait in waits:
            first = bisect_right(places, place)
            if first < len(places):
                news.append((wait, entries[first:] if first else entries))
            else:
                self._waits.append((place, wait))
        if news and len(self.seats) == 1:
            self._forget()
        else:
            self._remember(entries, places, sizes)
        self._untaken = 0 if news else self._untaken + len(entries)
        if self._untaken > MOST_ENTRIES and not self._waits:
            # All of its readers are slow: they come back when they have read what there is.
            self.position = None
            self._forget()
        return news

    def lose(self) -> list[Wait]:
        """The connection broke: who is to be told."""
        waits, self._waits = self._waits, []
        self.position, self._head = None, (0, 0)
        self._forget()
        return [wait for _, wait in waits]

    def _after(self, place: Place) -> Sequence[StoredChunk] | None:
        first = bisect_right(self._places, place)
        # What followed an entry of another life of the server is not known here.
        is_known = place == (self._places[first - 1] if first else self._start)
        return self._recent[first:] if is_known else None

    def _remember(
        self, entries: Sequence[StoredChunk], places: Sequence[Place], sizes: Sequence[int]
    ) -> None:
        self._recent += entries
        self._places += places
        self._sizes += sizes
        cut = max(0, len(self._recent) - MOST_ENTRIES)
        self._bytes += sum(sizes) - sum(self._sizes[:cut])
        while self._bytes > MOST_BYTES:
            self._bytes -= self._sizes[cut]
            cut += 1
        if cut:
            self._start = self._places[cut - 1]
            for each in (self._recent, self._places, self._sizes):
                del each[:cut]

    def _forget(self) -> None:
        self._start = self._head
        self._recent, self._places, self._sizes, self._bytes = [], [], [], 0


def entry_order(cursor: str) -> Place:
    """An entry id as Redis orders it."""
    seq, _, life = cursor.partition("-")
    return int(seq), int(life or 0)
