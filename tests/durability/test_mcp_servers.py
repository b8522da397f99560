"""MCP servers of workers, either of which is killed; nothing is repeated that must not be."""

import os
import signal
from pathlib import Path

import pytest

from evented_agent import EventedAgent, Runs, RunStream
from tests.conftest import StartWorker
from tests.durability.conftest import Doom
from tests.mcp.servers import count, is_alive, pids
from tests.support.proxy import Moment
from tests.support.workers import wait_until

Agents = dict[str, EventedAgent]


@pytest.fixture(scope="module")
def worker_app() -> str:
    return "tests.durability.mcp_app"


def begin(agents: Agents, marks: Path, tool: str, agent: str = "customer") -> tuple[RunStream, int]:
    """Begin a run that is in a call which waits; and the process of the server that it is in."""
    run = agents[agent].stream(f"shop_{tool}")
    [pid] = wait_until(lambda: pids(marks, tool), "the call is under way", 30)
    return run, pid


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_workers_of_each_pool_call_an_mcp_server(
    pool: str, agents: Agents, start_worker: StartWorker, marks: Path
) -> None:
    start_worker(pool=pool, concurrency=2)
    ask = 'shop_price {"item": "tea"}'

    assert agents["customer"].generate(ask, timeout=30).answer == "{'price': 3}"
    assert agents["customer"].generate(ask, timeout=30).answer == "{'price': 3}"
    # One for each process that had a task of these runs.
    assert count(marks, "started") <= 2


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_a_call_that_only_reads_is_made_again_by_another_worker(
    pool: str, agents: Agents, start_worker: StartWorker, marks: Path
) -> None:
    worker = start_worker("w1", pool=pool, concurrency=2)
    run, pid = begin(agents, marks, "slow_read")
    worker.kill()

    wait_until(lambda: not is_alive(pid), "the server is gone with its worker")
    start_worker("w2", pool=pool, concurrency=2)
    assert run.result(timeout=30).answer == "done"
    assert count(marks, "slow_read") == 2


def test_a_call_that_may_act_is_asked_about(
    agents: Agents, runs: Runs, start_worker: StartWorker, marks: Path
) -> None:
    worker = start_worker("w1")
    run, pid = begin(agents, marks, "slow_write")
    worker.kill()
    wait_until(lambda: not is_alive(pid), "the server is gone with its worker")
    start_worker("w2")
    [pending] = wait_until(lambda: runs.get(run.run_id).pending, "a person is asked")

    assert pending.kind == "crash"
    assert count(marks, "slow_write") == 1
    agents["customer"].resume(run.run_id, {"action": "result", "result": "it was done"})
    assert run.result(timeout=30).answer == "it was done"


def test_a_server_that_is_killed_in_a_call_is_an_error(
    agents: Agents, start_worker: StartWorker, marks: Path
) -> None:
    worker = start_worker()
    run, pid = begin(agents, marks, "slow_read")
    os.kill(pid, signal.SIGKILL)

    assert run.result(timeout=30).answer.startswith("error MCPServerUnavailable: The MCP server")
    assert worker.process.poll() is None
    ask = 'shop_price {"item": "tea"}'
    assert agents["customer"].generate(ask, timeout=30).answer == "{'price': 3}"


def test_a_server_that_is_killed_in_a_call_is_tried_again_where_that_is_declared(
    agents: Agents, start_worker: StartWorker, marks: Path
) -> None:
    start_worker()
    run, pid = begin(agents, marks, "slow_read", agent="retrying")
    os.kill(pid, signal.SIGKILL)

    assert run.result(timeout=30).answer == "done"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="Processes are read from /proc")
def test_a_server_does_not_outlive_its_guard(
    agents: Agents, start_worker: StartWorker, marks: Path
) -> None:
    start_worker()
    run, pid = begin(agents, marks, "slow_read")
    guard = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(guard, signal.SIGKILL)

    wait_until(lambda: not is_alive(pid), "the server is gone")
    assert run.result(timeout=30).answer.startswith("error MCPServerUnavailable")


def test_a_server_is_gone_after_its_worker_was_stopped(
    agents: Agents, start_worker: StartWorker, marks: Path
) -> None:
    worker = start_worker()
    agents["customer"].generate('shop_price {"item": "tea"}', timeout=30)
    [pid] = pids(marks, "started")
    worker.terminate()

    assert worker.process.wait(timeout=20) == 0
    wait_until(lambda: not is_alive(pid), "the server is gone")


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_run_keeps_one_list_wherever_its_worker_is_killed(
    moment: Moment,
    agents: Agents,
    runs: Runs,
    doom: Doom,
    start_worker: StartWorker,
    marks: Path,
) -> None:
    run_id = f"list-{moment}"
    with doom(run_id, lambda write: write.script == "blob", moment) as killed:
        agents["lister"].stream("List.", run_id=run_id, queue=run_id)
        assert killed.wait(30)
        # Whoever asks the server from now on gets another list.
        (marks / "changed").touch()
    start_worker("w2", queue=run_id, env={"TEST_QUEUES": run_id})

    answer = runs.observe(run_id, timeout=30).result().answer
    assert ("shop_buy" in answer) == (moment == "after")
