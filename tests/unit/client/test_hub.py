"""Any number of readers of a process share few connections; nothing else about them changes."""

import asyncio
import itertools
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from evented_agent.chunks import AnyChunk
from evented_agent.chunks.codec import encode
from evented_agent.client import reader as reader_module
from evented_agent.client.hub import asker as asker_module
from evented_agent.client.hub import group as group_module
from evented_agent.client.hub import hub as hub_module
from evented_agent.client.hub import topic as topic_module
from evented_agent.client.reader import Reader
from evented_agent.errors import LedgerUnavailable, RunDeleted
from evented_agent.ledger import attempts, runs
from evented_agent.ledger import connection as connection_module
from evented_agent.ledger.connection import Ledger
from evented_agent.ledger.keys import Keys
from evented_agent.ledger.records import RunEnd
from tests.support.driver import Driver
from tests.support.proxy import Proxy
from tests.support.servers import RedisServer
from tests.support.workers import wait_until

#: Those of one group and of two threads that ask for entries and records, of who writes, of who
#: counts.
FEW = 8
KEYS = Keys("hub", 1)
numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("ledger")) as own:
        yield own


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[Proxy]:
    with Proxy(server.port) as between:
        yield between


class Run:
    """A run whose chunks the test writes."""

    def __init__(self, url: str) -> None:
        self.driver = Driver(Ledger(url), KEYS)
        self.id = f"r{next(numbers)}"
        self.driver.create(self.id, ttl_topic=60_000, ttl_record=90_000)
        self.sent = 0
        self.task = self.driver.granted(self.id)

    def say(self, *words: str) -> None:
        for word in words:
            self.driver.say(self.task, word, self.sent)
            self.sent += 2

    def finish(self) -> None:
        end = self.driver.committed(self.task, self.sent, entries=["{}"]).end
        assert end is not None
        chunk = encode("finish", None, {"stepResult": {"reason": "stop"}})
        how = RunEnd("finished", "stop")
        self.driver.committed(end.task, chunks=[chunk], finish=how, journal_length=1)

    def fail(self) -> None:
        error = {"name": "E", "message": "no"}
        chunk = encode("error", None, {"error": error})
        how = RunEnd("failed", "error", error)
        self.driver.committed(self.task, self.sent, chunks=[chunk], finish=how)

    def chunks(self, url: str = "", after: str | int = 0, **limits: Any) -> Iterator[AnyChunk]:
        reader = self._reader(url)
        return (chunk for chunk in reader.chunks(after, **limits) if chunk is not None)

    async def achunks(self, url: str = "", **limits: Any) -> list[AnyChunk]:
        chunks = self._reader(url).achunks(0, **limits)
        return [chunk async for chunk in chunks if chunk is not None]

    def _reader(self, url: str) -> Reader:
        return Reader(KEYS, Ledger(url or self.driver.ledger.url), self.id)


class Readers:
    """Readers of runs, in threads of their own and on one event loop."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.heard: list[list[int]] = []
        self._threads = ThreadPoolExecutor(400)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def read(self, run: Run, url: str = "", **limits: Any) -> "Future[None]":
        return self._threads.submit(self._read, run.chunks(url, **limits))

    def aread(self, run: Run, url: str = "", **limits: Any) -> "Future[None]":
        chunks = run._reader(url).achunks(0, **limits)
        return asyncio.run_coroutine_threadsafe(self._aread(chunks), self._loop)

    def both(self, all_of: list[Run], count: int, url: str = "") -> list["Future[None]"]:
        """So many readers in threads, and as many on the loop."""
        some = itertools.islice(itertools.cycle(all_of), count)
        return [each for run in some for each in (self.read(run, url), self.aread(run, url))]

    def all_heard(self, count: int, chunks: int) -> None:
        wait_until(
            lambda: sum(len(heard) >= chunks for heard in self.heard) >= count, "all hear", 60
        )

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=20)

    def _read(self, chunks: Iterator[AnyChunk]) -> None:
        heard: list[int] = []
        self.heard.append(heard)
        heard.extend(chunk.seq for chunk in chunks)

    async def _aread(self, chunks: Any) -> None:
        heard: list[int] = []
        self.heard.append(heard)
        async for chunk in chunks:
            heard += [chunk.seq]

    def close(self) -> None:
        self._threads.shutdown()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def readers(server: RedisServer) -> Iterator[Readers]:
    made = Readers(server)
    yield made
    made.close()


def connections(server: RedisServer) -> int:
    with server.client() as client:
        return len(client.client_list())


def words(count: int) -> list[str]:
    return [f"w{n} " for n in range(count)]


def numbered(run: Run) -> list[int]:
    return [chunk.seq for chunk in run.chunks()]


def test_300_readers_use_few_connections_and_get_each_chunk_once(
    server: RedisServer, readers: Readers
) -> None:
    all_of = [Run(server.url) for _ in range(6)]
    writers = len(all_of)
    done = readers.both(all_of, 150)
    readers.all_heard(300, 1)
    for run in all_of:
        run.say(*words(20))
    readers.all_heard(300, 41)
    assert connections(server) <= FEW + writers
    for run in all_of:
        run.say(*words(20))
        run.finish()
    for each in done:
        each.result(timeout=60)

    assert len(readers.heard) == 300
    assert {tuple(heard) for heard in readers.heard} == {tuple(numbered(run)) for run in all_of}
    assert readers.heard[0] == list(range(1, len(readers.heard[0]) + 1))


def test_more_topics_than_one_connection_takes(
    server: RedisServer, readers: Readers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_module, "MOST_TOPICS", 4)
    all_of = [Run(server.url) for _ in range(10)]
    done = readers.both(all_of, 10)
    readers.all_heard(20, 1)
    for run in all_of:
        run.say("a")
        run.finish()
    for each in done:
        each.result(timeout=60)
    assert all(heard == numbered(all_of[0]) for heard in readers.heard)


@pytest.mark.parametrize("size", [9_000, 60_000, 300_000])
def test_a_reader_that_is_behind_holds_little_of_large_chunks(
    server: RedisServer, size: int
) -> None:
    run = Run(server.url)
    run.say(*[f"{n}" + "x" * size for n in range(40)])
    run.finish()
    held: list[int] = []
    real = hub_module.Subscription.answer

    def answer(self: Any, request: Any, seconds: float) -> Any:
        found = real(self, request, seconds)
        held.extend([sum(len(stored) for _, stored in found)] if isinstance(found, list) else [])
        return found

    with patch.object(hub_module.Subscription, "answer", answer):
        seen = numbered(run)

    assert seen == list(range(1, 2 + 2 * 40 + 1))
    # What was just read, or what the topic keeps for those that are a little behind.
    assert max(held) <= max(group_module.MOST_HELD + size + 200, topic_module.MOST_BYTES)


@pytest.mark.parametrize("most", [4, 10_000])
def test_a_slow_reader_beside_fast_ones_loses_nothing_and_costs_no_memory(
    server: RedisServer, readers: Readers, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(topic_module, "MOST_ENTRIES", most)
    run = Run(server.url)
    slow = run.chunks()
    seen = [next(slow).seq]
    fast = [readers.read(run), readers.aread(run)]
    readers.all_heard(2, 1)
    run.say("first")
    seen.append(next(slow).seq)
    kept: list[weakref.ref[AnyChunk]] = []
    other = run.chunks(after=3)
    for word in words(50):
        run.say(word)
        kept.append(weakref.ref(next(other)))
        next(other)

    def are_let_go() -> bool:
        # Who reads along holds what came last at once, until more comes.
        run.say("more")
        return sum(ref() is not None for ref in kept) <= most

    if most == 4:
        wait_until(are_let_go, "chunks are let go")
    run.finish()
    seen += [chunk.seq for chunk in slow]
    for each in fast:
        each.result(timeout=20)

    assert [seen, seen] == readers.heard
    assert seen == numbered(run)


@pytest.mark.parametrize("how", ["read", "aread"])
def test_who_joins_while_others_wait_is_not_kept_waiting(
    server: RedisServer, readers: Readers, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without being ended, the read that others wait in would last longer than this test.
    monkeypatch.setattr(group_module, "BLOCK_MS", 9_000)
    monkeypatch.setattr(reader_module, "BLOCK_MS", 60_000)
    silent = Run(server.url)
    before = [getattr(readers, way)(silent) for way in ("read", "aread") for _ in range(20)]
    readers.all_heard(40, 1)
    with server.client() as client:
        wait_until(lambda: client.info("clients")["blocked_clients"] == 1, "they wait")
    runs_ = [Run(server.url) for _ in range(5)]
    joined = [getattr(readers, how)(run) for run in runs_]
    readers.all_heard(45, 1)
    for run in runs_:
        run.say("now")
        run.finish()
    for each in joined:
        each.result(timeout=5)
    silent.finish()
    for each in before:
        each.result(timeout=20)


def test_a_user_who_may_not_end_reads_reads_all_the_same(
    server: RedisServer, readers: Readers
) -> None:
    with server.client() as client:
        client.acl_setuser(
            "reader", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-client"]
        )
    url = server.url.replace("redis://", "redis://reader:x@")
    silent, run = Run(server.url), Run(server.url)
    before = readers.both([silent], 5, url)
    readers.all_heard(10, 1)
    joined = readers.both([run], 5, url)
    readers.all_heard(20, 1)
    run.say("now")
    run.finish()
    for each in joined:
        each.result(timeout=10)
    silent.finish()
    for each in before:
        each.result(timeout=20)


@pytest.mark.parametrize("how", ["killed", "cut", "restarted"])
def test_100_readers_lose_nothing_with_their_connections(tmp_path: Path, how: str) -> None:
    with RedisServer(tmp_path / "ledger") as server, Proxy(server.port) as proxy:
        readers = Readers(server)
        all_of = [Run(server.url) for _ in range(4)]
        done = readers.both(all_of, 50, proxy.url)
        for run in all_of:
            run.say(*words(5))
        readers.all_heard(100, 11)
        if how == "killed":
            with server.client() as client:
                client.client_kill_filter(skipme=True)
        elif how == "cut":
            proxy.cut()
        else:
            server.restart()
        for run in all_of:
            run.say(*words(5))
            run.finish()
        for each in done:
            each.result(timeout=60)
        whole = numbered(all_of[0])
        readers.close()
    assert readers.heard == [whole] * 100


def test_what_is_withdrawn_is_withdrawn_for_all(server: RedisServer, readers: Readers) -> None:
    run = Run(server.url)
    done = readers.both([run], 5)
    run.say("half")
    readers.all_heard(10, 3)
    run.driver.ledger.send(
        attempts.requeue(KEYS, run.task, delay_ms=0, reason="again", change={"tries": 1})
    )
    run.task, run.sent = run.driver.granted(run.id, token="t2"), 0
    run.say("whole")
    run.finish()
    for each in done:
        each.result(timeout=20)

    types = [chunk.type for chunk in run.chunks()]
    assert "step-reset" in types
    assert readers.heard == [list(range(1, len(types) + 1))] * 10


def test_an_end_that_is_taken_back_is_seen_by_who_comes_then(server: RedisServer) -> None:
    run = Run(server.url)
    # They keep the topic, and what came last, while others come and go.
    stays = [run.chunks(timeout=20), run.chunks(timeout=20)]
    for each in stays:
        next(each)
    run.say("a")
    for each in stays:
        next(each)
    run.fail()
    last = list(stays[0])[-1]
    assert last.type == "error"
    run.driver.ledger.send(runs.retry_failed(KEYS, run.id, notifies=True))

    heard = run.chunks(after=last.seq - 1, timeout=20)
    reset = next(heard)
    assert (reset.type, reset.seq) == ("step-reset", last.seq)
    run.task, run.sent = run.driver.granted(run.id, token="t2"), 0
    run.say("b")
    assert next(heard).seq == last.seq + 1


def test_a_reader_that_leaves_frees_its_topic(server: RedisServer, readers: Readers) -> None:
    left, stays = Run(server.url), Run(server.url)
    done = readers.aread(stays)
    readers.all_heard(1, 1)
    chunks = left.chunks()
    next(chunks)
    cancelled = readers.aread(left)
    readers.all_heard(2, 1)
    cancelled.cancel()
    chunks.close()  # type: ignore[attr-defined]

    def asked_for() -> set[str]:
        """Whose topics the next read asks for."""
        stays.say("x")
        with server.client() as client, client.monitor() as monitor:
            stays.say("y")
            for command in monitor.listen():
                text = str(command["command"])
                if text.startswith("XREAD") and "BLOCK" in text:
                    return {run.id for run in (left, stays) if f":{run.id}:" in text}
        raise AssertionError

    wait_until(lambda: asked_for() == {stays.id}, "the topic is left")
    stays.finish()
    done.result(timeout=20)


def test_each_asyncio_run_reads(server: RedisServer) -> None:
    run = Run(server.url)
    run.say(*words(3))
    for _ in range(3):
        with pytest.raises(TimeoutError):
            asyncio.run(run.achunks(timeout=0.01))
    threading.Timer(0.1, run.finish).start()
    assert len(asyncio.run(run.achunks(timeout=20))) == len(numbered(run))


def test_two_loops_in_two_threads_read(server: RedisServer) -> None:
    run = Run(server.url)
    with ThreadPoolExecutor(2) as threads:
        read: Callable[[], list[AnyChunk]] = lambda: asyncio.run(run.achunks(timeout=20))  # noqa: E731
        both = [threads.submit(read) for _ in range(2)]
        with server.client() as client:
            wait_until(lambda: client.info("clients")["blocked_clients"] == 1, "they wait")
        run.say(*words(3))
        run.finish()
        assert [len(each.result(timeout=20)) for each in both] == [len(numbered(run))] * 2


FORKS = """
import os, sys, threading
from evented_agent.client.reader import Reader
from evented_agent.ledger.connection import Ledger
from evented_agent.ledger.keys import Keys

reader = Reader(Keys("hub", 1), Ledger(sys.argv[1]), sys.argv[2])
begun = reader.chunks(0, timeout=20)
seen = [next(begun).seq]
others = [threading.Thread(target=lambda: list(reader.chunks(0, timeout=20))) for _ in range(5)]
for each in others:
    each.start()
child = os.fork()
# One write each: the two processes share a pipe, which Python may not buffer.
say = lambda text: os.write(1, f"{text}\\n".encode())
say("ready")
seen += [chunk.seq for chunk in begun]
say(f"{seen == [chunk.seq for chunk in reader.chunks(0, timeout=20)]} {seen[-1]}")
if child == 0:
    os._exit(0)
for each in others:
    each.join()
os.waitpid(child, 0)
"""


def test_a_child_reads_on_beside_its_parent(server: RedisServer) -> None:
    run = Run(server.url)
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", FORKS, server.url, run.id],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["ready\n"] * 2
        run.say(*words(5))
        run.finish()
        last = numbered(run)[-1]
        assert process.stdout.read() == f"True {last}\n" * 2
        assert process.wait(timeout=20) == 0


def test_a_frozen_redis_is_said_to_be_away(
    proxy: Proxy, server: RedisServer, readers: Readers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "_RETRY_FOR", 1.0)
    for module in (reader_module, group_module):
        monkeypatch.setattr(module, "BLOCK_MS", 300)
    for name in ("READ_TIMEOUT", "SOCKET_TIMEOUT"):
        monkeypatch.setattr(connection_module, name, 1.0)
    run = Run(server.url)
    done = readers.both([run], 20, proxy.url)
    limited = [readers.read(run, proxy.url, timeout=2), readers.aread(run, proxy.url, timeout=2)]
    readers.all_heard(42, 1)
    proxy.freeze()
    for each in done:
        with pytest.raises(LedgerUnavailable, match=r"was unreachable for 1 s"):
            each.result(timeout=60)
    for each in limited:
        with pytest.raises((TimeoutError, LedgerUnavailable)):
            each.result(timeout=60)
    proxy.thaw()


def test_one_topic_that_is_refused_stops_its_own_readers_only(
    server: RedisServer, readers: Readers
) -> None:
    bad, good = Run(server.url), Run(server.url)
    refused = readers.both([bad], 3)
    done = readers.both([good], 3)
    readers.all_heard(12, 1)
    with server.client() as client:
        client.delete(KEYS.of(bad.id).topic)
        client.set(KEYS.of(bad.id).topic, "another program's")
    good.say("a")
    for each in refused:
        with pytest.raises(LedgerUnavailable, match="WRONGTYPE"):
            each.result(timeout=30)
    good.finish()
    for each in done:
        each.result(timeout=30)
    with server.client() as client:
        client.delete(KEYS.of(bad.id).topic)


def test_a_deleted_run_is_said_to_be_deleted_to_all(server: RedisServer, readers: Readers) -> None:
    run = Run(server.url)
    done = readers.both([run], 5)
    readers.all_heard(10, 1)
    run.driver.ledger.send(
        runs.delete(KEYS, run.id, indexes=[("all", ""), ("agent", "a")], tombstone_ms=60_000)
    )
    for each in done:
        with pytest.raises(RunDeleted):
            each.result(timeout=30)


def test_nothing_stays_when_nobody_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (group_module, asker_module):
        monkeypatch.setattr(module, "IDLE", 0.2)
    with RedisServer(tmp_path / "ledger") as server:
        run = Run(server.url)
        list_ = [run.chunks(), run.chunks()]
        for each in list_:
            next(each)
        run.say("a")
        run.finish()
        heard = [list(each) for each in list_]
        assert len(heard[0]) == len(heard[1])
        run.driver.ledger.close()
        wait_until(lambda: connections(server) == 1, "only the one that asks is left")
        # It begins anew.
        assert len(list(run.chunks())) == len(heard[0]) + 1


def test_a_cancelled_reader_ends_while_redis_hangs(
    proxy: Proxy, server: RedisServer, readers: Readers
) -> None:
    waits, behind = Run(server.url), Run(server.url)
    first = readers.aread(waits, proxy.url)
    readers.all_heard(1, 1)
    proxy.freeze()
    second = readers.aread(behind, proxy.url)
    wait_until(lambda: len(readers.heard) == 2, "it asks")

    async def others() -> set["asyncio.Task[Any]"]:
        return asyncio.all_tasks() - {asyncio.current_task()}

    for each in (first, second):
        each.cancel()
    wait_until(lambda: not readers.run(others()), "both tasks have ended", 3)
    proxy.thaw()
