"""Calls that run beside the steps of their run: on the in-process engine."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from evented_agent import (
    Agent,
    Background,
    DurableAgent,
    RunAborted,
    RunEvent,
    RunStream,
    ToolContext,
    create_durable_agent,
    tool,
)
from evented_agent.models.messages import SystemMessage, ToolMessage
from evented_agent.models.protocol import ModelRequest
from evented_agent.testing import ScriptedModel, tool_call
from tests.support.servers import RedisServer
from tests.support.workers import wait_until

GATES: dict[str, threading.Event] = {}


def gate(name: str) -> threading.Event:
    return GATES.setdefault(name, threading.Event())


@tool(background=True)
async def report(ctx: ToolContext, topic: str) -> str:
    """Write a long report."""
    ctx.emit({"topic": topic})
    while not gate(topic).is_set():
        await asyncio.sleep(0.01)
    return f"all about {topic}"


@tool(background=Background(disposition="awaited"))
async def fetch(topic: str) -> str:
    """Fetch something apart, and wait for it."""
    return f"fetched {topic}"


@tool(background=Background(wait_timeout=0.3))
async def hopeless() -> str:
    """Take too long."""
    await asyncio.sleep(60)
    return "never"


@tool
def look(topic: str) -> str:
    """Look something up."""
    return f"saw {topic}"


def follow(request: ModelRequest) -> str:
    last = request.messages[-1]
    if isinstance(last, SystemMessage):
        results = [m.result for m in request.messages if isinstance(m, ToolMessage)]
        return f"It is here: {'; '.join(map(str, results))}."
    return "It is being written."


def agent_of(*calls: object, **options: object) -> Agent:
    return Agent(
        id="writer",
        model=ScriptedModel([list(calls), follow]),  # type: ignore[arg-type]
        tools=[report, fetch, hopeless, look],
        **options,  # type: ignore[arg-type]
    )


@pytest.fixture(autouse=True)
def closed_gates() -> None:
    GATES.clear()


@pytest.fixture
def serve(redis_server: RedisServer) -> Iterator[object]:
    started: list[DurableAgent] = []

    def serve(*calls: object, **options: object) -> DurableAgent:
        durable = create_durable_agent(agent_of(*calls, **options), redis_url=redis_server.url)
        started.append(durable)
        return durable

    yield serve
    for each in started:
        each.close()  # type: ignore[attr-defined]


def read_until(run: RunStream, kind: str) -> list[str]:
    seen: list[str] = []
    for chunk in run:
        seen.append(chunk.type)
        if chunk.type == kind:
            break
    return seen


def test_the_chat_goes_on_while_a_deferred_call_runs(serve: object) -> None:
    durable = serve(tool_call("report", topic="cats"))  # type: ignore[operator]
    run = durable.stream("Go.", until_idle=True)
    types = read_until(run, "background-task-progress")

    assert "background-task-started" in types
    assert "finish" not in types
    gate("cats").set()
    rest = [chunk.type for chunk in run]
    assert "background-task-completed" in rest
    assert [kind for kind in types + rest if kind == "finish"] == ["finish"]
    result = run.result(20)
    assert result.text == "It is being written.\n\nIt is here: all about cats."
    assert [message.role for message in result.messages] == [
        *("user", "assistant", "tool", "assistant", "system", "assistant")
    ]


def test_two_completions_make_one_follow_up_turn(serve: object) -> None:
    durable = serve(tool_call("report", topic="a"), tool_call("report", topic="b"))  # type: ignore[operator]
    run = durable.stream("Go.", until_idle=5)
    read_until(run, "background-task-progress")
    gate("a").set()
    gate("b").set()
    result = run.result(20)
    assert result.answer == "It is here: all about a; all about b."
    assert len(result.steps) in (3, 4)


def test_an_awaited_call_is_waited_for(serve: object) -> None:
    durable = serve(tool_call("fetch", topic="cats"), tool_call("look", topic="dogs"))  # type: ignore[operator]
    run = durable.stream("Go.")
    types = [chunk.type for chunk in run]
    assert types.index("background-task-completed") < types.index("step-finish")
    assert run.result(20).steps[0].results_by_call["call_1_0"].result == "fetched cats"


def test_a_run_without_until_idle_drops_what_takes_too_long(serve: object) -> None:
    durable = serve(tool_call("hopeless"))  # type: ignore[operator]
    run = durable.stream("Go.")
    types = [chunk.type for chunk in run]
    assert types[-2:] == ["background-task-cancelled", "finish"]
    dropped = run.result(20).steps[0].results_by_call["call_1_0"]
    assert dropped.is_error
    assert dropped.result.startswith("Dropped: ")


def test_an_idle_time_that_is_over_ends_the_run(serve: object) -> None:
    durable = serve(tool_call("report", topic="never"))  # type: ignore[operator]
    run = durable.stream("Go.", until_idle=0.5)
    assert [chunk.type for chunk in run][-1] == "finish"


def test_nothing_overtakes_the_end_once_people_are_told_of_it(serve: object) -> None:
    told: list[str] = []

    def tell(event: RunEvent) -> None:
        told.append(event.text)
        gate("late").set()
        wait_until(lambda: not is_under_way(event.run_id), "the call has come to something")

    def is_under_way(run_id: str) -> bool:
        [call] = durable.background_tasks(run_id)
        return call.status in ("pending", "running")

    durable = serve(tool_call("report", topic="late"), on_finish=tell)  # type: ignore[operator]
    result = durable.stream("Go.", until_idle=0.5).result(20)
    assert told == [result.text]


def test_a_model_chooses_the_foreground(serve: object) -> None:
    gate("cats").set()
    durable = serve(  # type: ignore[operator]
        tool_call("report", topic="cats", _background={"disposition": "foreground"})
    )
    run = durable.stream("Go.")
    assert "background-task-started" not in [chunk.type for chunk in run]
    assert run.result(20).steps[0].results_by_call["call_1_0"].result == "all about cats"


def test_a_model_cannot_send_a_tool_to_the_background_that_does_not_go(serve: object) -> None:
    durable = serve(tool_call("look", topic="x", _background={"disposition": "deferred"}))  # type: ignore[operator]
    run = durable.stream("Go.")
    assert "background-task-started" not in [chunk.type for chunk in run]
    assert run.result(20).steps[0].results_by_call["call_1_0"].result == "saw x"


def test_an_agent_keeps_a_tool_in_the_foreground(serve: object) -> None:
    gate("cats").set()
    durable = serve(tool_call("report", topic="cats"), background={"report": False})  # type: ignore[operator]
    assert "background-task-started" not in [chunk.type for chunk in durable.stream("Go.")]


def test_an_abort_ends_the_deferred_calls_too(serve: object) -> None:
    durable = serve(tool_call("report", topic="cats"))  # type: ignore[operator]
    run = durable.stream("Go.", until_idle=True)
    read_until(run, "background-task-progress")
    run.abort()
    assert [chunk.type for chunk in run][-1] == "abort"
    with pytest.raises(RunAborted):
        run.result(20)
