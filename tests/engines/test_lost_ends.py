"""A result is that of a run that has ended, also where Redis loses the end while it is read."""

import asyncio
import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest

from evented_agent import Agent, InProcessAgent, Settings, create_durable_agent
from evented_agent.testing import ScriptedModel
from tests.support.servers import RedisServer

TEXT = "All that there is to say. "


@pytest.fixture
def slow(redis_server: RedisServer) -> Iterator[InProcessAgent[Any]]:
    agent = Agent(id="slow", model=ScriptedModel([TEXT], pause=0.05))
    served = create_durable_agent(
        agent, redis_url=redis_server.url, settings=Settings(prefix="lost-ends")
    )
    yield served
    served.close()


def test_a_thread_waits_for_the_end_that_comes_again(
    slow: InProcessAgent[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = slow.stream("Go.")
    look = run._info
    found = [dataclasses.replace(look(), status="finished")]
    monkeypatch.setattr(run, "_info", lambda: found.pop() if found else look())

    result = run.result(timeout=20)

    assert (result.status, result.text) == ("finished", TEXT)


def test_an_event_loop_waits_for_the_end_that_comes_again(
    slow: InProcessAgent[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def result() -> Any:
        run = await slow.astream("Go.")
        look = run._info
        found = [dataclasses.replace(await look(), status="finished")]

        async def seen() -> Any:
            return found.pop() if found else await look()

        monkeypatch.setattr(run, "_info", seen)
        return await run.result(timeout=20)

    ended = asyncio.run(result())
    assert (ended.status, ended.text) == ("finished", TEXT)
