"""Runs that are started by their agent's id: what a web handler of many agents does."""

import asyncio
from collections.abc import Iterator

import pytest
from celery import Celery

from evented_agent import (
    Agent,
    DeclarationError,
    InProcessAgent,
    Runs,
    Settings,
    UnknownAgent,
    create_durable_agent,
    create_evented_agent,
)
from evented_agent.testing import ScriptedModel
from tests.support.servers import RedisServer

greeter = Agent(id="greeter-by-id", model=ScriptedModel(["Good day."]))


@pytest.fixture
def durable(redis_server: RedisServer) -> Iterator[InProcessAgent]:
    engine = create_durable_agent(greeter, redis_url=redis_server.url)
    yield engine
    engine.close()


def test_a_run_is_started_by_the_id_of_its_agent(durable: InProcessAgent) -> None:
    run = durable.client.stream("greeter-by-id", "Hello.", run_id="by-id", resource_id="me")

    assert run.result(20).text == "Good day."
    assert durable.get("by-id", resource_id="me").agent == "greeter-by-id"


def test_the_same_start_is_the_same_run_whoever_starts_it(durable: InProcessAgent) -> None:
    first = durable.stream("Hello.", run_id="whoever")

    assert durable.client.stream("greeter-by-id", "Hello.", run_id="whoever").run_id == "whoever"
    assert first.result(20).text == "Good day."


def test_a_run_is_started_by_id_on_an_event_loop(durable: InProcessAgent) -> None:
    async def start() -> str:
        async with durable.client.astream("greeter-by-id", "Hello.") as run:
            return (await run.result(20)).text

    assert asyncio.run(start()) == "Good day."


def test_an_agent_that_is_not_served_here_is_unknown(redis_server: RedisServer) -> None:
    runs = Runs(redis_server.url)

    with pytest.raises(UnknownAgent, match="greeter-by-id"):
        runs.stream("greeter-by-id", "Hello.")
    with pytest.raises(UnknownAgent, match="none"):
        asyncio.run(_started(runs))


async def _started(runs: Runs) -> None:
    await runs.astream("greeter-by-id", "Hello.")


def test_a_wrong_option_is_refused_before_anything_is_written(durable: InProcessAgent) -> None:
    with pytest.raises(DeclarationError, match="max_steps"):
        durable.client.stream("greeter-by-id", "Hello.", max_steps=0)


def test_an_app_that_is_eager_executes_what_is_started_by_id(redis_server: RedisServer) -> None:
    app = Celery("eager-by-id", broker=redis_server.url, set_as_current=False)
    app.conf.task_always_eager = True
    evented = create_evented_agent(
        greeter, app=app, redis_url=redis_server.url, settings=Settings(prefix="eager-by-id")
    )
    try:
        assert Runs.of(app).stream("greeter-by-id", "Hello.").result(20).text == "Good day."
    finally:
        evented.close()
