"""Another server takes over, or a slot moves, under load: nobody stays behind or is restarted."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from evented_agent.client.reader import Reader
from evented_agent.ledger import threads
from evented_agent.ledger.connection import Ledger
from evented_agent.ledger.keys import Keys
from tests.support.driver import Driver
from tests.support.topologies import Cluster, SentinelGroup, ask
from tests.support.workers import wait_until
from tests.topologies.conftest import Topology

SHARDS = 8
RUNS = [f"r{number}" for number in range(6)]


class Load:
    """Writers in threads and on an event loop; none may fail, each must go on."""

    def __init__(self, ledger: Ledger, keys: Keys) -> None:
        self._ledger, self._keys = ledger, keys
        self._is_over = threading.Event()
        self._counts = [0, 0, 0, 0]
        self._pool = ThreadPoolExecutor(4)
        self._writers: list[Future[None]] = [
            *(self._pool.submit(self._write, number) for number in (0, 1)),
            self._pool.submit(lambda: asyncio.run(self._on_loop())),
        ]

    def wait_for_more(self) -> None:
        """Wait until each writer has written ten times more: to whoever is in charge."""
        before = list(self._counts)

        def is_more() -> bool:
            for writer in self._writers:
                if writer.done():
                    writer.result()
            return all(now >= was + 10 for now, was in zip(self._counts, before, strict=True))

        wait_until(is_more, f"all write again, {before} -> {self._counts}", 40)

    def stop(self) -> None:
        self._is_over.set()
        for writer in self._writers:
            writer.result(timeout=40)
        self._pool.shutdown()

    def _write(self, number: int) -> None:
        while not self._is_over.is_set():
            count = self._counts[number]
            one = threads.enter(self._keys, f"t{count % 16}", f"w{number}.{count}", ttl_ms=60_000)
            if number:
                answers = self._ledger.send_all([one, one], retry_for=30)
                assert all(isinstance(answer, threads.TurnHolder) for answer in answers), answers
            else:
                self._ledger.send(one, retry_for=30)
            self._counts[number] += 1

    async def _on_loop(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._awrite(2))
            group.create_task(self._awrite(3))
        await self._ledger.aclose()

    async def _awrite(self, number: int) -> None:
        while not self._is_over.is_set():
            count = self._counts[number]
            one = threads.enter(self._keys, f"t{count % 16}", f"w{number}.{count}", ttl_ms=60_000)
            if number == 2:
                answers = await self._ledger.asend_all([one, one], retry_for=30)
                assert all(isinstance(answer, threads.TurnHolder) for answer in answers), answers
            else:
                await self._ledger.asend(one, retry_for=30)
            self._counts[number] += 1


class Readers:
    """Follows runs, from a thread each and from an event loop."""

    def __init__(self, ledger: Ledger, keys: Keys) -> None:
        self._ledger, self._keys = ledger, keys
        self._pool = ThreadPoolExecutor(len(RUNS) + 1)
        self._found: list[Future[list[str]]] = [self._pool.submit(self._read, r) for r in RUNS]
        self._on_loop = self._pool.submit(lambda: asyncio.run(self._aread_all()))

    def texts(self) -> list[str]:
        """What each has read when the run says "end"."""
        read = [each.result(timeout=40) for each in self._found] + self._on_loop.result(timeout=40)
        self._pool.shutdown()
        return ["".join(each) for each in read]

    def _read(self, run_id: str) -> list[str]:
        said: list[str] = []
        for chunk in Reader(self._keys, self._ledger, run_id).chunks(0):
            if chunk is not None and chunk.type == "text-delta":
                said.append(chunk.payload.text)
                if said[-1] == "end":
                    break
        return said

    async def _aread_all(self) -> list[list[str]]:
        found = await asyncio.gather(*map(self._aread, RUNS))
        await self._ledger.aclose()
        return list(found)

    async def _aread(self, run_id: str) -> list[str]:
        said: list[str] = []
        chunks = Reader(self._keys, self._ledger, run_id).achunks(0)
        async with contextlib.aclosing(chunks):
            async for chunk in chunks:
                if chunk is not None and chunk.type == "text-delta":
                    said.append(chunk.payload.text)
                    if said[-1] == "end":
                        break
        return said


@pytest.fixture
def keys(request: pytest.FixtureRequest) -> Keys:
    return Keys(f"over{abs(hash(request.node.name)) % 10**6}", SHARDS)


@pytest.fixture
def driver(topology: Topology, keys: Keys) -> Iterator[Driver]:
    ledger = Ledger(topology.url)
    yield Driver(ledger, keys)
    ledger.close()


def die(topology: Topology, keys: Keys) -> None:
    if isinstance(topology, Cluster):
        topology.fail_over(keys.of(RUNS[0]).run)
    else:
        topology.fail_over()


def freeze(topology: Topology, keys: Keys) -> None:
    """As a machine that hangs: connections stay open, and nothing answers."""
    if isinstance(topology, Cluster):
        frozen = topology.master_of(keys.of(RUNS[0]).run)
        frozen.pause()
        topology.wait_for_other(keys.of(RUNS[0]).run, frozen)
    else:
        frozen = topology.master
        frozen.pause()
        topology.wait_for_other(frozen)
    frozen.resume()


def hand_over(topology: Topology, keys: Keys) -> None:
    """As before maintenance: the old master lives on as a replica, connections and all."""
    if isinstance(topology, Cluster):
        old = topology.master_of(keys.of(RUNS[0]).run)
        ask(topology.replica_of(old), "CLUSTER", "FAILOVER")
        topology.wait_for_other(keys.of(RUNS[0]).run, old)
    else:
        old = topology.master
        topology.ask_sentinel("failover", topology.NAME)
        topology.wait_for_other(old)


@pytest.mark.parametrize("change", [die, freeze, hand_over])
def test_writers_and_readers_follow_whoever_is_in_charge(
    change: Callable[[Topology, Keys], None], topology: Topology, driver: Driver, keys: Keys
) -> None:
    tasks = []
    for run_id in RUNS:
        driver.create(run_id)
        tasks.append(driver.granted(run_id))
        driver.say(tasks[-1], "begin ", sent=0)
    topology.wait_for_replicas()
    load, readers = Load(driver.ledger, keys), Readers(driver.ledger, keys)
    load.wait_for_more()

    change(topology, keys)

    load.wait_for_more()
    for task in tasks:
        driver.say(task, "end", sent=2)
    assert readers.texts() == ["begin end"] * 2 * len(RUNS)
    load.stop()


@pytest.mark.parametrize("pause", [0.0, 1.0], ids=["at once", "half moved for a second"])
def test_a_slot_moves_under_load_and_nothing_is_lost(
    pause: float, cluster: Cluster, keys: Keys
) -> None:
    cluster.wait_healthy()
    ledger = Ledger(cluster.url)
    driver = Driver(ledger, keys)
    tasks = []
    for run_id in RUNS:
        driver.create(run_id)
        tasks.append(driver.granted(run_id))
        driver.say(tasks[-1], "begin ", sent=0)
    load, readers = Load(ledger, keys), Readers(ledger, keys)
    load.wait_for_more()
    for key in {keys.of(run_id).run for run_id in RUNS}:
        before = cluster.master_of(key)
        assert cluster.move(key, pause=pause) is not before
        load.wait_for_more()

    for task in tasks:
        driver.say(task, "end", sent=2)
    assert readers.texts() == ["begin end"] * 2 * len(RUNS)
    load.stop()
    for number in range(16):
        log = keys.thread(f"t{number}").turns
        turns = [turn.decode() for turn in ledger.client(log).lrange(log, 0, -1)]  # type: ignore[union-attr]
        assert len(set(turns)) == len(turns)
    ledger.close()


def test_a_process_that_knows_old_masters_only_finds_the_new_ones(cluster: Cluster) -> None:
    keys = Keys("old-news", 1)
    key = keys.of("r").run
    ledger = Ledger(cluster.url)
    driver = Driver(ledger, keys)
    driver.create("r")
    for _ in range(3):
        cluster.move(key)
    wait_until(lambda: driver.types("r") == ["start"], "it asks the master of now")
    ledger.close()


def test_sentinels_that_are_gone_are_named_and_others_asked(sentinels: SentinelGroup) -> None:
    nodes = f"127.0.0.1:1,127.0.0.1:{sentinels.sentinels[2]}"
    ledger = Ledger(f"sentinel://{nodes}/0?master={sentinels.NAME}")
    assert Driver(ledger, Keys("others")).create("r")
    ledger.close()

    wrong = Ledger(f"sentinel://127.0.0.1:{sentinels.sentinels[0]}/0?master=other")
    with pytest.raises(Exception, match="No master found for 'other'"):
        Driver(wrong, Keys("others")).create("r")
    wrong.close()
