"""An application whose modules hold their agents is tested without its Redis, broker or workers."""

import asyncio
import datetime
import unittest
from collections.abc import Iterator

import freezegun
import pytest
from celery import Celery

from evented_agent import (
    Agent,
    LedgerUnavailable,
    RunEvent,
    RunFailed,
    Runs,
    Settings,
    create_durable_agent,
    create_evented_agent,
    tool,
)
from evented_agent.testing import ScriptedModel, divert_agents, tool_call
from evented_agent.testing.fixtures import diverted_agents, embedded_redis_url

__all__ = ["diverted_agents", "embedded_redis_url"]

NOWHERE = "redis://127.0.0.1:1/0"
told: list[str] = []


@tool(requires_approval=True)
def refund(order: int) -> str:
    """Refund an order."""
    return f"refunded {order}"


def on_finish(event: RunEvent) -> None:
    told.append(event.text)


# What an application has in its modules: apps, brokers and Redis that no test may reach.
app = Celery("shop", broker=NOWHERE, backend=NOWHERE)
clerk = Agent(id="clerk", model="openai/gpt-5.5", tools=[refund], on_finish=on_finish)
evented = create_evented_agent(clerk, app=app, settings=Settings(prefix="shop", shards=3))
other_app = Celery("other", broker="amqp://nobody@127.0.0.1:1//")
cook = create_evented_agent(
    Agent(id="cook", model="openai/gpt-5.5"), app=other_app, redis_url=NOWHERE
)
local = create_durable_agent(Agent(id="local", model="openai/gpt-5.5"), redis_url=NOWHERE)


@pytest.fixture
def scripted() -> Iterator[None]:
    model = ScriptedModel([[tool_call("refund", order=7)], "Refunded."])
    with clerk.override(model=model):
        yield


def test_every_agent_of_the_process_is_diverted(diverted_agents: str, scripted: None) -> None:
    run = evented.stream("Refund order 7.", resource_id="ann", thread_id="t")
    assert run.result(20).status == "suspended"
    [pending] = Runs.of(app).pending(resource_id="ann")
    evented.approve(run.run_id, by="bob")
    assert run.result(20).text == "Refunded."
    assert pending.tool_name == "refund"
    assert told[-1] == "Refunded."
    evented.delete(run.run_id)
    for durable, agent in ((cook, cook.agent), (local, local.agent)):
        with agent.override(model=ScriptedModel(["Hello."])):
            assert durable.generate("Hi", timeout=20).text == "Hello."


def test_a_test_sees_nothing_of_another(diverted_agents: str) -> None:
    for runs in (Runs.of(app), local, Runs(diverted_agents, settings=Settings(prefix="shop"))):
        assert runs.list() == []


def test_real_models_are_blocked(diverted_agents: str) -> None:
    with pytest.raises(RunFailed, match="forbids real models here"):
        evented.generate("Hi", timeout=20)


def test_event_loops_are_diverted_as_well(diverted_agents: str, scripted: None) -> None:
    async def ask() -> list[str]:
        run = await evented.astream("Refund order 7.")
        return [chunk.type async for chunk in run]

    assert asyncio.run(ask())[-1] == "run-waiting"


def test_after_the_block_all_is_as_before(scripted: None) -> None:
    with divert_agents():
        assert evented.stream("Hi").result(20).status == "suspended"
    with pytest.raises(LedgerUnavailable, match="could not be reached"):
        evented.stream("Hi")


def test_time_that_stands_still_for_a_test_goes_on_for_agents(
    diverted_agents: str, scripted: None
) -> None:
    with freezegun.freeze_time("2020-02-02"):
        run = evented.stream("Refund order 7.")
        assert run.result(20).status == "suspended"
        assert datetime.date.today() == datetime.date(2020, 2, 2)  # noqa: DTZ011
        run.approve()
        assert run.result(20).text == "Refunded."


class UnittestTests(unittest.TestCase):
    def setUp(self) -> None:
        self.enterContext(divert_agents())

    def test_a_case_of_unittest_is_diverted(self) -> None:
        with cook.agent.override(model=ScriptedModel(["Hello."])):
            assert cook.generate("Hi", timeout=20).text == "Hello."
