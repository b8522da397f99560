"""Promises of the guides that no other test sees: on the in-process engine."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from evented_agent import (
    Agent,
    Background,
    DurableAgent,
    RunAborted,
    RunFailed,
    Settings,
    Thread,
    Window,
    create_durable_agent,
    tool,
)
from evented_agent.errors import ModelError
from evented_agent.ledger.records import Task
from evented_agent.ledger.runs import read
from evented_agent.models.messages import Message, UserMessage
from evented_agent.models.protocol import ModelRequest
from evented_agent.testing import ScriptedModel, tool_call
from evented_agent.testing.scripted import Scripted
from tests.support.servers import RedisServer
from tests.support.workers import wait_until

Serve = Callable[..., DurableAgent]
GATE = threading.Event()


@pytest.fixture
def serve(redis_server: RedisServer) -> Iterator[Serve]:
    started: list[DurableAgent] = []

    def serve(agent: Agent, **settings: int) -> DurableAgent:
        chosen = Settings(prefix="promises", **settings)  # type: ignore[arg-type]
        started.append(create_durable_agent(agent, redis_url=redis_server.url, settings=chosen))
        return started[-1]

    GATE.clear()
    yield serve
    GATE.set()
    for each in started:
        each.close()  # type: ignore[attr-defined]


def tasks(durable: DurableAgent, run_id: str) -> Sequence[Task]:
    """What of a run is under way."""
    door = durable.client
    return door.ledger.send(read(door.keys, run_id)).tasks


@tool(requires_approval=True)
def erase(name: str) -> str:
    """Erase something."""
    return f"erased {name}"


@tool(requires_approval=True, expiry=8)
def hurried() -> str:
    """Be decided about soon: the last tenth is longer than a watchdog looks away."""
    return "done"


@tool(background=Background(when_full="reject"))
async def rejecting() -> str:
    """Take a place, or none."""
    while not GATE.is_set():
        await asyncio.sleep(0.01)
    return "apart"


@tool(background=Background(when_full="foreground"))
async def yielding() -> str:
    """Run here where there is no place."""
    return "done"


def test_a_run_that_waits_for_its_model_is_aborted_at_once(serve: Serve) -> None:
    away = ModelError("busy", retryable=True, retry_after=50)
    durable = serve(Agent(id="away", model=ScriptedModel([away])))
    run = durable.stream("Go.")
    wait_until(lambda: [t.retries for t in tasks(durable, run.run_id)] == [1], "it waits")
    run.abort()
    with pytest.raises(RunAborted):
        run.result(10)


def asking() -> Agent:
    return Agent(
        id="asking", model=ScriptedModel([[tool_call("erase", name="a")], "done"]), tools=[erase]
    )


def test_a_stream_decides_and_goes_on(serve: Serve) -> None:
    run = serve(asking()).stream("Go.")
    assert [chunk.type for chunk in run][-2:] == ["tool-call-approval", "run-waiting"]
    run.approve(by="ann")
    assert [chunk.type for chunk in run][-1] == "finish"


def test_an_async_stream_decides_and_goes_on(serve: Serve) -> None:
    durable = serve(asking())

    async def decide() -> list[str]:
        run = await durable.astream("Go.")
        async for _ in run:
            pass
        await run.decline(reason="no")
        return [chunk.type async for chunk in run]

    assert asyncio.run(decide())[-1] == "finish"


def test_a_stream_may_stay_open_while_people_decide(serve: Serve) -> None:
    run = serve(asking()).stream("Go.", close_on_suspend=False)
    types = []
    for chunk in run:
        types.append(chunk.type)
        if chunk.type == "tool-call-approval":
            threading.Timer(0.5, run.approve).start()
    assert types[-1] == "finish"


def test_people_are_warned_before_a_call_expires(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    model = ScriptedModel([[tool_call("hurried")], "done"])
    run = serve(Agent(id="hurried", model=model, tools=[hurried])).stream("Go.")
    with caplog.at_level(logging.WARNING):
        wait_until(lambda: "nobody has decided" in caplog.text, "people are warned")
    assert run.status == "suspended"
    assert run.run_id in caplog.text


class Elsewhere:
    """Threads in a dict; its first save fails."""

    def __init__(self) -> None:
        self.saved: dict[str, Sequence[Message]] = {}
        self.fails = True

    async def load(self, thread: Thread, window: Window) -> Sequence[Message]:
        assert (thread, window) == (Thread("t", "ann"), Window())
        return [UserMessage(content="before")]

    async def save(self, thread: Thread, run_id: str, messages: Sequence[Message]) -> None:
        self.saved[run_id] = messages
        if self.fails:
            self.fails = False
            raise OSError("the disk is full")


def test_a_memory_of_the_user_s_is_loaded_and_saved_and_may_fail(serve: Serve) -> None:
    def count(request: ModelRequest) -> str:
        return f"{len(request.messages)} messages"

    memory = Elsewhere()
    durable = serve(Agent(id="elsewhere", model=ScriptedModel([count]), memory=memory))
    run = durable.stream("Go.", thread_id="t", resource_id="ann")
    with pytest.raises(RunFailed, match="the disk is full"):
        run.result(20)
    wait_until(lambda: not tasks(durable, run.run_id), "all that follows the end is done")
    assert durable.retry(run.run_id).result(20).answer == "2 messages"
    assert [message.role for message in memory.saved[run.run_id]] == ["user", "assistant"]


def full(serve: Serve, second: str) -> tuple[DurableAgent, str]:
    """A run whose second call finds the only place taken."""
    script: list[Scripted] = [[tool_call("rejecting")], [tool_call(second)], "done"]
    agent = Agent(id=f"full-{second}", model=ScriptedModel(script), tools=[rejecting, yielding])
    durable = serve(agent, background_concurrency=1)
    holder = durable.stream("Go.", max_steps=1, until_idle=30)
    wait_until(
        lambda: [t.status for t in durable.background_tasks(holder.run_id)] == ["running"],
        "the place is taken",
    )
    return durable, durable.stream("Go.", until_idle=30).run_id


def test_a_call_is_rejected_where_there_is_no_place(serve: Serve) -> None:
    durable, run_id = full(serve, "rejecting")
    result = durable.observe(run_id).result(20)
    errors = [each.result for step in result.steps for each in step.results if each.is_error]
    assert {error.partition(":")[0] for error in errors} == {"TooManyCalls"}


def test_a_call_runs_in_the_foreground_where_there_is_no_place(serve: Serve) -> None:
    durable, run_id = full(serve, "yielding")
    types = [chunk.type for chunk in durable.observe(run_id)]
    assert "background-task-started" not in types
    assert durable.observe(run_id).result(20).steps[1].results_by_call["call_2_0"].result == "done"
