"""What one run may choose, what its tools know of it, and what readers see of it."""

import asyncio
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from evented_agent import (
    Agent,
    DeclarationError,
    DurableAgent,
    RunFailed,
    Settings,
    ToolContext,
    create_durable_agent,
    tool,
)
from evented_agent.chunks import Start
from evented_agent.errors import ModelError
from evented_agent.models import UserMessage
from evented_agent.testing import ScriptedModel, tool_call
from tests.support.servers import RedisServer

Make = Callable[..., DurableAgent]


@tool
def who(ctx: ToolContext) -> list[Any]:
    """Say whose run it is."""
    return [ctx.agent, ctx.thread_id, ctx.resource_id]


@tool(isolate=True)
def who_apart(ctx: ToolContext) -> list[Any]:
    """Say whose run it is."""
    return [ctx.agent, ctx.thread_id, ctx.resource_id]


@pytest.fixture
def make(redis_server: RedisServer) -> Iterator[Make]:
    made: list[DurableAgent] = []

    def new(**options: Any) -> DurableAgent:
        settings = Settings(prefix=f"o{uuid.uuid4().hex[:8]}")
        agent = Agent(id="one", tools=[who, who_apart], **options)
        made.append(create_durable_agent(agent, redis_url=redis_server.url, settings=settings))
        return made[-1]

    yield new
    for each in made:
        each.close()  # type: ignore[attr-defined]


def models() -> list[ScriptedModel]:
    away = ScriptedModel([ModelError("away")], name="test/away")
    return [ScriptedModel(["First."], name="test/first"), away]


def test_a_run_chooses_among_the_agent_s_models(make: Make) -> None:
    agent = make(model=[*models(), ScriptedModel(["Last."], name="test/last")])
    assert agent.stream("Hi").result(timeout=20).text == "First."
    assert agent.stream("Hi", model="test/last").result(timeout=20).text == "Last."
    # What it falls back on are the others, in their order.
    assert agent.stream("Hi", model="test/away").result(timeout=20).text == "First."


def test_a_model_that_the_agent_lacks_is_refused_by_name(make: Make) -> None:
    with pytest.raises(DeclarationError, match=r"no model 'x' \(it has: test/first, test/away\)"):
        make(model=models()).stream("Hi", model="x")


@pytest.mark.parametrize("name", ["who", "who_apart"])
def test_a_tool_knows_whose_run_it_is(make: Make, name: str) -> None:
    agent = make(model=ScriptedModel([[tool_call(name)], "Done."]))
    result = agent.stream("Hi", thread_id="t", resource_id="ann").result(timeout=20)
    assert result.steps[0].results[0].result == ["one", "t", "ann"]


def test_the_input_of_a_live_run_can_be_read(make: Make) -> None:
    agent = make(model=ScriptedModel(["Hi."]))
    run = agent.stream("Hello?")
    assert agent.get(run.run_id).input == [UserMessage(content="Hello?")]
    start = next(iter(run))
    assert isinstance(start, Start)
    assert start.payload.input == [{"role": "user", "content": "Hello?"}]
    long = agent.stream("x" * 70_000)
    start = next(iter(long))
    assert isinstance(start, Start)
    assert start.payload.input is None
    assert agent.get(long.run_id).input == [UserMessage(content="x" * 70_000)]


def test_a_loop_over_the_text_of_a_failed_run_says_so(make: Make) -> None:
    agent = make(model=ScriptedModel([ModelError("away")]))
    run = agent.stream("Hi")
    with pytest.raises(RunFailed, match="away"):
        list(run.text_parts())

    async def read() -> None:
        async for _ in (await agent.aobserve(run.run_id)).text_parts():
            pass

    with pytest.raises(RunFailed, match="away"):
        asyncio.run(read())


def test_a_model_that_says_nothing_is_told_of(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    # A worker that another test started in this process may have silenced all warnings.
    caplog.set_level("WARNING", logger="evented_agent")
    run = make(model=ScriptedModel([""], name="test/mute")).stream("Hi")
    assert run.result(timeout=20).text == ""
    expected = f"test/mute finished with nothing (stop) in step 1 of run {run.run_id}"
    assert expected in [record.getMessage() for record in caplog.records]
