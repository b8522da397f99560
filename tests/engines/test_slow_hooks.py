"""Hooks that fail or take their time: readers have the answer, and steps go on."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from evented_agent import Agent, InProcessAgent, RunEvent, create_durable_agent, tool
from evented_agent.chunks import AnyChunk, StepFinish
from evented_agent.models.protocol import ModelRequest
from evented_agent.testing import ScriptedModel, tool_call
from tests.support.servers import RedisServer
from tests.support.workers import wait_until

Serve = Callable[[Agent], InProcessAgent]


@pytest.fixture
def serve(redis_server: RedisServer) -> Iterator[Serve]:
    served: list[InProcessAgent] = []

    def start(agent: Agent) -> InProcessAgent:
        served.append(create_durable_agent(agent, redis_url=redis_server.url))
        return served[-1]

    yield start
    for durable in served:
        durable.close()


@tool(requires_approval=True)
def erase(name: str) -> str:
    """Erase something."""
    return f"erased {name}"


@dataclass
class Total:
    total: float


def is_last(chunk: AnyChunk) -> bool:
    return isinstance(chunk, StepFinish) and chunk.payload.last


def test_the_last_step_finish_comes_before_the_hook_has_returned(serve: Serve) -> None:
    gate = threading.Event()

    def on_finish(event: RunEvent) -> None:
        assert gate.wait(30)

    durable = serve(Agent(id="slow-hook", model=ScriptedModel(["Hello."]), on_finish=on_finish))
    run = durable.stream("Hi")
    chunks = iter(run)

    seen = [next(chunks)]
    while not is_last(seen[-1]):
        seen.append(next(chunks))
    assert durable.get(run.run_id).status == "running"
    gate.set()
    rest = [chunk.type for chunk in chunks]
    assert rest == ["finish"]


def test_a_failing_hook_withdraws_nothing_and_is_called_again(serve: Serve) -> None:
    calls: list[str] = []

    def on_finish(event: RunEvent) -> None:
        calls.append(event.key)
        if len(calls) < 2:
            raise OSError("the line is busy")

    durable = serve(Agent(id="failing-hook", model=ScriptedModel(["Hello."]), on_finish=on_finish))
    run = durable.stream("Hi")
    types = [chunk.type for chunk in run]

    assert types[-2:] == ["step-finish", "finish"]
    assert types.count("step-finish") == 1
    assert "step-reset" not in types
    assert calls == [f"{run.run_id}:finish"] * 2


def test_a_run_without_hooks_says_so_as_well(serve: Serve) -> None:
    durable = serve(
        Agent(
            id="two-steps",
            model=ScriptedModel([[tool_call("erase", name="a")], "Done."]),
            tools=[erase],
        )
    )
    run = durable.stream("Go.")
    run.result(20)
    run.decline()
    chunks = list(durable.observe(run.run_id))

    assert [c.payload.last for c in chunks if isinstance(c, StepFinish)] == [False, True]


def test_an_answer_that_is_not_of_its_type_is_not_told_as_complete(serve: Serve) -> None:
    def answer(request: ModelRequest) -> str:
        return '{"total": 7}' if len(request.messages) > 1 else "nonsense"

    durable = serve(
        Agent(
            id="typed-hook",
            model=ScriptedModel([answer]),
            output_type=Total,
            on_finish=lambda event: None,
        )
    )
    run = durable.stream("Hi")
    types = [(chunk.type, is_last(chunk)) for chunk in run]

    assert [last for type_, last in types if type_ == "step-finish"] == [False, True]
    assert run.result().output == Total(7.0)


def test_a_hook_of_a_suspension_holds_back_the_end_and_no_step(serve: Serve) -> None:
    gate = threading.Event()
    told: list[str] = []

    def on_suspended(event: RunEvent) -> None:
        told.append("begun")
        assert gate.wait(30)
        told.append("done")

    durable = serve(
        Agent(
            id="slow-ask",
            model=ScriptedModel([[tool_call("erase", name="a")], "Done."]),
            tools=[erase],
            on_suspended=on_suspended,
        )
    )
    run = durable.stream("Go.")
    run.result(20)
    wait_until(lambda: told, "the hook is called")
    run.approve()

    wait_until(lambda: durable.result(run.run_id).text == "Done.", "the step has gone on")
    assert durable.get(run.run_id).status == "running"
    assert told == ["begun"]
    gate.set()
    assert run.result(20).text == "Done."
    assert told == ["begun", "done"]


def test_a_failing_hook_of_a_suspension_holds_back_no_step(serve: Serve) -> None:
    told: list[str] = []

    def on_suspended(event: RunEvent) -> None:
        told.append(event.key)
        raise OSError("the line is busy")

    durable = serve(
        Agent(
            id="failing-ask",
            model=ScriptedModel([[tool_call("erase", name="a")], "Done."]),
            tools=[erase],
            on_suspended=on_suspended,
        )
    )
    run = durable.stream("Go.")
    run.result(20)
    wait_until(lambda: told, "the hook is called")
    run.approve()
    assert run.result(30).text == "Done."
    assert len(told) == 3
