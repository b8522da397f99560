"""Tools that ignore their timeout hold threads: that is seen, and no worker stays useless."""

import contextlib
import os
import threading
import time
from pathlib import Path

import pytest

from evented_agent import Agent, EventedAgent, Runs, create_durable_agent, tool
from evented_agent.testing import ScriptedModel
from tests.conftest import StartWorker
from tests.durability.outcomes import last
from tests.support.servers import RedisServer
from tests.support.workers import wait_until

Agents = dict[str, EventedAgent]


@pytest.fixture(scope="module")
def worker_app() -> str:
    return "tests.durability.stuck_app"


def hang(agents: Agents, name: str) -> str:
    return agents["stuck"].generate(f'hang {{"name": "{name}"}}', timeout=30).answer


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_a_worker_with_most_slots_held_leaves_for_another(
    pool: str, agents: Agents, runs: Runs, start_worker: StartWorker, marks: Path
) -> None:
    worker = start_worker("w1", pool=pool, concurrency=4, env={"TEST_GRACE": "1"})
    for _ in range(2):
        assert "use isolate=True" in hang(agents, "never")
    # Half of the slots are not most of them.
    wait_until(lambda: [w.abandoned for w in runs.workers()] == [2], "two are counted")
    assert worker.process.poll() is None
    # Its last step may be left for the worker that comes.
    third = agents["stuck"].stream('hang {"name": "never"}')

    assert worker.process.wait(timeout=30) == os.EX_TEMPFAIL
    assert "Tool hang of run" in worker.text()
    assert "in hang" in worker.text()
    assert "3 of 4 slots are held" in worker.text()
    wait_until(lambda: not runs.workers(), "nobody lists it")
    start_worker("w2", pool=pool, concurrency=2)
    assert "use isolate=True" in third.result(timeout=30).answer
    assert agents["hello"].generate("Hi.", timeout=20).text == "Hello, world."


def test_a_tool_that_comes_back_gives_its_slot_back(
    agents: Agents, runs: Runs, start_worker: StartWorker, marks: Path
) -> None:
    worker = start_worker(concurrency=4)
    assert "use isolate=True" in hang(agents, "home")
    wait_until(lambda: [w.abandoned for w in runs.workers()] == [1], "it is counted")
    (marks / "go-home").touch()

    wait_until(lambda: [w.abandoned for w in runs.workers()] == [0], "it came back")
    assert "came back after" in worker.text()


def test_sigterm_ends_a_worker_whose_thread_is_held(
    agents: Agents, start_worker: StartWorker, marks: Path
) -> None:
    worker = start_worker(concurrency=4, env={"TEST_GRACE": "1"})
    assert "use isolate=True" in hang(agents, "never")
    worker.terminate()

    assert worker.process.wait(timeout=20) == 0


def test_a_slot_of_a_limit_is_held_while_an_abandoned_call_runs(
    redis_server: RedisServer, environment: dict[str, str]
) -> None:
    from tests.support.agents import each_tool

    go, begun = threading.Event(), list[float]()

    # Long enough for its thread to begin, also on a busy machine.
    @tool(background=True, timeout=1.5)
    def apart(n: int) -> int:
        """Run past the timeout."""
        begun.append(time.monotonic())
        go.wait(20)
        return n

    agent = Agent(
        id="held",
        model=ScriptedModel([each_tool, "Both are under way."]),
        tools=[apart],
        background_concurrency=1,
    )
    durable = create_durable_agent(agent, redis_url=redis_server.url)
    with contextlib.closing(durable):
        run = durable.stream('apart {"n": 1}\napart {"n": 2}')
        failed = next(chunk for chunk in run if chunk.type == "background-task-failed")
        assert failed.payload.error is not None
        assert "use isolate=True" in failed.payload.error.message
        # Longer than a place is kept for a worker that died.
        last(6)
        assert len(begun) == 1, begun
        go.set()

        wait_until(lambda: len(begun) == 2, "the second has its turn")
        durable.client.abort(run.run_id)
