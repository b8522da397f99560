"""What a worker refuses at its start, with the line to change; and what it is immune to."""

import asyncio
import os
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker

from evented_agent import (
    Agent,
    ConfigurationError,
    EventedAgent,
    Runs,
    Settings,
    create_evented_agent,
    tool,
)
from evented_agent.engines.celery.loop_bridge import Bridge
from evented_agent.engines.celery.notifier import CeleryNotifier
from evented_agent.engines.celery.worker import AgentWorker
from evented_agent.ledger.records import Task
from evented_agent.ledger.runs import read
from evented_agent.testing import ScriptedModel, tool_call
from tests.conftest import StartWorker
from tests.support.servers import RedisServer
from tests.support.warm_start import run_warm
from tests.support.workers import wait_until


def refused(environment: dict[str, str], *options: str) -> str:
    """Start a worker that must not start; what it printed."""
    command = ["celery", "-A", "tests.support.app", "worker", "-Q", "agents", *options]
    done = run_warm(command, {**os.environ, **environment})
    assert done.returncode != 0
    return done.stdout + done.stderr


def test_a_redis_that_evicts_runs_is_refused(environment: dict[str, str], tmp_path: Path) -> None:
    with RedisServer(tmp_path, extra=("--maxmemory-policy", "allkeys-lru")) as server:
        said = refused({**environment, "TEST_BROKER_URL": server.url, "TEST_REDIS_URL": server.url})

    assert "maxmemory-policy 'allkeys-lru'" in said
    assert "Set 'maxmemory-policy noeviction' there" in said


def test_other_shards_than_stored_are_refused(redis_server: RedisServer) -> None:
    Runs(redis_server.url, settings=Settings(prefix="sharded", shards=2)).check()
    with pytest.raises(ConfigurationError, match="Set shards=2 in every process"):
        Runs(redis_server.url, settings=Settings(prefix="sharded", shards=3)).check()
    app = Celery("sharded", broker=redis_server.url, set_as_current=False)
    agent = Agent(id="sharded", model=ScriptedModel(["Hi."]))
    evented = create_evented_agent(agent, app=app, settings=Settings(prefix="sharded"))
    with pytest.raises(ConfigurationError, match="Set shards=2 in every process"):
        evented.stream("Hello.")


@pytest.mark.parametrize("pool", ["gevent", "eventlet"])
def test_green_pools_are_refused_where_they_would_serve_agents(pool: str) -> None:
    worker = SimpleNamespace(pool_cls=SimpleNamespace(__module__=f"celery.concurrency.{pool}"))
    for queue, is_refused in (("agents", True), ("celery", False)):
        app = Celery("green", broker="redis://127.0.0.1:1/0", set_as_current=False)
        agent = Agent(id="green", model=ScriptedModel(["Hi."]))
        runs = create_evented_agent(agent, app=app).client
        app.amqp.queues.select([queue])
        own = AgentWorker(app, runs, Bridge(runs, lambda: None), CeleryNotifier(app))
        if is_refused:
            with pytest.raises(SystemExit, match=f"The {pool} pool cannot run agents"):
                own.prepare(worker)
        else:
            own.prepare(worker)


def test_a_worker_that_accepts_no_json_is_refused() -> None:
    app = Celery("pickled", broker="redis://127.0.0.1:1/0", set_as_current=False)
    app.conf.accept_content = ["pickle"]
    agent = Agent(id="pickled", model=ScriptedModel(["Hi."]))
    runs = create_evented_agent(agent, app=app).client
    app.amqp.queues.select(["agents"])
    worker = SimpleNamespace(pool_cls=SimpleNamespace(__module__="celery.concurrency.thread"))

    with pytest.raises(SystemExit, match=r"Set accept_content = \['json'"):
        AgentWorker(app, runs, Bridge(runs, lambda: None), CeleryNotifier(app)).prepare(worker)


def test_a_hostile_configuration_changes_nothing(
    agents: dict[str, EventedAgent], start_worker: StartWorker
) -> None:
    start_worker(
        app="tests.engines.hostile_app",
        env={"C_FORCE_ROOT": "1"},
        pool="prefork",
        concurrency=2,
    )

    assert agents["speaker"].generate("Talk.", timeout=60).status == "finished"
    assert agents["toolbox"].generate("flaky {}", timeout=60).answer == "worked in attempt 2"


def test_eager_mode_runs_in_this_process(redis_server: RedisServer) -> None:
    app = Celery("eager", broker=redis_server.url, set_as_current=False)
    app.conf.task_always_eager = True
    agent = Agent(id="eager", model=ScriptedModel(["Hi."]))
    evented = create_evented_agent(agent, app=app, redis_url=redis_server.url)

    assert evented.generate("Hello.", timeout=20).text == "Hi."
    evented.close()


@pytest.mark.parametrize("how", ["start_worker", "control shutdown"])
def test_a_worker_that_ends_without_a_signal_leaves_the_fleet_and_hands_back(
    how: str, redis_server: RedisServer
) -> None:
    began, go = threading.Event(), threading.Event()

    @tool
    async def linger() -> str:
        """Take longer than the worker lives."""
        began.set()
        while not go.is_set():
            await asyncio.sleep(0.02)
        return "done"

    prefix = f"unsignalled-{how[:5]}"
    app = Celery(prefix, broker=redis_server.url, set_as_current=False)
    app.conf.broker_transport_options = {"global_keyprefix": f"{prefix}-broker:"}
    agent = Agent(id="linger", model=ScriptedModel([[tool_call("linger")], "Ok."]), tools=[linger])
    settings = Settings(prefix=prefix, shutdown_grace=0.5)
    evented = create_evented_agent(agent, app=app, redis_url=redis_server.url, settings=settings)
    app.amqp.queues.select(["agents"])
    before = set(threading.enumerate())
    with start_worker(app, pool="threads", concurrency=2, perform_ping_check=False):
        run = evented.stream("Go.")
        assert began.wait(20)
        assert [live.busy for live in evented.client.workers()]
        if how == "control shutdown":
            app.control.shutdown()
            wait_until(lambda: not evented.client.workers(), "it has left")

    assert not evented.client.workers()
    names = {thread.name for thread in set(threading.enumerate()) - before}
    assert not {"evented-agent-watchdog", "evented-agent-drain"} & names
    assert [task.state for task in read_tasks(evented, run.run_id)] == ["queued"]
    go.set()
    with start_worker(app, pool="threads", concurrency=2, perform_ping_check=False):
        assert run.result(timeout=20).status == "finished"


def read_tasks(evented: EventedAgent, run_id: str) -> list[Task]:
    record = evented.client.ledger.send(read(evented.client.keys, run_id))
    return [task for task in record.tasks if task.state != "done"]
