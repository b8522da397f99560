"""The engines: in this process, and Celery on Redis and on RabbitMQ, with both kinds of pools."""

import os
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from celery import Celery

from evented_agent import DurableAgent, Settings, create_durable_agent, create_evented_agent
from tests.support.servers import RABBITMQ, RabbitServer, RedisServer
from tests.support.topologies import Cluster, SentinelGroup
from tests.support.workers import WorkerProcess

Engine = Mapping[str, DurableAgent]
#: ``make test-topologies`` asks for others: "cluster", "sentinel", "rabbitmq" …
ENGINES = os.environ.get("CONFORMANCE_ENGINES", "in-process redis-threads redis-prefork").split()
#: Over how many slots of the cluster runs are spread.
SHARDS = 8


@pytest.fixture(scope="session")
def engine_marks(environment: dict[str, str]) -> Path:
    return Path(environment["TEST_MARKS"])


@pytest.fixture(scope="session", params=ENGINES)
def engine(
    request: pytest.FixtureRequest,
    redis_server: RedisServer,
    environment: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Engine]:
    """The agents of `tests.conformance.agents`, by id, on one engine."""
    from tests.conformance import agents

    # Imported before the folder was known, perhaps.
    agents.MARKS = Path(environment["TEST_MARKS"])
    prefix = f"c{uuid.uuid4().hex[:8]}"
    if request.param == "in-process":
        yield from in_process(redis_server.url, prefix)
        return
    folder = tmp_path_factory.mktemp(request.param)
    if request.param.startswith("cluster"):
        with Cluster(folder) as cluster:
            if request.param == "cluster-in-process":
                yield from in_process(cluster.url, prefix, shards=SHARDS)
            else:
                broker = redis_server.url
                yield from on_celery(broker, cluster.url, prefix, folder, "threads", shards=SHARDS)
        return
    if request.param == "sentinel":
        with SentinelGroup(folder) as group:
            # Where the runs are follows from the broker.
            yield from on_celery(group.broker_url, None, prefix, folder, "threads")
        return
    if request.param == "rabbitmq":
        if not RABBITMQ.exists():
            # A contributor may lack it; CI installs it.
            pytest.skip("RabbitMQ is not installed: apt install rabbitmq-server")
        with RabbitServer(folder) as rabbit:
            yield from on_celery(rabbit.url, redis_server.url, prefix, folder, "threads")
        return
    pool = request.param.partition("-")[2]
    yield from on_celery(redis_server.url, redis_server.url, prefix, folder, pool)


def in_process(url: str, prefix: str, *, shards: int = 1) -> Iterator[Engine]:
    from tests.conformance.agents import AGENTS

    settings = Settings(prefix=prefix, shards=shards)
    made = {a.id: create_durable_agent(a, redis_url=url, settings=settings) for a in AGENTS}
    yield made
    for each in made.values():
        each.close()


def on_celery(
    broker: str, ledger: str | None, prefix: str, folder: Path, pool: str, *, shards: int = 1
) -> Iterator[Engine]:
    from tests.conformance.agents import AGENTS
    from tests.conformance.app import broker_options

    app = Celery("conformance", broker=broker, set_as_current=False)
    app.conf.broker_transport_options = broker_options(broker, prefix)
    settings = Settings(prefix=prefix, shards=shards)
    names = {
        "CONFORMANCE_BROKER": broker,
        "CONFORMANCE_LEDGER": ledger or "",
        "CONFORMANCE_PREFIX": prefix,
        "CONFORMANCE_SHARDS": str(shards),
        "TEST_MARKS": os.environ["TEST_MARKS"],
    }
    slots = 20 if pool == "threads" else 4
    with WorkerProcess(
        names, folder / "worker.log", app="tests.conformance.app", pool=pool, concurrency=slots
    ):
        yield {
            agent.id: create_evented_agent(agent, app=app, redis_url=ledger, settings=settings)
            for agent in AGENTS
        }
