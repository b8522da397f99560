"""The in-process engine: the same semantics without Celery."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator

import pytest

from evented_agent import Agent, DurableAgent, RunFailed, ToolContext, create_durable_agent, tool
from evented_agent.chunks import StepReset
from evented_agent.errors import ModelError
from evented_agent.testing import ScriptedModel, tool_call
from tests.engines.local_process import agent as speaker
from tests.support.servers import RedisServer
from tests.support.words import TEXT
from tests.support.workers import ROOT


@tool
def double(n: int) -> int:
    """Double a number."""
    return 2 * n


@tool
async def whoami(ctx: ToolContext) -> str:
    """Tell the key of this call."""
    return ctx.idempotency_key


helper = Agent(
    id="helper",
    model=ScriptedModel([[tool_call("double", n=4), tool_call("whoami")], "Done."]),
    tools=[double, whoami],
)


@pytest.fixture
def durable(redis_server: RedisServer) -> Iterator[DurableAgent]:
    engine = create_durable_agent(helper, redis_url=redis_server.url)
    yield engine
    engine.close()


def process(redis_server: RedisServer, run_id: str, how: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "tests.engines.local_process", redis_server.url, run_id, how],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_a_run_needs_no_worker(durable: DurableAgent) -> None:
    result = durable.generate("Go.", timeout=20)

    assert result.answer == "Done."
    results = result.steps[0].results_by_call
    assert results["call_1_0"].result == 8
    assert results["call_1_1"].result == f"{result.run_id}:call_1_1"


def test_it_serves_event_loops_too(durable: DurableAgent) -> None:
    async def use() -> list[str]:
        async with durable.astream("Go.") as run:
            return [chunk.type async for chunk in run]

    types = asyncio.run(use())

    assert (types[0], types[-1]) == ("start", "finish")


def test_a_run_that_fails_says_why(redis_server: RedisServer) -> None:
    agent = Agent(id="poor", model=ScriptedModel([ModelError("no credit")]))
    durable = create_durable_agent(agent, redis_url=redis_server.url)

    with pytest.raises(RunFailed, match="no credit"):
        durable.generate("Go.", timeout=20)
    durable.close()


def test_a_run_of_a_killed_process_is_picked_up_by_the_next(redis_server: RedisServer) -> None:
    with process(redis_server, "left-1", "start") as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "speaking\n"
        first.kill()
    durable = create_durable_agent(speaker, redis_url=redis_server.url)
    durable.start()

    run = durable.observe("left-1")
    result = run.result(timeout=30)
    durable.close()

    assert result.text == TEXT
    assert [c.payload.reason for c in run if isinstance(c, StepReset)] == ["crash"]


def test_a_process_that_exits_hands_its_runs_back_and_names_them(
    redis_server: RedisServer,
) -> None:
    with process(redis_server, "left-2", "leave") as first:
        _, errors = first.communicate(timeout=30)
    durable = create_durable_agent(speaker, redis_url=redis_server.url)
    durable.start()
    result = durable.observe("left-2").result(timeout=30)
    durable.close()

    assert "left-2" in errors
    assert result.text == TEXT
