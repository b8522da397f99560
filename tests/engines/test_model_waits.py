"""Providers that ask for a wait: it is bounded, and said; or the next model answers."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from evented_agent import Agent, DurableAgent, Settings, create_durable_agent
from evented_agent.chunks import RunWaiting, TextDelta
from evented_agent.errors import ModelError, RateLimited, RunFailed
from evented_agent.models import ModelRequest
from evented_agent.testing import ScriptedModel
from tests.support.servers import RedisServer
from tests.support.workers import wait_until

Make = Callable[..., DurableAgent]


@pytest.fixture
def make(redis_server: RedisServer) -> Iterator[Make]:
    made: list[DurableAgent] = []

    def new(**options: Any) -> DurableAgent:
        settings = Settings(prefix=f"w{uuid.uuid4().hex[:8]}")
        agent = Agent(id="waiter", **options)
        made.append(create_durable_agent(agent, redis_url=redis_server.url, settings=settings))
        return made[-1]

    yield new
    for each in made:
        each.close()  # type: ignore[attr-defined]


def busy(seconds: float | None, times: int = 1000) -> ScriptedModel:
    """A model that asks for a wait so often, and then answers."""
    left = [times]

    def reply(request: ModelRequest) -> str:
        left[0] -= 1
        if left[0] >= 0:
            raise RateLimited("Slow down.", retryable=True, retry_after=seconds, status=429)
        return "At last."

    return ScriptedModel([reply], name="scripted/busy")


def test_a_wait_that_is_too_long_means_the_next_model(make: Make) -> None:
    agent = make(model=[busy(86_400), ScriptedModel(["Me."])])
    assert agent.stream("Hi").result(timeout=20).text == "Me."


def test_a_wait_that_is_too_long_fails_where_there_is_no_other_model(make: Make) -> None:
    with pytest.raises(RunFailed) as failed:
        make(model=busy(61)).stream("Hi").result(timeout=20)
    assert failed.value.result.error.name == "RateLimited"
    assert "It asks to wait 61 s, and max_model_wait is 60 s" in str(failed.value)


def test_a_wait_is_said_while_it_lasts(make: Make) -> None:
    agent = make(model=busy(50))
    run = agent.stream("Hi")
    wait_until(lambda: agent.get(run.run_id).waiting_for is not None, "the wait is said")
    info = agent.get(run.run_id)
    assert "scripted/busy, which is asked again after 50.0 s: Slow down." in str(info.waiting_for)
    assert info.status == "running"
    waiting = next(chunk for chunk in run if isinstance(chunk, RunWaiting))
    assert (waiting.payload.waits_for, waiting.payload.calls) == ("model", [])
    assert waiting.payload.until is not None
    assert (waiting.payload.until - info.updated_at).total_seconds() == pytest.approx(50, abs=2)
    assert waiting.wire()["payload"]["for"] == "model"
    run.abort()


def test_a_run_goes_on_after_its_wait_and_readers_stay(make: Make) -> None:
    run = make(model=busy(0.2, times=2)).stream("Hi")
    kinds = [type(chunk) for chunk in run if isinstance(chunk, RunWaiting | TextDelta)]
    assert kinds == [RunWaiting, RunWaiting, TextDelta, TextDelta]
    assert run.result(timeout=20).text == "At last."


def test_an_error_without_advice_is_waited_for_no_longer_than_allowed(make: Make) -> None:
    error = ModelError("Oh.", retryable=True)
    agent = make(model=ScriptedModel([error]), max_model_wait=0.05, model_retries=3)
    with pytest.raises(RunFailed):
        agent.stream("Hi").result(timeout=20)
