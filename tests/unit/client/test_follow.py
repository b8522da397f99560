"""The cursor's rules, driven with lists instead of Redis."""

from collections.abc import Iterator, Sequence
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evented_agent.chunks import Chunk, Transcript
from evented_agent.chunks.codec import encode
from evented_agent.client.follow import (
    CheckEntry,
    Disconnected,
    Read,
    ReadRecord,
    Reply,
    batched,
    follow,
    start_of,
)
from evented_agent.errors import RunExpired
from evented_agent.ledger.records import Record

Entries = list[tuple[str, bytes]]


class Topic:
    """A topic in memory, whose server can be restarted with its last entries lost."""

    def __init__(self, texts: Sequence[str] = (), *, status: str = "running") -> None:
        self.life = 7
        self.entries: Entries = []
        self.status = status
        self.lost_replies = 0
        self.write(encode("text-start", "1:model", {"id": "txt-1.1"}))
        for text in texts:
            self.say(text)

    def write(self, stored: str) -> None:
        self.entries.append((f"{len(self.entries) + 1}-{self.life}", stored.encode()))

    def say(self, text: str) -> None:
        self.write(encode("text-delta", "1:model", {"id": "txt-1.1", "text": text}))

    def finish(self) -> None:
        self.write(encode("finish", None, {"stepResult": {"reason": "stop"}}))
        self.status = "finished"

    def restart_without(self, last: int, life: int) -> None:
        self.entries = self.entries[: len(self.entries) - last]
        self.life = life

    def answer(self, request: object, batch: int = 3) -> Reply:
        if self.lost_replies:
            self.lost_replies -= 1
            return Disconnected()
        if isinstance(request, CheckEntry):
            return request.position in dict(self.entries)
        if isinstance(request, Read):
            after = _key(request.position)
            return [e for e in self.entries if _key(e[0]) > after][:batch]
        last = self.entries[-1][0] if self.entries else ""
        return Record("r", 0, {"status": self.status}, [], last, [])


def _key(cursor: str) -> tuple[int, int]:
    seq, _, life = cursor.partition("-")
    return int(seq), int(life)


def drive(topic: Topic, after: str | int = 0, waits: int = 3) -> Iterator[Chunk]:
    """Read until the end, or until nothing came for some blocking reads."""
    steps = follow("r", after)
    reply: Reply = None
    while waits:
        try:
            step = steps.send(reply)
        except StopIteration:
            return
        reply = None
        if isinstance(step, Chunk):
            yield step
        else:
            reply = topic.answer(step)
            waits -= isinstance(step, Read) and step.block and reply == []


def seqs(chunks: Iterator[Chunk]) -> list[int]:
    return [chunk.seq for chunk in chunks]


def test_a_reader_gets_every_chunk_once_and_ends_with_the_topic() -> None:
    topic = Topic("abcdefgh")
    topic.finish()

    assert seqs(drive(topic)) == list(range(1, 11))


@given(st.integers(0, 10))
def test_reading_goes_on_after_any_cursor(after: int) -> None:
    topic = Topic("abcdefgh")
    topic.finish()
    cursor = topic.entries[after - 1][0] if after else 0

    assert seqs(drive(topic, cursor)) == list(range(after + 1, 11))
    assert seqs(drive(topic, after)) == list(range(after + 1, 11))


@given(st.integers(0, 80), st.integers(1, 70))
def test_batches_have_what_comes_at_once_and_nothing_else(words: int, at_once: int) -> None:
    topic = Topic("w" * words)
    topic.finish()
    steps, reply = batched(follow("r")), None
    batches: list[list[int]] = []
    while True:
        try:
            step = steps.send(reply)
        except StopIteration:
            break
        reply = None if isinstance(step, Sequence) else topic.answer(step, at_once)
        if isinstance(step, Sequence):
            batches.append([chunk.seq for chunk in step])

    assert list(chain(*batches)) == seqs(drive(topic))
    most = min(32, at_once)
    assert all(0 < len(batch) <= most for batch in batches)
    assert len(batches) == sum(
        -(-min(at_once, words + 2 - first) // 32) for first in range(0, words + 2, at_once)
    )


def test_a_cursor_at_the_end_of_an_ended_topic_ends_at_once() -> None:
    topic = Topic("ab")
    topic.finish()

    assert seqs(drive(topic, topic.entries[-1][0])) == []


def test_a_lost_connection_loses_and_repeats_nothing() -> None:
    topic = Topic("abcdefgh")
    topic.finish()
    read: list[int] = []
    for chunk in drive(topic):
        read.append(chunk.seq)
        topic.lost_replies = 2

    assert read == list(range(1, 11))


@pytest.mark.parametrize("life", [3, 9])
@pytest.mark.parametrize("rewritten", [1, 2, 3, 4])
@pytest.mark.parametrize("hidden", [True, False])
def test_rewritten_entries_are_noticed_and_the_text_is_right(
    life: int, rewritten: int, hidden: bool
) -> None:
    topic = Topic("abcd")
    steps = follow("r")
    transcript = Transcript()
    reply: Reply = None
    is_restarted = False
    while True:
        try:
            step = steps.send(reply)
        except StopIteration:
            break
        reply = None
        if isinstance(step, Chunk):
            transcript.feed(step)
            continue
        has_all = isinstance(step, Read) and step.block and topic.answer(step) == []
        if has_all and not is_restarted:
            is_restarted = True
            topic.restart_without(2, life)
            for letter in "wxyz"[:rewritten]:
                topic.say(letter)
            topic.finish()
            reply = topic.answer(step) if hidden else Disconnected()
            continue
        reply = topic.answer(step)

    assert transcript.text == "ab" + "wxyz"[:rewritten]


def test_an_expired_topic_is_said_to_be_expired() -> None:
    topic = Topic(status="finished")
    topic.entries = []

    with pytest.raises(RunExpired):
        list(drive(topic))


def test_an_unanswered_question_is_asked_again() -> None:
    topic = Topic("a")
    topic.finish()
    steps = follow("r", topic.entries[0][0])

    assert isinstance(next(steps), CheckEntry)
    assert isinstance(steps.send(Disconnected()), CheckEntry)
    assert isinstance(steps.send(True), Read)
    assert isinstance(steps.send([]), ReadRecord)
    assert isinstance(steps.send(Disconnected()), Read)


RESULT = encode("tool-result", "1:tool:c1", {"toolCallId": "c1", "toolName": "t", "result": 1})
QUESTION = encode(
    "tool-call-approval", "1:model", {"toolCallId": "c2", "toolName": "t", "args": {}}
)


def asked_about(topic: Topic, after: str | int = 0) -> bool:
    """Whether a reader asks for the record before it waits for what comes after all this."""
    steps = follow("r", after)
    step = next(steps)
    while not (isinstance(step, Read) and step.position == topic.entries[-1][0]):
        step = next(steps) if isinstance(step, Chunk) else steps.send(topic.answer(step))
    return not step.block


def test_the_record_is_asked_for_only_where_the_run_may_wait_for_people() -> None:
    working, waiting = Topic("a"), Topic("a")
    waiting.write(QUESTION)
    assert asked_about(waiting)
    for topic in (working, waiting):
        topic.write(RESULT)

    assert not asked_about(working)
    assert asked_about(waiting)
    assert asked_about(waiting, after=3), "it was asked before this reader came"
    waiting.say("b")
    assert not asked_about(waiting)


@pytest.mark.parametrize("waits_for", ["people", "model"])
def test_the_record_is_asked_for_at_once_where_a_child_waits_for_people(waits_for: str) -> None:
    topic = Topic("a")
    topic.write(encode("run-waiting", None, {"for": waits_for, "calls": ["~1/c1"]}))

    assert asked_about(topic) == (waits_for == "people")


@pytest.mark.parametrize("bad", ["x", "-1", "1-", "1-x", "", "1.5", -1])
def test_a_bad_cursor_is_refused(bad: str | int) -> None:
    with pytest.raises(ValueError, match="is no cursor"):
        start_of(bad)


def test_a_topic_that_begins_with_a_reset_is_read_from_there() -> None:
    reset = b'["step-reset","1:model",{"step":1,"fromSeq":3,"attempt":1,"reason":"retry"}]'
    steps = follow("r")
    assert next(steps) == Read("0-0", block=False)
    chunk = steps.send([("7-1", reset)])
    assert getattr(chunk, "seq", None) == 7


def test_a_topic_that_lost_its_beginning_otherwise_has_expired() -> None:
    steps = follow("r")
    next(steps)
    with pytest.raises(RunExpired):
        steps.send([("7-1", b'["start",null,{"id":"a"}]')])
