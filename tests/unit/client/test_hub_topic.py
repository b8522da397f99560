"""What a topic hands out, driven with a list instead of Redis."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from evented_agent.client.follow import StoredChunk
from evented_agent.client.hub import topic as topic_module
from evented_agent.client.hub.topic import Seat, Topic
from evented_agent.client.hub.waits import ThreadWait

LIFE = 7


class Log:
    """A stream and one hub that reads it."""

    def __init__(self) -> None:
        self.entries: list[StoredChunk] = []
        self.topic = Topic("topic", "blobs", "r")

    def write(self, count: int) -> None:
        for _ in range(count):
            self.entries.append((f"{len(self.entries) + 1}-{LIFE}", b"x"))

    def after(self, position: str) -> list[StoredChunk]:
        return self.entries[int(position.partition("-")[0]) :]

    def read(self) -> None:
        """The group reads, as its thread does."""
        if self.topic.position is None:
            return
        if entries := self.after(self.topic.position):
            for wait, news in self.topic.take(entries, [1] * len(entries)):
                wait.give(news)


class Reader:
    """Reads as `Subscription` does."""

    def __init__(self, log: Log) -> None:
        self.position = "0-0"
        self.seen: list[str] = []
        self._log = log
        self._seat = Seat()
        self._wait: ThreadWait | None = None
        log.topic.seats.add(self._seat)

    def step(self) -> None:
        if self._wait is not None:
            if self._wait.is_given:
                self._take(self._wait.result(0))
            else:
                self._log.topic.withdraw(self._wait)
            self._wait = None
            return
        wait = ThreadWait()
        answer = self._log.topic.wait(self.position, wait)
        if answer is None:
            answer = self._log.after(self.position)
            if not answer:
                self._log.topic.rewind(self.position)
                answer = self._log.topic.wait(self.position, wait)
                assert answer is not None
        if answer:
            self._take(answer)
        else:
            self._wait = wait

    def _take(self, entries: Sequence[StoredChunk]) -> None:
        self.seen += [cursor for cursor, _ in entries]
        self.position = entries[-1][0]


def take(step: str | int, log: Log, readers: Sequence[Reader]) -> None:
    if isinstance(step, int):
        readers[step].step()
    else:
        {
            "write": lambda: log.write(1),
            "burst": lambda: log.write(topic_module.MOST_ENTRIES // 2),
            "read": log.read,
            "lose": log.topic.lose,
        }[step]()


@given(st.lists(st.sampled_from(["write", "read", 0, 1, 2, "lose", "burst"]), max_size=80))
def test_every_reader_gets_every_entry_once_and_in_order(steps: list[str | int]) -> None:
    log = Log()
    readers = [Reader(log) for _ in range(3)]
    for step in [*steps, "write"]:
        take(step, log, readers)
    for _ in range(10):
        log.read()
        for reader in readers:
            reader.step()

    for reader in readers:
        assert reader.seen == [cursor for cursor, _ in log.entries]


def test_a_topic_keeps_a_bounded_number_of_entries_and_bytes() -> None:
    log = Log()
    reader, late = Reader(log), Reader(log)
    late.step()
    for size in (1, topic_module.MOST_BYTES + 1):
        for _ in range(3 * topic_module.MOST_ENTRIES):
            reader.step()
            log.write(1)
            position = log.topic.position
            assert position is not None
            entries = log.after(position)
            for wait, news in log.topic.take(entries, [size] * len(entries)):
                wait.give(news)
            reader.step()
    assert log.topic.wait("1-7", ThreadWait()) is None
    assert log.topic.wait(log.entries[-1][0], ThreadWait()) == ()


def test_a_topic_whose_readers_are_all_slow_is_not_read() -> None:
    log = Log()
    reader = Reader(log)
    reader.step()
    log.write(1)
    log.read()
    log.write(topic_module.MOST_ENTRIES + 1)
    log.read()
    assert log.topic.position is None
    for _ in range(4):
        reader.step()
        log.read()
    assert reader.seen == [cursor for cursor, _ in log.entries]


def test_a_reader_of_another_life_of_the_server_is_not_given_what_followed_elsewhere() -> None:
    log = Log()
    first, _second = Reader(log), Reader(log)
    log.write(3)
    for _ in range(2):
        first.step()
        log.read()

    assert log.topic.wait(f"1-{LIFE}", ThreadWait()) == log.after("1-7")
    assert log.topic.wait(f"2-{LIFE - 1}", ThreadWait()) is None
    assert log.topic.wait(f"1-{2**64 - 1}", ThreadWait()) is None


def test_a_topic_for_which_somebody_waits_is_read() -> None:
    log = Log()
    # It knows more than the server does, which has forgotten some.
    assert log.topic.wait(f"9000-{LIFE}", ThreadWait()) == ()
    log.topic.rewind("0-0")
    for _ in range(3):
        log.write(topic_module.MOST_ENTRIES)
        log.read()

    assert log.topic.position == log.entries[-1][0]
