"""A run never waits behind a long tool of one worker while another is idle."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from evented_agent import EventedAgent
from evented_agent.engines.celery.reserved import choose_prefetch
from tests.conftest import StartWorker
from tests.support.workers import wait_until


@pytest.mark.parametrize("pool", ["threads", "prefork"])
@pytest.mark.parametrize("prefetch", [3, 4])
def test_what_a_busy_worker_has_taken_goes_to_an_idle_one(
    pool: str,
    prefetch: int,
    agents: dict[str, EventedAgent],
    start_worker: StartWorker,
    marks: Path,
) -> None:
    options = ["--prefetch-multiplier", str(prefetch)]
    start_worker("busy", pool=pool, concurrency=1, options=options)
    long = agents["toolbox"].stream('wait {"seconds": 60}')
    wait_until((marks / "wait").exists, "the tool runs")
    behind = agents["hello"].stream("Hi.")
    start_worker("idle", pool=pool, concurrency=1, options=options)

    assert behind.result(timeout=20).text == "Hello, world."
    assert long.status == "running"
    long.abort()


def test_celery_s_default_is_replaced_and_a_choice_is_kept() -> None:
    for given, used in ((1, 1), (2, 2), (4, 1), (0, 0)):
        worker = SimpleNamespace(prefetch_multiplier=given)
        choose_prefetch(worker)
        assert worker.prefetch_multiplier == used
