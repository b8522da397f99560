"""Redis answers, but not now: finished tools are kept, and whoever took over is found."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from evented_agent import EventedAgent
from evented_agent.chunks import AnyChunk
from tests.conftest import StartWorker
from tests.durability.conftest import agents_on
from tests.durability.outcomes import last
from tests.support.proxy import Proxy
from tests.support.servers import RedisServer
from tests.support.words import TEXT
from tests.support.workers import wait_until

Agents = dict[str, EventedAgent]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[RedisServer]:
    """A server for the ledger alone; the broker stays well."""
    at_once = ("--repl-diskless-sync-delay", "0")
    with RedisServer(tmp_path / "ledger", extra=at_once) as server:
        yield server


@pytest.fixture
def proxy(ledger: RedisServer) -> Iterator[Proxy]:
    with Proxy(ledger.port) as between:
        yield between


@pytest.fixture
def apart(
    proxy: Proxy, redis_server: RedisServer, environment: dict[str, str], worker_app: str
) -> Agents:
    return agents_on(proxy.url, redis_server.url, worker_app)


@pytest.fixture(scope="module")
def worker_app() -> str:
    return "tests.support.app"


def text_of(chunks: list[AnyChunk]) -> str:
    return "".join(chunk.payload.text for chunk in chunks if chunk.type == "text-delta")


def test_a_disk_that_is_full_for_6_seconds_repeats_no_tool(
    ledger: RedisServer, proxy: Proxy, apart: Agents, start_worker: StartWorker, marks: Path
) -> None:
    start_worker(env={"TEST_REDIS_URL": proxy.url})
    run = apart["toolbox"].stream('wait {"seconds": 1}\npay {"seconds": 1}')
    wait_until(lambda: (marks / "pay").exists() and (marks / "wait").exists(), "the tool runs")
    snapshot = ledger.directory / "dump.rdb"
    # A folder stands where the snapshot goes.
    (snapshot / "x").mkdir(parents=True)
    with ledger.client() as client:
        client.config_set("save", "1000 1")
        client.bgsave()
        wait_until(
            lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err", "writes are off"
        )
        with pytest.raises(Exception, match="MISCONF"):
            client.set("x", 1)
        last(6)
        client.config_set("save", "")

    assert run.result(timeout=30).status == "finished"
    assert len((marks / "pay").read_text().splitlines()) == 1
    assert len((marks / "wait").read_text().splitlines()) == 2


@pytest.mark.parametrize("follows", ["the new master", "nobody"])
def test_a_planned_failover_behind_one_address_needs_no_restart(
    follows: str,
    ledger: RedisServer,
    proxy: Proxy,
    apart: Agents,
    start_worker: StartWorker,
    tmp_path: Path,
) -> None:
    of_ledger = ("--replicaof", "127.0.0.1", str(ledger.port))
    with (
        RedisServer(tmp_path / "replica", extra=of_ledger) as replica,
        replica.client() as client,
        ledger.client() as old,
        ThreadPoolExecutor(8) as threads,
    ):
        wait_until(lambda: client.info("replication")["master_link_status"] == "up", "synced")
        start_worker("w1", env={"TEST_REDIS_URL": proxy.url})
        start_worker("w2", env={"TEST_REDIS_URL": proxy.url})
        runs = [apart["speaker"].stream("Talk.") for _ in range(4)]
        stayed = [
            threads.submit(list[AnyChunk], apart["speaker"].observe(run.run_id, timeout=60))
            for run in runs
        ]
        for run in runs:
            wait_until(lambda run=run: run.status != "queued", "all speak")  # type: ignore[misc]
        # The roles change; whoever is connected stays with the server that was the master.
        client.replicaof("NO", "ONE")
        proxy.lead_to(replica.port)
        # One that follows nobody would let its readers hear nothing for ever.
        old.replicaof("127.0.0.1", replica.port if follows == "the new master" else 1)
        assert apart["hello"].generate("Hi.", timeout=20).text == "Hello, world."
        for run, future in zip(runs, stayed, strict=True):
            assert text_of(future.result(timeout=40)).endswith(TEXT[-20:])
            assert apart["speaker"].client.result(run.run_id).text == TEXT


@pytest.mark.parametrize("waits_in", ["a thread", "an event loop"])
def test_a_reader_that_never_writes_finds_the_new_master(
    waits_in: str,
    ledger: RedisServer,
    proxy: Proxy,
    apart: Agents,
    redis_server: RedisServer,
    tmp_path: Path,
) -> None:
    run = apart["hello"].stream("Hi.", queue="nobody's")
    own = agents_on(proxy.url, redis_server.url, "tests.support.app")["hello"]

    async def alist() -> list[AnyChunk]:
        return [chunk async for chunk in await own.aobserve(run.run_id, timeout=30)]

    of_ledger = ("--replicaof", "127.0.0.1", str(ledger.port))
    with (
        RedisServer(tmp_path / "replica", extra=of_ledger) as replica,
        replica.client() as client,
        ledger.client() as old,
        ThreadPoolExecutor(1) as threads,
    ):
        wait_until(lambda: client.info("replication")["master_link_status"] == "up", "synced")
        if waits_in == "a thread":
            heard = threads.submit(lambda: list(own.observe(run.run_id, timeout=30)))
        else:
            heard = threads.submit(lambda: asyncio.run(alist()))
        wait_until(lambda: old.info("clients")["blocked_clients"] == 1, "it waits")
        client.replicaof("NO", "ONE")
        proxy.lead_to(replica.port)
        old.replicaof("127.0.0.1", 1)
        wait_until(lambda: old.info("replication")["role"] == "slave", "it is demoted")
        direct = agents_on(replica.url, redis_server.url, "tests.support.app")["hello"]
        direct.client.abort(run.run_id)

        assert heard.result(timeout=30)[-1].type == "abort"


@pytest.mark.parametrize("asks_in", ["a thread", "an event loop"])
def test_a_caller_that_only_asks_finds_the_new_master(
    asks_in: str,
    ledger: RedisServer,
    proxy: Proxy,
    apart: Agents,
    redis_server: RedisServer,
    tmp_path: Path,
) -> None:
    run = apart["hello"].stream("Hi.", queue="nobody's")
    own = agents_on(proxy.url, redis_server.url, "tests.support.app")["hello"].client

    def until_it_ended() -> None:
        wait_until(lambda: own.get(run.run_id).status == "aborted", "it asks the new master")

    async def auntil_it_ended() -> None:
        async with asyncio.timeout(20):
            while (await own.aget(run.run_id)).status != "aborted":
                await asyncio.sleep(0.1)

    of_ledger = ("--replicaof", "127.0.0.1", str(ledger.port))
    with (
        RedisServer(tmp_path / "replica", extra=of_ledger) as replica,
        replica.client() as client,
        ledger.client() as old,
        ThreadPoolExecutor(1) as threads,
    ):
        wait_until(lambda: client.info("replication")["master_link_status"] == "up", "synced")
        if asks_in == "a thread":
            asked = threads.submit(until_it_ended)
        else:
            asked = threads.submit(lambda: asyncio.run(auntil_it_ended()))
        assert own.get(run.run_id).status == "queued"
        client.replicaof("NO", "ONE")
        proxy.lead_to(replica.port)
        old.replicaof("127.0.0.1", 1)
        wait_until(lambda: old.info("replication")["role"] == "slave", "it is demoted")
        direct = agents_on(replica.url, redis_server.url, "tests.support.app")["hello"]
        direct.client.abort(run.run_id)

        asked.result(timeout=30)
        # Each kind of connection looks for itself, once a second.
        wait_until(
            lambda: [info.run_id for info in own.list(status="aborted")] == [run.run_id],
            "lists are of the new master",
        )
