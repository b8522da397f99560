"""Waiting for a run in a worker that has to execute it is refused, with what to do."""

from typing import Any

import pytest

from evented_agent import EventedAgent
from tests.conftest import StartWorker
from tests.support.workers import wait_until


@pytest.fixture(scope="module")
def worker_app() -> str:
    return "tests.engines.shop_app"


@pytest.mark.parametrize("pool", ["threads", "solo", "prefork"])
@pytest.mark.parametrize("how", ["generate", "result", "read"])
def test_a_task_on_the_slots_of_agents_is_refused_to_wait(
    start_worker: StartWorker, environment: dict[str, str], how: str, pool: str
) -> None:
    worker = start_worker(
        app="tests.engines.shop_app", pool=pool, concurrency=1, queue="agents,celery"
    )
    from tests.engines.shop_app import wait_for_run

    wait_for_run.delay(how)

    wait_until(lambda: "BlockingCall" in worker.text(), "the wait is refused", 30)
    assert "in task 'shop.wait' would wait for a run in a worker of queue 'agents'" in worker.text()
    assert "without -Q agents" in worker.text()


def test_a_task_of_another_worker_may_wait(
    start_worker: StartWorker, agents: dict[str, EventedAgent]
) -> None:
    start_worker(app="tests.engines.shop_app", name="runs")
    start_worker(app="tests.engines.shop_app", name="others", queue="celery")

    from tests.engines.shop_app import wait_for_run

    sent: Any = wait_for_run.delay("generate")
    assert sent.get(timeout=30) == "Hello, world."


def test_a_tool_that_waits_for_another_agent_is_warned_about_once(
    start_worker: StartWorker, agents: dict[str, EventedAgent]
) -> None:
    worker = start_worker(app="tests.engines.shop_app", concurrency=4)

    for _ in range(2):
        done = agents["clerk"].generate('ask_other {"question": "Hi"}', timeout=30)
        assert done.text == "Hello, world."
    assert worker.text().count("holds its slot until another run has ended") == 1


def test_a_rate_limit_from_outside_stalls_no_run(
    start_worker: StartWorker, agents: dict[str, EventedAgent]
) -> None:
    from tests.engines.shop_app import app

    worker = start_worker(app="tests.engines.shop_app")
    for name in ("model", "tool", "end"):
        app.control.rate_limit(f"evented_agent.{name}", "1/h", reply=True)
    wait_until(lambda: "keeps no rate limit" in worker.text(), "the limit is refused")

    for _ in range(3):
        done = agents["calculator"].generate("Add.", timeout=30)
        assert done.text.endswith("The sums are [3, 7].")
