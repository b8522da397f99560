"""Up to 256 topics of one shard, read over one connection, by one thread at a time.

It waits in an `XREAD` for whichever topic has news first.  A topic that comes while it waits is
not in that call, so the call is ended by `CLIENT UNBLOCK`, and made again with all that came
meanwhile.  Where the user may not do that, calls are short.

A thread that waits for news while nobody reads does it itself, so that a reader that is alone
pays for no other thread; all others are served by a thread of the group's own.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from evented_agent.chunks.codec import decode
from evented_agent.client.follow import MOST_READ, StoredChunk
from evented_agent.client.hub.topic import Topic, entry_order
from evented_agent.client.hub.waits import Failure, ThreadWait, Wait, give_all
from evented_agent.ledger.connection import Ledger
from evented_agent.ledger.error_replies import CONNECTION_FAILURES, refusal_of
from evented_agent.ledger.redis_clients import BLOCK_MS

logger = logging.getLogger(__name__)

#: Topics of one connection.
MOST_TOPICS = 256
#: Seconds after which a thread of the hub ends that has nothing to do, and its connection.
IDLE = 10.0
#: Chunks of one topic per read, and of all topics; more come at once with the next one.
_MOST_CHUNKS_OF_ALL = 25_600
#: Bytes of one topic that are handed out at once, up to one entry more: whoever is slow holds them
#: until all of them are read. A payload that is stored apart has more than that.
MOST_HELD = 128 * 1024
#: Chunks that are read at least; of large ones, those that are not handed out are read once more.
_FEWEST = 16
#: How long a read lasts that cannot be ended: a topic that comes waits for it.
_SHORT_BLOCK_MS = 50
#: Tries to end one read, and their seconds at least. It may not have begun yet; but behind a
#: proxy, perhaps it never can be.
_MOST_TRIES, _TRY_FOR = 50, 1.0
#: Seconds for each topic that pass between two reads with news, 10 ms for the most. A read costs
#: this process and Redis in proportion to its topics, whatever it brings: so more comes with each.
_PAUSE = 40e-6
#: Seconds between two checks of a silent connection that it leads to the master.
CHECK_ROLE = 4.0


class Group:
    """Hands out the news of its topics; *wake* is to call `end_read` soon, from another thread."""

    def __init__(self, ledger: Ledger, key: str, wake: Callable[["Group", int], None]) -> None:
        # Reentrant: the garbage collector may end a reader in the middle of anything.
        self.lock = threading.RLock()
        self._ledger = ledger
        self._key = key
        self._wake = wake
        self._topics: dict[str, Topic] = {}
        self._came = threading.Condition(self.lock)
        self._has_thread = False
        # Whether somebody reads or hands out what was read: the thread, or who leads.
        self._is_busy = False
        self._leader: Wait | None = None
        self._reads_ahead = False
        self._used = 0.0
        # What the read that is under way asked for; None between two reads.
        self._asked: dict[str, str] | None = None
        self._read_no = 0
        self._is_waking = False
        self._tries, self._first_try = 0, 0.0
        self._line: _Line | None = None
        self._most = MOST_READ

    def topic(self, key: str) -> Topic | None:
        """The topic, if it is one of this group's and is read; the caller has the lock."""
        topic = self._topics.get(key)
        return topic if topic is not None and topic.seats else None

    def add(self, topic: Topic) -> bool:
        """Take a new topic, if there is room; the caller has the lock."""
        if len(self._topics) >= MOST_TOPICS:
            self._leave_what_nobody_reads()
        if len(self._topics) >= MOST_TOPICS:
            return False
        self._topics[topic.key] = topic
        return True

    def wait(
        self, topic: Topic, position: str, wait: Wait, *, rewind: bool
    ) -> Sequence[StoredChunk] | None:
        """See `Topic.wait`; with *rewind* there was nothing after *position* a moment ago.

        Whoever waits calls `withdraw` at the end, and a thread calls `lead` before it waits.
        """
        with self.lock:
            answer = topic.wait(position, wait)
            if answer is None and rewind:
                topic.rewind(position)
                answer = topic.wait(position, wait)
            if answer is not None and not answer:
                self._see_to(topic, wait)
            return answer

    def lead(self, wait: ThreadWait, seconds: float) -> None:
        """Read from this thread, if that falls to it, until *wait* is answered or time is up."""
        ends = time.monotonic() + seconds
        while self._leader is wait and not wait.is_given:
            if (left := ends - time.monotonic()) <= 0:
                return
            self._read(left)

    def withdraw(self, topic: Topic, wait: Wait) -> None:
        """Wait no longer."""
        with self.lock:
            topic.withdraw(wait)
            if self._leader is wait:
                self._leader, self._is_busy = None, False
                if self._has_waits():
                    self._came.notify()

    def end_read(self, read_no: int) -> bool:
        """End a read so that it is made anew; whether that is done, or no longer to be done."""
        with self.lock:
            line = self._line
            if self._asked is None or self._read_no != read_no or line is None:
                return True
            now = time.monotonic()
            self._first_try = self._first_try if self._tries else now
            self._tries += 1
            if self._tries > _MOST_TRIES and now > self._first_try + _TRY_FOR:
                line.may_be_ended = False
            if not line.may_be_ended:
                return True
        return line.end_read()

    def _see_to(self, topic: Topic, wait: Wait) -> None:
        """Let *topic* be read from where it is now; the caller has the lock."""
        self._used = time.monotonic()
        if not self._has_thread:
            self._has_thread = True
            threading.Thread(target=self._run, name="evented-agent-hub", daemon=True).start()
        if not self._is_busy and isinstance(wait, ThreadWait):
            self._leader, self._is_busy, self._reads_ahead = wait, True, False
        elif not self._is_busy:
            self._came.notify()
        elif (
            self._asked is not None
            and self._asked.get(topic.key) != topic.position
            and not self._is_waking
        ):
            self._is_waking, self._tries = True, 0
            self._wake(self, self._read_no)

    def _run(self) -> None:
        while self._has_work():
            topics = 0
            try:
                topics = self._read(BLOCK_MS / 1000)
            except Exception:
                # Its readers have been told, and ask again.
                logger.exception("Reading failed")
            finally:
                with self.lock:
                    self._is_busy = False
            if topics > 1:
                time.sleep(topics * _PAUSE)

    def _has_work(self) -> bool:
        """Wait until there is something to read for this thread; whether any came in time."""
        with self.lock:
            while True:
                self._leave_what_nobody_reads()
                # Where others wait as well, this thread is always in a read.
                ahead = self._reads_ahead and any(
                    topic.position is not None for topic in self._topics.values()
                )
                if not self._is_busy and (ahead or self._has_waits()):
                    self._is_busy = self._reads_ahead = True
                    return True
                self._reads_ahead = self._reads_ahead and ahead
                left = self._used + IDLE - time.monotonic()
                if left <= 0 and not self._is_busy:
                    self._has_thread = False
                    if self._line is not None:
                        self._line.close()
                        self._line = None
                    return False
                self._came.wait(max(left, 1.0))

    def _has_waits(self) -> bool:
        return any(topic.has_waits for topic in self._topics.values())

    def _leave_what_nobody_reads(self) -> None:
        for topic in [each for each in self._topics.values() if not each.seats]:
            del self._topics[topic.key]

    def _read(self, seconds: float) -> int:
        """Hand out what comes in so many seconds; of how many topics it was, if anything came."""
        try:
            if self._line is None:
                self._line = _Line(self._ledger, self._key)
            asked = self._begin_read()
            try:
                found = self._line.read(asked, self._most, seconds) if asked else []
            finally:
                with self.lock:
                    self._asked = None
            self._hand_out(asked, found)
            return len(asked) if found else 0
        except CONNECTION_FAILURES as error:
            self._lose(error)
            return 0
        except BaseException:
            # Somebody interrupts the thread that reads, perhaps that of a reader: the others
            # must not wait for it.
            self._lose(ConnectionError("Reading was interrupted."))
            raise

    def _begin_read(self) -> dict[str, str]:
        """What to read: each topic with its position. What comes from now on ends the read."""
        with self.lock:
            self._leave_what_nobody_reads()
            self._asked = {
                key: topic.position
                for key, topic in self._topics.items()
                if topic.position is not None
            }
            self._is_waking = False
            self._read_no += 1
            return self._asked

    def _hand_out(self, asked: dict[str, str], found: Sequence[tuple[str, Any]]) -> None:
        some = [(key, first_of(entries)) for key, entries in found]
        cut = [
            len(few)
            for (_, few), (_, all_) in zip(some, found, strict=True)
            if len(few) < len(all_)
        ]
        self._most = most_after(min(cut, default=self._most))
        for key, stored_entries in some:
            with self.lock:
                topic = self._topics.get(key)
            if topic is None or self._line is None:
                continue
            whole = self._line.whole(topic.blobs, stored_entries)
            sizes = [len(stored or b"") for _, stored in whole]
            # Of several readers each would decode it; one does it as it goes.
            entries = _decoded(topic.run_id, whole) if len(topic.seats) > 1 else whole
            with self.lock:
                # Else it is somewhere else by now, and this would leave a gap.
                news = topic.take(entries, sizes) if topic.position == asked[key] else []
            give_all(news)

    def _lose(self, error: BaseException) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.close()
        recover(self._ledger, error)
        if not refusal_of(error).passes:
            # One topic's refusal is not that of all: each asks for its own.
            error = ConnectionError(str(error))
        with self.lock:
            waits = [wait for topic in self._topics.values() for wait in topic.lose()]
        give_all((wait, Failure(error)) for wait in waits)


class _Line:
    """One connection, on which reads wait."""

    def __init__(self, ledger: Ledger, key: str) -> None:
        self._ledger = ledger
        self._others: Any = ledger.reading_client(key)
        self._client = self._others.client()  # type: ignore[no-untyped-call]
        self._heard = self._checked = time.monotonic()
        self.may_be_ended = True
        try:
            self._id = int(self._client.client_id())
        except CONNECTION_FAILURES as error:
            self._id, self.may_be_ended = 0, False
            if refusal_of(error).passes:
                self.close()
                raise

    def read(self, asked: dict[str, str], most: int, seconds: float) -> list[tuple[str, Any]]:
        """Wait for news of any of these topics; nothing if none came in time."""
        longest = BLOCK_MS if self.may_be_ended else _SHORT_BLOCK_MS
        block = int(max(1, min(longest, seconds * 1000)))
        streams: Any = asked
        count = min(most, _MOST_CHUNKS_OF_ALL // len(asked))
        reply: Any = self._client.xread(streams, count=count, block=block)
        now = time.monotonic()
        if reply:
            self._heard = now
            found = reply.items() if isinstance(reply, dict) else reply
            return [(key.decode(), entries_of(entries)) for key, entries in found]
        if now >= max(self._heard, self._checked) + CHECK_ROLE:
            # A replica that was cut off is silent.
            self._checked = now
            self._ledger.check_in_charge(self._client)
        return []

    def whole(self, blobs: str, entries: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
        """The entries with what is stored apart."""
        if names := blobs_of(entries):
            return with_blobs(entries, self._client.hmget(blobs, names))
        return entries

    def end_read(self) -> bool:
        """End the read that waits on this connection, over another one; whether one did."""
        try:
            return bool(self._others.client_unblock(self._id))
        except CONNECTION_FAILURES as error:
            self.may_be_ended = self.may_be_ended and refusal_of(error).passes
            return False

    def close(self) -> None:
        connection = self._client.connection
        if connection is not None:
            connection.disconnect()
        self._client.close()


def entries_of(entries: Any) -> list[tuple[str, bytes]]:
    """Entries as a client of Redis gives them."""
    return [(entry_id.decode(), fields[b"d"]) for entry_id, fields in entries]


def first_of(entries: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """The first entries, as many as are handed out at once."""
    size = 0
    for n, (_, stored) in enumerate(entries, 1):
        size += MOST_HELD if stored[:1] == b"@" else len(stored)
        if size >= MOST_HELD:
            return entries[:n]
    return entries


def most_after(handed_out: int) -> int:
    """How many entries to read next, where an answer had room for so many."""
    return max(_FEWEST, min(MOST_READ, 2 * handed_out))


def blobs_of(entries: Sequence[tuple[str, bytes]]) -> list[str]:
    """The names of payloads that are stored apart."""
    return [stored[1:].decode() for _, stored in entries if stored[:1] == b"@"]


def with_blobs(
    entries: Sequence[tuple[str, bytes]], payloads: Sequence[Any]
) -> list[tuple[str, bytes]]:
    found = iter(payloads)
    return [(cursor, next(found) if stored[:1] == b"@" else stored) for cursor, stored in entries]


def _decoded(run_id: str, entries: Sequence[tuple[str, bytes]]) -> list[StoredChunk]:
    return [
        (cursor, decode(entry_order(cursor)[0], cursor, run_id, stored))
        for cursor, stored in entries
    ]


def recover(ledger: Ledger, error: BaseException) -> None:
    try:
        ledger.recover(error)
    except CONNECTION_FAILURES:
        # Each reader hears it of its own topic.
        return
