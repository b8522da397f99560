"""A function for instructions is asked once a turn, whatever happens; what it gave is kept."""

import itertools
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from evented_agent import Agent, DurableAgent, RunFailed, Settings, create_durable_agent, tool
from evented_agent.errors import ModelError
from evented_agent.models import ModelRequest, UserMessage
from evented_agent.testing import ScriptedModel, tool_call
from tests.support.servers import RedisServer

Make = Callable[..., DurableAgent]


@tool
def look() -> str:
    """Look."""
    return "seen"


@pytest.fixture
def make(redis_server: RedisServer) -> Iterator[Make]:
    made: list[DurableAgent] = []

    def new(**options: Any) -> DurableAgent:
        settings = Settings(prefix=f"i{uuid.uuid4().hex[:8]}")
        agent = Agent(id="told", tools=[look], **options)
        made.append(create_durable_agent(agent, redis_url=redis_server.url, settings=settings))
        return made[-1]

    yield new
    for each in made:
        each.close()  # type: ignore[attr-defined]


def test_steps_and_retries_of_a_turn_are_told_the_same(make: Make) -> None:
    numbers = itertools.count(1)
    told: list[str] = []
    failures = iter([True, False, False])

    def step(request: ModelRequest) -> Any:
        told.append(request.instructions)
        if next(failures):
            raise ModelError("Oh.", retryable=True)
        return [tool_call("look")] if len(told) == 2 else "Done."

    agent = make(
        model=ScriptedModel([step]),
        instructions=lambda context: f"{context['who']} {next(numbers)}",
    )
    agent.stream("Hi", context={"who": "ann"}).result(timeout=20)
    assert told == ["ann 1"] * 3


def test_an_empty_text_counts_and_another_run_asks_anew(make: Make) -> None:
    asked: list[int] = []

    def instructions(_: Any) -> str:
        asked.append(1)
        return ""

    model = ScriptedModel([[tool_call("look")], "Done."])
    agent = make(model=model, instructions=instructions)
    for _ in range(2):
        agent.stream("Hi").result(timeout=20)
    assert len(asked) == 2
    assert {request.instructions for request in model.requests} == {""}


def test_what_is_no_text_fails_the_run_with_a_word(make: Make) -> None:
    agent = make(model=ScriptedModel(["Hi"]), instructions=lambda _: 3)
    with pytest.raises(RunFailed, match=r"gave 3\. Return text"):
        agent.stream("Hi").result(timeout=20)


def test_an_override_asks_no_function(make: Make) -> None:
    def never(_: Any) -> str:
        raise AssertionError("asked")

    agent = make(model=ScriptedModel([lambda request: request.instructions]), instructions=never)
    messages = [UserMessage(content="Hi")]
    assert agent.stream(messages, instructions="Mine.").result(timeout=20).text == "Mine."
