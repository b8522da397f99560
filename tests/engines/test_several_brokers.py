"""An app with several brokers: messages go to one that lives, and to where workers look."""

import contextlib
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from evented_agent import Agent, EventedAgent, Settings, create_evented_agent
from evented_agent.engines.celery.notifier import CeleryNotifier
from evented_agent.ledger.records import Due
from evented_agent.testing import ScriptedModel
from tests.conftest import StartWorker
from tests.support.servers import RedisServer, free_port
from tests.support.workers import wait_until

DUE = Due("r", "1:model", 1, "model", None, "several", "a")


@pytest.fixture
def brokers(tmp_path: Path) -> Iterator[tuple[RedisServer, RedisServer]]:
    with RedisServer(tmp_path / "one") as one, RedisServer(tmp_path / "two") as two:
        yield one, two


def queued(server: RedisServer, queue: str = "several") -> list[str]:
    """The ids of the messages that wait at a broker."""
    client = redis.Redis(port=server.port)
    with contextlib.closing(client):
        found: Any = client.lrange(queue, 0, -1)
    return [json.loads(each)["headers"]["id"] for each in found]


def dead() -> str:
    return f"redis://127.0.0.1:{free_port()}/0"


@pytest.mark.parametrize("form", ["text", "list"])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_message_goes_to_the_broker_that_lives(
    form: str, at: int, brokers: tuple[RedisServer, RedisServer]
) -> None:
    urls = [dead(), dead()]
    urls.insert(at, brokers[0].url)
    app = Celery("several", set_as_current=False)
    app.conf.update(broker_url=urls if form == "list" else ";".join(urls))
    notifier = CeleryNotifier(app)

    assert notifier.notify([DUE])
    assert notifier.notify([DUE])
    assert queued(brokers[0]) == [DUE.task_id] * 2


def test_the_next_broker_takes_over_and_the_first_again(
    brokers: tuple[RedisServer, RedisServer],
) -> None:
    one, two = brokers
    app = Celery("several", broker=f"{one.url};{two.url}", set_as_current=False)
    notifier = CeleryNotifier(app)
    assert notifier.notify([DUE])
    one.kill()
    assert notifier.notify([DUE])
    assert queued(two) == [DUE.task_id]
    one.start()
    two.kill()
    assert notifier.notify([DUE])
    assert queued(one)[0] == DUE.task_id
    one.kill()

    assert not notifier.notify([DUE])


def test_a_worker_sends_to_the_broker_that_it_consumes_from(
    brokers: tuple[RedisServer, RedisServer],
) -> None:
    one, two = brokers
    app = Celery("several", broker=f"{one.url};{two.url}", set_as_current=False)
    notifier = CeleryNotifier(app)
    with app.connection_for_read(two.url) as consuming:
        notifier.consumed = lambda: consuming
        assert notifier.notify([DUE])

        assert (queued(one), queued(two)) == ([], [DUE.task_id])
        two.kill()
        # It has not noticed yet.
        assert notifier.notify([DUE])
    assert queued(one) == [DUE.task_id]


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_runs_end_while_the_first_broker_is_dead(
    pool: str,
    brokers: tuple[RedisServer, RedisServer],
    redis_server: RedisServer,
    start_worker: StartWorker,
) -> None:
    urls = f"{dead()};{brokers[1].url}"
    evented = _served(urls, redis_server, start_worker, pool)

    assert evented.generate("Hi.", timeout=60).text == "Hello, world."


def test_a_message_at_a_broker_where_nobody_looks_is_sent_again_to_the_other(
    brokers: tuple[RedisServer, RedisServer],
    redis_server: RedisServer,
    start_worker: StartWorker,
) -> None:
    one, two = brokers
    one.kill()
    evented = _served(f"{one.url};{two.url}", redis_server, start_worker, "threads")
    assert evented.generate("Hi.", timeout=60).text == "Hello, world."
    # A caller that begins now finds the first alive, and the worker is content with the second.
    one.start()
    late = _caller(f"{one.url};{two.url}", redis_server, evented.client.settings)

    run = late.stream("Hi.")

    wait_until(lambda: queued(one, evented.client.settings.queue), "it waits where nobody looks")
    assert run.result(timeout=60).text == "Hello, world."


def _served(
    urls: str, redis_server: RedisServer, start_worker: StartWorker, pool: str
) -> EventedAgent[Any]:
    prefix = f"several{uuid.uuid4().hex[:6]}"
    names = {
        "TEST_BROKER_URL": urls,
        "TEST_REDIS_URL": redis_server.url,
        "TEST_PREFIX": prefix,
        "TEST_QUEUE": prefix,
        "TEST_PLAIN_BROKER": "1",
    }
    start_worker(env=names, pool=pool, concurrency=2, queue=prefix)
    return _caller(urls, redis_server, Settings(prefix=prefix, queue=prefix))


def _caller(urls: str, redis_server: RedisServer, settings: Settings) -> EventedAgent[Any]:
    app = Celery("several", broker=urls, set_as_current=False)
    hello = Agent(id="hello", model=ScriptedModel(["Hello, world."]))
    return create_evented_agent(hello, app=app, redis_url=redis_server.url, settings=settings)
