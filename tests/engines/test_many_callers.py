"""Hundreds of callers in one process, at once."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from evented_agent import EventedAgent
from evented_agent.ledger import connection_limit
from tests.support.workers import WorkerProcess


@pytest.fixture(scope="module")
def hello(agents: dict[str, EventedAgent], module_worker: WorkerProcess) -> EventedAgent:
    return agents["hello"]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long the last of so many waits for a connection is a matter of the machine."""
    monkeypatch.setattr(connection_limit, "WAIT_FOR_FREE", 60.0)


def test_400_agenerate_at_once_all_get_their_answer(hello: EventedAgent) -> None:
    async def all_of() -> set[str]:
        results = await asyncio.gather(*(hello.agenerate("Hi.") for _ in range(400)))
        return {result.text for result in results}

    assert asyncio.run(all_of()) == {"Hello, world."}


def test_200_threads_that_generate_all_get_their_answer(hello: EventedAgent) -> None:
    with ThreadPoolExecutor(200) as threads:
        results = threads.map(lambda _: hello.generate("Hi.").text, range(200))
        assert set(results) == {"Hello, world."}
