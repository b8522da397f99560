"""A worker that lacks the agents, or their queue, says so; so do the runs that wait for it."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from evented_agent import Agent, EventedAgent, Runs, Settings, create_evented_agent
from evented_agent.testing import ScriptedModel
from tests.conftest import StartWorker
from tests.support.servers import RedisServer
from tests.support.workers import WorkerProcess, wait_until

APP = """
from celery import Celery
app = Celery("shop", broker={url!r})
app.conf.broker_connection_retry_on_startup = True
"""


def test_a_worker_without_the_queue_says_so_once_and_waiting_runs_name_it(
    start_worker: StartWorker, agents: dict[str, EventedAgent]
) -> None:
    worker = start_worker(queue="celery,mail")
    run = agents["hello"].stream("Hi")

    wait_until(
        # Other workers may have been here, and are told of for some seconds.
        lambda: "(w1@test has agent 'hello'" in (agents["hello"].get(run.run_id).waiting_for or ""),
        "the run says which worker lacks what",
    )
    waiting_for = agents["hello"].get(run.run_id).waiting_for
    assert waiting_for is not None
    assert "consumes 'celery', 'mail': it lacks -Q agents" in waiting_for
    assert "start one with: evented-agent worker -A MODULE" in waiting_for
    assert worker.text().count("executes none of their runs") == 1
    assert "Start it with -Q celery,mail,agents" in worker.text()
    agents["hello"].abort(run.run_id)


@pytest.fixture
def shop(tmp_path: Path, redis_server: RedisServer) -> str:
    url = redis_server.url.removesuffix("0") + "7"
    (tmp_path / "shop.py").write_text(APP.format(url=url))
    return url


@pytest.fixture
def deaf_worker(tmp_path: Path, shop: str) -> Iterator[WorkerProcess]:
    worker = WorkerProcess({}, tmp_path / "log", app="shop", queue="agents")
    worker._env["PYTHONPATH"] += f":{tmp_path}"
    with worker as started:
        yield started


def test_a_worker_that_has_imported_no_agents_says_so_and_waiting_runs_do(
    deaf_worker: WorkerProcess, shop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    import shop as module  # type: ignore[import-not-found]

    clerk = create_evented_agent(Agent(id="clerk", model=ScriptedModel(["Hello."])), app=module.app)
    run = clerk.stream("Hi")

    assert deaf_worker.text().count("has imported no agents") == 1
    assert "Import the module that calls create_evented_agent" in deaf_worker.text()
    wait_until(
        lambda: (
            "import the agent in the module that your worker loads"
            in (clerk.get(run.run_id).waiting_for or "")
        ),
        "the run says what is missing",
    )
    clerk.delete(run.run_id)
    clerk.client.close()


def test_a_worker_of_something_else_says_nothing(tmp_path: Path, shop: str) -> None:
    worker = WorkerProcess({}, tmp_path / "log", app="shop", queue="celery", name="other")
    worker._env["PYTHONPATH"] += f":{tmp_path}"
    with worker:
        assert "agents" not in worker.text().replace("Agent(s)", "")
        live = Runs(shop, settings=Settings()).workers()
        assert "other@test" not in [each.node for each in live]
