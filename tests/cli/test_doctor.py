"""What a new user gets wrong, ``doctor`` finds, with what to do."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from evented_agent.engines.celery import fleet_checks
from tests.support.servers import RedisServer
from tests.support.warm_start import run_warm
from tests.support.workers import ROOT, WorkerProcess, wait_until

APP = """
from celery import Celery
from evented_agent import Agent, Settings, create_evented_agent
app = Celery("shop"{broker})
app.conf.broker_connection_retry_on_startup = True
"""
AGENTS = """
from app import app
from evented_agent import Agent, create_evented_agent
evented = create_evented_agent(Agent(id="clerk", model="openai/x"), app=app)
"""


class Shop:
    """A project in a folder of its own."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.env = {name: value for name, value in os.environ.items() if "EVENTED" not in name}
        self.env["EVENTED_AGENT_HOME"] = str(folder / "home")
        self.env["PYTHONPATH"] = f"{ROOT}:{folder}"
        self.write(f", broker={url!r}")

    def write(self, broker: str) -> None:
        (self.folder / "app.py").write_text(APP.format(broker=broker))
        (self.folder / "agents.py").write_text(AGENTS)

    def doctor(self, *options: str, **env: str) -> tuple[int, str]:
        done = run_warm(["evented-agent", "doctor", *options], {**self.env, **env}, cwd=self.folder)
        return done.returncode, done.stdout + done.stderr

    def server(self, verb: str) -> int:
        return run_warm(["evented-agent", "server", verb], self.env, cwd=self.folder).returncode


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis") as started:
        yield started


@pytest.fixture
def shop(tmp_path: Path, server: RedisServer) -> Shop:
    folder = tmp_path / "shop"
    folder.mkdir()
    return Shop(folder, server.url)


def worker(shop: Shop, module: str, queue: str, *options: str) -> WorkerProcess:
    made = WorkerProcess({}, shop.folder / "log", app=module, queue=queue, options=options)
    made._env = {**shop.env, "PYTHONUNBUFFERED": "1"}
    return made


def test_an_app_whose_agents_nobody_imports(shop: Shop) -> None:
    code, said = shop.doctor("-A", "app")

    assert code == 1
    assert "The app that -A app names has imported no agents. Import the module" in said


def test_a_worker_without_the_queue(shop: Shop) -> None:
    with worker(shop, "agents", "celery,mail"):
        wait_until(
            lambda: "Worker w1@test has imported the agents" in shop.doctor("-A", "agents")[1],
            "the worker has announced itself",
        )
        code, said = shop.doctor("-A", "agents")

    assert code == 1
    assert (
        "No live worker on queue 'agents'. Start one with: evented-agent worker -A agents" in said
    )
    assert "consumes 'celery', 'mail' only. Start it with -Q celery,mail,agents." in said


def test_a_worker_without_the_agents(shop: Shop) -> None:
    with worker(shop, "app", "agents"):
        code, said = shop.doctor("-A", "agents")

    assert code == 1
    assert "Worker w1@test consumes queue 'agents' and has imported no agents" in said


def test_a_worker_that_takes_more_than_it_can_work_on(shop: Shop) -> None:
    with worker(shop, "agents", "agents", "--prefetch-multiplier", "8"):
        code, said = shop.doctor("-A", "agents")
    assert code == 1
    assert re.search(r"Worker w1@test takes up to 80 messages for its 10 slots", said)

    with worker(shop, "agents", "agents"):
        assert shop.doctor("-A", "agents") == (0, "No problem found.\n")


def test_an_app_without_a_broker(shop: Shop) -> None:
    shop.write("")
    code, said = shop.doctor("-A", "agents")

    assert code == 1
    assert "no embedded server runs for this folder" in said
    assert shop.server("start") == 0
    assert "The app names no broker, so Celery takes amqp://" in shop.doctor("-A", "agents")[1]
    assert shop.server("stop") == 0


def test_an_environment_that_puts_runs_elsewhere_than_the_broker(
    shop: Shop, server: RedisServer
) -> None:
    other = server.url.removesuffix("0") + "5"
    code, said = shop.doctor("-A", "agents", EVENTED_AGENT_REDIS_URL=other)

    assert code == 1
    assert (
        f"EVENTED_AGENT_REDIS_URL puts the runs at {other}, and the broker is {server.url}" in said
    )


def test_packages_of_the_wrong_version(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(fleet_checks.version_problems()) == []

    needs = ["celery>=99", "redis[hiredis]>=5", 'rich>=99; extra == "cli"']
    monkeypatch.setattr("importlib.metadata.requires", lambda _: needs)
    [problem] = fleet_checks.version_problems()
    assert problem.what.endswith("and >=99 is needed.")
    assert problem.remedy == 'Run pip install "celery>=99".'
