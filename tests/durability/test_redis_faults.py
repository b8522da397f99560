"""Redis dies, forgets its last second, fails over, is away, pauses, is full: runs go on."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from evented_agent import EventedAgent, LedgerUnavailable, RunStream
from evented_agent.chunks import Chunk, StepReset, TopicReset, Transcript
from tests.conftest import StartWorker
from tests.durability.conftest import agents_on
from tests.durability.outcomes import last
from tests.support.proxy import Proxy
from tests.support.servers import RedisServer
from tests.support.words import TEXT
from tests.support.workers import wait_until

Agents = dict[str, EventedAgent]


@pytest.fixture(scope="module")
def worker_app() -> str:
    return "tests.durability.redis_faults_app"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[RedisServer]:
    """A server for the ledger alone; the broker stays well."""
    with RedisServer(tmp_path / "ledger") as server:
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


@pytest.fixture
def readers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(60) as threads:
        yield threads


def chunks_of(run: RunStream) -> list[Chunk]:
    return list(run)


def text_of(chunks: list[Chunk]) -> str:
    transcript = Transcript()
    for chunk in chunks:
        transcript.feed(chunk)
    return transcript.text


def start_runs(
    agents: Agents, count: int, readers: ThreadPoolExecutor, agent: str = "speaker"
) -> dict[str, "Future[list[Chunk]]"]:
    """Start runs and follow each; all of them have begun to speak when this returns."""
    runs = [agents[agent].stream("Talk.") for _ in range(count)]
    stayed = {}
    for run in runs:
        followed = agents[agent].observe(run.run_id, timeout=80)
        stayed[run.run_id] = readers.submit(chunks_of, followed)
    for run in runs:
        wait_until(lambda run=run: run.status != "queued", "all speak", 30)  # type: ignore[misc]
    return stayed


def assert_all_told(
    agents: Agents, stayed: dict[str, "Future[list[Chunk]]"], expected: str | None = TEXT
) -> list[Chunk]:
    """Every reader has the final text, and every topic one end; returns all chunks."""
    everything: list[Chunk] = []
    for run_id, future in stayed.items():
        chunks = future.result(timeout=90)
        late = chunks_of(agents["speaker"].observe(run_id))
        result = agents["speaker"].client.result(run_id)
        assert [chunk.seq for chunk in late] == list(range(1, len(late) + 1))
        assert [chunk.type for chunk in late].count("finish") == 1
        assert text_of(chunks) == text_of(late) == result.text
        assert expected in (None, result.text)
        everything += chunks
    return everything


def test_redis_is_killed_under_50_runs(
    ledger: RedisServer,
    proxy: Proxy,
    apart: Agents,
    readers: ThreadPoolExecutor,
    start_worker: StartWorker,
) -> None:
    for name in ("w1", "w2"):
        start_worker(name, concurrency=30, env={"TEST_REDIS_URL": proxy.url})
    stayed = start_runs(apart, 50, readers)
    ledger.restart()

    chunks = assert_all_told(apart, stayed)
    assert not [chunk for chunk in chunks if isinstance(chunk, StepReset | TopicReset)]


@pytest.mark.parametrize("bytes_lost", [3_000, 20_001])
def test_redis_forgets_its_last_writes(
    bytes_lost: int,
    ledger: RedisServer,
    proxy: Proxy,
    apart: Agents,
    readers: ThreadPoolExecutor,
    start_worker: StartWorker,
) -> None:
    start_worker("w1", env={"TEST_REDIS_URL": proxy.url})
    stayed = start_runs(apart, 3, readers, "unique")
    for run_id in stayed:
        run = apart["unique"].observe(run_id)
        next(part for part in run.text_parts() if part.snapshot.endswith(".20 "))
    ledger.kill()
    [log] = (ledger.directory / "appendonlydir").glob("*.incr.aof")
    whole = log.read_bytes()
    log.write_bytes(whole[:-bytes_lost])
    ledger.start()

    chunks = assert_all_told(apart, stayed, None)
    assert [chunk for chunk in chunks if isinstance(chunk, TopicReset)]


def test_redis_fails_over_to_a_replica(
    ledger: RedisServer,
    proxy: Proxy,
    apart: Agents,
    readers: ThreadPoolExecutor,
    start_worker: StartWorker,
    tmp_path: Path,
) -> None:
    of_ledger = ("--replicaof", "127.0.0.1", str(ledger.port))
    with RedisServer(tmp_path / "replica", extra=of_ledger) as replica:
        client = replica.client()
        wait_until(lambda: client.info("replication")["master_link_status"] == "up", "synced")
        for name in ("w1", "w2"):
            start_worker(name, env={"TEST_REDIS_URL": proxy.url})
        stayed = start_runs(apart, 10, readers, "unique")
        ledger.kill()
        client.replicaof("NO", "ONE")
        proxy.send_to(replica.port)

        assert_all_told(apart, stayed, None)


@pytest.mark.parametrize("how", ["refused", "silent"])
def test_redis_is_away_for_10_seconds(
    how: str,
    proxy: Proxy,
    apart: Agents,
    readers: ThreadPoolExecutor,
    start_worker: StartWorker,
) -> None:
    for name in ("w1", "w2"):
        start_worker(name, env={"TEST_REDIS_URL": proxy.url})
    stayed = start_runs(apart, 10, readers)
    if how == "refused":
        proxy.refuse()
    else:
        proxy.freeze()
    last(10)
    proxy.accept()
    proxy.thaw()

    assert_all_told(apart, stayed)


def test_redis_pauses_and_healthy_streams_are_not_withdrawn(
    ledger: RedisServer,
    proxy: Proxy,
    apart: Agents,
    readers: ThreadPoolExecutor,
    start_worker: StartWorker,
) -> None:
    for name in ("w1", "w2"):
        start_worker(name, concurrency=20, env={"TEST_REDIS_URL": proxy.url})
    stayed = start_runs(apart, 20, readers)
    ledger.pause()
    last(5)
    ledger.resume()

    chunks = assert_all_told(apart, stayed)
    assert not [chunk for chunk in chunks if isinstance(chunk, StepReset | TopicReset)]


def test_redis_is_full_for_a_while(
    ledger: RedisServer,
    proxy: Proxy,
    apart: Agents,
    readers: ThreadPoolExecutor,
    start_worker: StartWorker,
) -> None:
    start_worker("w1", env={"TEST_REDIS_URL": proxy.url})
    stayed = start_runs(apart, 5, readers)
    client = ledger.client()
    client.config_set("maxmemory", "1mb")
    with pytest.raises(LedgerUnavailable, match=r"says not now \(OOM command not"):
        apart["hello"].stream("Hi.", run_id="no-room")
    last(4)
    client.config_set("maxmemory", "0")

    assert_all_told(apart, stayed)
    assert apart["hello"].generate("Hi.", run_id="no-room", timeout=20).text == "Hello, world."
