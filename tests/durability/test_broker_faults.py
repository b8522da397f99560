"""Messages are deleted, doubled, late; brokers restart and freeze under runs: none is lost."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from evented_agent import EventedAgent, Runs
from tests.conftest import StartWorker
from tests.durability.conftest import agents_on
from tests.durability.outcomes import last
from tests.support.proxy import Proxy
from tests.support.servers import RedisServer
from tests.support.workers import wait_until

Agents = dict[str, EventedAgent]
TOLD = "I look around first.\n\nThat is all: There is nothing at home. somebody answered"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis for messages alone."""
    with RedisServer(tmp_path / "broker", aof=False) as server:
        yield server


def env_of(broker_url: str, ledger: RedisServer) -> dict[str, str]:
    return {"TEST_BROKER_URL": broker_url, "TEST_REDIS_URL": ledger.url}


def assert_once_each(marks: Path, runs: int) -> None:
    """Two model calls a run; three tool calls and the second try of one."""
    assert len((marks / "careful-model").read_text().splitlines()) == 2 * runs
    assert len((marks / "careful").read_text().splitlines()) == 4 * runs


def test_the_queue_is_deleted_in_the_middle_of_runs(
    broker: RedisServer, redis_server: RedisServer, start_worker: StartWorker, marks: Path
) -> None:
    agents = agents_on(redis_server.url, broker.url)
    client = broker.client()
    first = [agents["careful"].stream("Explore.") for _ in range(5)]
    client.flushall()
    start_worker(env=env_of(broker.url, redis_server), concurrency=20)
    second = [agents["careful"].stream("Explore.") for _ in range(5)]
    wait_until((marks / "careful-model").exists, "runs have begun")
    client.flushall()

    for run in first + second:
        assert run.result(timeout=60).text.startswith(TOLD)
    assert_once_each(marks, 10)


def test_each_message_is_delivered_twice(
    broker: RedisServer, redis_server: RedisServer, start_worker: StartWorker, marks: Path
) -> None:
    with Proxy(broker.port) as proxy:
        proxy.doubled = {b"LPUSH"}
        sends_twice = {"TEST_BROKER_WRITE_URL": proxy.url}
        agents = agents_on(redis_server.url, proxy.url)
        runs = [agents["careful"].stream("Explore.") for _ in range(5)]
        assert broker.client().llen("test-broker:agents") == 10
        start_worker(env={**env_of(broker.url, redis_server), **sends_twice}, concurrency=20)

        for run in runs:
            assert run.result(timeout=60).text.startswith(TOLD)
    assert_once_each(marks, 5)


def test_a_message_that_comes_after_its_step_does_nothing(
    broker: RedisServer,
    redis_server: RedisServer,
    runs: Runs,
    start_worker: StartWorker,
    marks: Path,
) -> None:
    agents = agents_on(redis_server.url, broker.url)
    client = broker.client()
    run = agents["careful"].stream("Explore.")
    late = client.rpop("test-broker:agents")
    assert isinstance(late, bytes)
    start_worker(env=env_of(broker.url, redis_server))
    assert run.result(timeout=60).text.startswith(TOLD)
    before = runs.get(run.run_id).cursor
    client.lpush("test-broker:agents", late)
    wait_until(lambda: not client.llen("test-broker:agents"), "it was taken")

    assert agents["hello"].generate("Go on.", timeout=20).text == "Hello, world."
    assert runs.get(run.run_id).cursor == before
    assert_once_each(marks, 1)


@pytest.mark.parametrize("how", ["restarted", "frozen"])
def test_the_broker_fails_in_the_middle_of_runs(
    how: str,
    broker: RedisServer,
    redis_server: RedisServer,
    start_worker: StartWorker,
    marks: Path,
) -> None:
    agents = agents_on(redis_server.url, broker.url)
    start_worker(env=env_of(broker.url, redis_server), concurrency=20)
    started = [agents["careful"].stream("Explore.") for _ in range(5)]
    wait_until((marks / "careful-model").exists, "runs have begun")
    if how == "restarted":
        broker.restart()
    else:
        broker.pause()
        last(5)
        broker.resume()

    for run in started:
        assert run.result(timeout=90).text.startswith(TOLD)
    assert_once_each(marks, 5)


def test_a_dead_worker_is_noticed_while_the_broker_takes_no_message(
    broker: RedisServer, redis_server: RedisServer, start_worker: StartWorker, marks: Path
) -> None:
    agents = agents_on(redis_server.url, broker.url)
    without_broker = agents_on(redis_server.url, "redis://127.0.0.1:1/0")
    env = env_of(broker.url, redis_server)
    doomed = start_worker("w1", env=env)
    running = agents["toolbox"].stream('wait {"seconds": 60}')
    wait_until((marks / "wait").exists, "it runs")
    survivor = start_worker("w2", env=env, concurrency=40)
    broker.pause()
    # While it is frozen, each message takes a second to fail.
    unsent = [without_broker["hello"].stream("Hi.") for _ in range(120)]
    doomed.kill()
    wait_until(
        lambda: f"Run {running.run_id}: the lease of" in survivor.text(), "the death is noticed"
    )
    broker.resume()

    for run in unsent:
        assert run.result(timeout=90).text == "Hello, world."
    running.abort()
