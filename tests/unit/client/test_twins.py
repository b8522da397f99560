"""A method and its twin with the prefix ``a`` take the same, ask the same, and raise the same."""

import asyncio
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
from celery import Celery

from evented_agent import (
    Agent,
    AsyncRunStream,
    EventedAgent,
    LedgerUnavailable,
    Runs,
    RunStream,
    Settings,
    create_evented_agent,
)
from evented_agent.client.durable_agent import DurableAgent
from evented_agent.client.run_methods import RunMethods
from evented_agent.client.thread_methods import ThreadMethods
from evented_agent.engines.in_process import InProcessAgent
from evented_agent.testing import ScriptedModel
from tests.support.proxy import Moment, Proxy, Write
from tests.support.servers import RedisServer

SETTINGS = Settings(prefix="twins")
agent = Agent(id="twin", model=ScriptedModel(["unused"]))


def caller(url: str) -> EventedAgent:
    app = Celery("twins", broker="redis://127.0.0.1:1/0", set_as_current=False)
    return create_evented_agent(agent, app=app, redis_url=url, settings=SETTINGS)


def stream(evented: EventedAgent, run_id: str) -> None:
    evented.stream("Hello.", run_id=run_id, thread_id=f"thread of {run_id}")


def astream(evented: EventedAgent, run_id: str) -> None:
    async def start() -> None:
        await evented.astream("Hello.", run_id=run_id, thread_id=f"thread of {run_id}")

    asyncio.run(start())


@pytest.mark.parametrize("cls", [Runs, DurableAgent])
def test_each_method_has_a_twin_with_the_same_parameters(cls: type) -> None:
    methods = {**vars(ThreadMethods), **vars(RunMethods)}
    pairs = {name: f"a{name}" for name in methods if f"a{name}" in methods}
    assert set(pairs) | set(pairs.values()) == {name for name in methods if name[0] != "_"}
    for name, twin in {**pairs, **({"workers": "aworkers"} if cls is Runs else {})}.items():
        plain, other = getattr(cls, name), getattr(cls, twin)
        assert inspect.signature(plain).parameters == inspect.signature(other).parameters, name
        assert (other.__doc__ or "").startswith(f"`{name}` for the running event loop"), name


@pytest.mark.parametrize("cls", [Runs, EventedAgent, InProcessAgent, RunStream, AsyncRunStream])
def test_no_public_method_hides_its_options(cls: type) -> None:
    for name, function in inspect.getmembers(cls, inspect.isfunction):
        for parameter in inspect.signature(function).parameters.values():
            is_hidden = parameter.kind is parameter.VAR_KEYWORD and parameter.annotation is Any
            assert name[0] == "_" or not is_hidden, name


@pytest.mark.parametrize("start", [stream, astream])
@pytest.mark.parametrize("script", ["enter", "create"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_lost_connection_while_a_run_of_a_thread_is_started_is_tried_again(
    start: Callable[[EventedAgent, str], None],
    script: str,
    moment: Moment,
    redis_server: RedisServer,
) -> None:
    run_id = f"{start.__name__}-{script}-{moment}"
    cuts: list[Write] = []

    def cut_once(write: Write, at: Moment) -> bool:
        if cuts or (write.script, write.run_id, at) != (script, run_id, moment):
            return True
        cuts.append(write)
        return False

    with Proxy(redis_server.port, cut_once) as proxy:
        start(caller(proxy.url), run_id)

    assert len(cuts) == 1
    assert Runs(redis_server.url, settings=SETTINGS).get(run_id).thread_id == f"thread of {run_id}"


@pytest.mark.parametrize("client", [redis.Redis, redis.asyncio.Redis])
def test_a_read_of_large_payloads_that_fails_once_is_tried_again(
    client: Any, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = Runs(redis_server.url, settings=SETTINGS)
    server = redis.Redis.from_url(redis_server.url)
    server.hset("twins:blobs", "large", "payload")
    real, failures = client.hmget, [redis.ConnectionError("cut")]

    def hmget(self: Any, *args: Any) -> Any:
        if failures:
            raise failures.pop()
        return real(self, *args)

    monkeypatch.setattr(client, "hmget", hmget)
    names = ["large", "unknown"]
    if client is redis.Redis:
        found = runs.ledger.fetch_blobs("twins:blobs", names)
    else:
        found = asyncio.run(runs.ledger.afetch_blobs("twins:blobs", names))

    assert found == [b"payload", b""]
    server.delete("twins:blobs")


def commands(url: str, act: Callable[[], object]) -> dict[str, int]:
    """How often each command was called meanwhile."""
    with redis.Redis.from_url(url) as server:
        server.config_resetstat()
        act()
        stats = server.info("commandstats")
    return {
        name.removeprefix("cmdstat_"): int(counts["calls"])
        for name, counts in stats.items()
        if name.partition("_")[2] in ("evalsha", "eval", "zrevrangebyscore", "hgetall", "xrevrange")
    }


def test_lists_ask_the_same_of_redis(tmp_path: Path) -> None:
    # On a server of their own: it counts what others ask as well.
    with RedisServer(tmp_path) as server:
        runs = Runs(server.url, settings=SETTINGS)
        for number in range(3):
            stream(caller(server.url), f"listed-{number}")
        # Afterwards Redis knows all scripts.
        assert runs.list(agent="twin") == asyncio.run(runs.alist(agent="twin"))

        plain = commands(server.url, lambda: runs.list(agent="twin"))
        twin = commands(server.url, lambda: asyncio.run(runs.alist(agent="twin")))

    assert plain == twin
    assert plain["evalsha"] > 3


def test_lists_raise_the_same(redis_server: RedisServer) -> None:
    runs = Runs(redis_server.url, settings=Settings(prefix="broken"))
    broken = runs.keys.index(0, "all")
    with redis.Redis.from_url(redis_server.url) as server:
        server.set(broken, "no index")
        with pytest.raises(LedgerUnavailable) as plain:
            runs.list()
        with pytest.raises(LedgerUnavailable) as twin:
            asyncio.run(runs.alist())
        server.delete(broken)

    assert "WRONGTYPE" in str(plain.value)
    assert str(plain.value) == str(twin.value)


def test_workers_has_a_twin(redis_server: RedisServer) -> None:
    runs = Runs(redis_server.url, settings=SETTINGS)

    assert runs.workers() == asyncio.run(runs.aworkers())
