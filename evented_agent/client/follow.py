"""Following a topic, without I/O.

`follow` is a generator that yields chunks and requests; its driver (reader.py) answers the
requests.  It does not import a Redis client, so its rules can be tested with a list.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from evented_agent.chunks import AnyChunk, Chunk, RunWaiting, TopicReset, TopicResetPayload
from evented_agent.chunks.codec import decode
from evented_agent.errors import InvalidCursor, RunExpired
from evented_agent.ledger.records import Record

_START = "0-0"
#: The largest second half of an entry id: "after that number, whoever wrote it".
_ANY_LIFE = f"-{2**64 - 1}"
_ENDED = {"finished", "failed", "aborted"}
#: Chunks of a batch: few, since whoever is slow holds them all.
_MOST_TOGETHER = 32

#: Entries that one answer has; fewer of large ones.
MOST_READ = 500

Cursor = str | int
#: An entry: its id, and its chunk as it is stored, or decoded already.
StoredChunk = tuple[str, bytes | AnyChunk]


@dataclass(frozen=True, slots=True)
class Read:
    """Ask for the entries after *position*, *most* at once, waiting for them if *block*."""

    position: str
    block: bool
    most: int = MOST_READ


@dataclass(frozen=True, slots=True)
class CheckEntry:
    """Ask whether the entry *position* still exists."""

    position: str


@dataclass(frozen=True, slots=True)
class ReadRecord:
    """Ask for the run's record."""


class Disconnected:
    """The answer when the connection broke."""


Request = Read | CheckEntry | ReadRecord
Reply = Sequence[StoredChunk] | bool | Record | Disconnected | None


def start_of(after: Cursor) -> str:
    """The entry id after which to read for a cursor, a number of chunks seen, or 0.

    Raises `InvalidCursor` for anything else.
    """
    text = str(after)
    seq, dash, incarnation = text.partition("-")
    if not _is_number(seq) or (dash and not _is_number(incarnation)):
        raise InvalidCursor(after)
    if dash:
        return text
    # Any incarnation of that number: larger than all of them, smaller than the next number.
    return _START if int(seq) == 0 else f"{seq}{_ANY_LIFE}"


def check_readable(record: Record, after: Cursor) -> None:
    """Refuse at once what `follow` would refuse after the first read.

    Raises `InvalidCursor`, and `RunExpired` where the chunks are gone.
    """
    start_of(after)
    if record.fields["status"] in _ENDED and not record.last_cursor:
        raise RunExpired(record.run_id)


Steps = Generator[AnyChunk | Request, Reply, bool]


def follow(
    run_id: str, after: Cursor = 0, *, close_on_suspend: bool = True
) -> Generator[AnyChunk | Request, Reply, None]:
    """Yield the run's chunks after a cursor; also requests, to be answered with `send`.

    Ends with the topic, or where the run is suspended.  Starts over, with a `topic-reset` chunk,
    when what was read is gone: Redis lost its last second, or another server took over.
    """
    place = _Place(run_id, start_of(after), close_on_suspend)
    is_over = False
    while not is_over:
        if not place.is_sure and not (yield from place.look()):
            continue
        entries = yield Read(place.position, place.is_idle)
        if isinstance(entries, Sequence):
            is_over = yield from (place.give(entries) if entries else place.ask())
        else:
            place.lost()


def batched(
    steps: Generator[AnyChunk | Request, Reply, None],
) -> Generator[list[AnyChunk] | Request, Reply, None]:
    """The same, with the chunks that come without a request between them together."""
    batch: list[AnyChunk] = []
    reply: Reply = None
    while True:
        try:
            step = steps.send(reply)
        except StopIteration:
            break
        reply = None
        if isinstance(step, Chunk):
            batch.append(step)
        if batch and (len(batch) == _MOST_TOGETHER or not isinstance(step, Chunk)):
            yield batch
            batch = []
        if not isinstance(step, Chunk):
            reply = yield step
    if batch:
        yield batch


class _Place:
    """Where a reader is, and how sure of it.  Its generators return whether to stop."""

    def __init__(self, run_id: str, position: str, close_on_suspend: bool) -> None:
        self.position = position
        self.is_sure = not _is_real(position)
        self.is_idle = False
        self._run_id = run_id
        self._close_on_suspend = close_on_suspend
        self._trusted = _incarnation(position)
        # A person may have been asked before the first chunk that this reader gets.
        self._may_wait = position != _START

    def lost(self) -> None:
        """The connection broke: the server behind the next one may know less."""
        self.is_sure, self.is_idle = not _is_real(self.position), False

    def look(self) -> Steps:
        """Ask whether what was read last still exists; True once that is settled."""
        found = yield CheckEntry(self.position)
        if isinstance(found, Disconnected):
            return False
        self.is_sure = True
        if not found:
            yield self._restart()
        return True

    def give(self, entries: Sequence[StoredChunk]) -> Steps:
        # More will come, or the end: no need to ask for the record before waiting for it.
        self.is_idle = True
        first = entries[0][0]
        if _is_real(self.position) and _incarnation(first) != self._trusted:
            # Written by another life of the server: is what we read before still there?
            self._trusted, self.is_sure = _incarnation(first), False
            return False
        if _seq(first) != _seq(self.position) + 1:
            if self.position != _START:
                yield self._restart()
                return False
            # A failed run that went on after its chunks had expired begins with a reset.
            if self._chunk(entries[0]).type != "step-reset":
                raise RunExpired(self._run_id)
        for entry in entries:
            self.position = entry[0]
            chunk = self._chunk(entry)
            yield chunk
            if chunk.ends_topic:
                return True
            # Where the run does not say yet that it waits for people, it may wait for them now.
            self._may_wait = self._may_wait or chunk.asks_person or _waits_for_people(chunk)
            self.is_idle = not (self._may_wait and chunk.may_be_last)
        self._trusted = _incarnation(self.position)
        return False

    def ask(self) -> Steps:
        """Nothing came: has the run ended, or is what was read gone?"""
        record = yield ReadRecord()
        verdict = _judge(self._run_id, self.position, record, self._close_on_suspend)
        self.is_idle = verdict == "wait"
        if verdict == "reset":
            yield self._restart()
        return verdict == "end"

    def _chunk(self, entry: StoredChunk) -> AnyChunk:
        cursor, stored = entry
        if isinstance(stored, Chunk):
            return stored
        return decode(_seq(cursor), cursor, self._run_id, stored)

    def _restart(self) -> TopicReset:
        reset = _topic_reset(self._run_id, self.position)
        self.position = _START
        return reset


def _waits_for_people(chunk: Chunk) -> bool:
    """Whether the run says so: nothing else here does of a person whom a child has asked."""
    return isinstance(chunk, RunWaiting) and chunk.payload.waits_for == "people"


def _judge(run_id: str, position: str, record: Reply, close_on_suspend: bool) -> str:
    """What an empty read means, given the run's record."""
    if not isinstance(record, Record):
        return "look"
    status, last = record.fields["status"], record.last_cursor or _START
    if status in _ENDED and last == _START:
        raise RunExpired(run_id)
    if _seq(last) > _seq(position):
        return "more"
    if _seq(last) < _seq(position) or (_is_real(position) and last != position):
        return "reset"
    if status in _ENDED or (status == "suspended" and close_on_suspend):
        return "end"
    return "wait"


def _topic_reset(run_id: str, position: str) -> TopicReset:
    reason = "Redis no longer has what was read; the topic is read again from its start."
    payload = TopicResetPayload(reason=reason)
    return TopicReset(seq=_seq(position), cursor=_START, run_id=run_id, payload=payload)


def _seq(cursor: str) -> int:
    return int(cursor.partition("-")[0])


def _incarnation(cursor: str) -> str:
    return cursor.partition("-")[2]


def _is_number(text: str) -> bool:
    """Whether Redis takes *text* as one half of an entry id."""
    return text.isascii() and text.isdigit() and len(text) <= 20 and int(text) < 2**64


def _is_real(cursor: str) -> bool:
    """Whether *cursor* is the id of an entry, not a bare number."""
    return cursor != _START and not cursor.endswith(_ANY_LIFE)
