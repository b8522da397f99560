"""RabbitMQ carries the messages of runs, and is killed under them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from evented_agent.chunks import StepReset
from tests.conftest import StartWorker
from tests.durability.conftest import agents_on
from tests.durability.test_broker_faults import TOLD, assert_once_each, env_of
from tests.support.servers import RABBITMQ, RabbitServer, RedisServer
from tests.support.workers import wait_until


@pytest.fixture(scope="module")
def worker_app() -> str:
    return "tests.durability.careful_app"


@pytest.fixture(scope="module")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitServer]:
    if not RABBITMQ.exists():
        # A contributor may lack it; CI installs it.
        pytest.skip("RabbitMQ is not installed: apt install rabbitmq-server")
    with RabbitServer(tmp_path_factory.mktemp("rabbit")) as server:
        yield server


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_rabbitmq_carries_messages_and_is_killed_in_the_middle_of_runs(
    pool: str,
    rabbit: RabbitServer,
    redis_server: RedisServer,
    start_worker: StartWorker,
    marks: Path,
) -> None:
    agents = agents_on(redis_server.url, rabbit.url)
    start_worker(env=env_of(rabbit.url, redis_server), pool=pool, concurrency=8)
    assert agents["careful"].generate("Explore.", timeout=30).text.startswith(TOLD)
    started = [agents["careful"].stream("Explore.") for _ in range(2)]
    wait_until(
        lambda: len((marks / "careful-model").read_text().splitlines()) == 4, "runs have begun"
    )
    rabbit.restart()
    started += [agents["careful"].stream("Explore.") for _ in range(2)]

    for run in started:
        assert run.result(timeout=90).text.startswith(TOLD)
        chunks = agents["careful"].observe(run.run_id)
        assert not [chunk for chunk in chunks if isinstance(chunk, StepReset)]
    assert_once_each(marks, 5)
