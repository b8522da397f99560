"""People decide hours later, from anywhere, twice and at once: each call runs once at most."""

import random
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from evented_agent import EventedAgent, RunAborted, RunConflict, RunFailed, Runs, RunStream
from tests.conftest import StartWorker
from tests.support.workers import WorkerProcess, wait_until

Agents = dict[str, EventedAgent]


@pytest.fixture(scope="module")
def worker_app() -> str:
    return "tests.durability.people_app"


def lines(marks: Path, name: str) -> list[str]:
    file = marks / name
    return file.read_text().splitlines() if file.exists() else []


def suspended(run: RunStream) -> None:
    wait_until(lambda: run.status == "suspended", "the run waits for a person", 30)


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_an_approval_survives_the_death_of_every_process(
    pool: str, agents: Agents, runs: Runs, start_worker: StartWorker, marks: Path
) -> None:
    first = start_worker("w1", pool=pool, concurrency=2)
    run = agents["toolbox"].stream('erase {"name": "a"}')
    suspended(run)
    first.kill()
    agents["toolbox"].approve(run.run_id, by="ann")
    start_worker("w2", pool=pool, concurrency=2)

    assert run.result(timeout=30).answer == "erased a"
    assert len(lines(marks, "erase")) == 1


def test_a_worker_killed_after_the_answer_asks_nobody_again(
    agents: Agents, start_worker: StartWorker, marks: Path
) -> None:
    workers = [start_worker("w1")]
    run = agents["toolbox"].stream('ask {"question": "Really?"}')
    suspended(run)
    workers[0].kill()
    agents["toolbox"].resume(run.run_id, "yes")
    start_worker("w2")

    assert run.result(timeout=30).answer == "They say yes."
    assert len(lines(marks, "ask")) == 1


DECISIONS = {
    "rerun": ({"action": "rerun"}, "transferred in attempt 2", 2),
    "fail": ({"action": "fail", "reason": "It went through."}, "It went through.", 1),
    "result": ({"action": "result", "result": "done by hand"}, "done by hand", 1),
}


@pytest.mark.parametrize("decision", DECISIONS)
@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_a_person_says_what_becomes_of_an_interrupted_call(
    decision: str, how: str, agents: Agents, start_worker: StartWorker, marks: Path
) -> None:
    data, told, times = DECISIONS[decision]
    workers = [start_worker(name, env={"TEST_GRACE": "0"}) for name in ("w1", "w2")]
    run = agents["clerk"].stream('transfer {"seconds": 3}')
    wait_until(lambda: lines(marks, "transfer"), "the transfer has begun")
    speaker = wait_until(lambda: agents["clerk"].get(run.run_id).worker, "a worker runs it")
    [busy] = [worker for worker in workers if speaker.startswith(f"{worker.name}@")]
    end(busy, how)
    suspended(run)
    [pending] = run.pending

    assert pending.kind == "crash"
    agents["clerk"].resume(run.run_id, data)
    assert told in run.result(timeout=30).answer
    assert len(lines(marks, "transfer")) == times


def end(worker: WorkerProcess, how: str) -> None:
    if how == "killed":
        worker.kill()
    else:
        worker.terminate()


def decide(calls: list[tuple[str, str]]) -> int:
    """Approve calls from a process of its own; how many it was not the first to decide."""
    from tests.support.app import evented

    refused = 0
    for run_id, call in calls:
        try:
            evented["toolbox"].approve(run_id, tool_call_id=call)
        except RunConflict:
            refused += 1
    return refused


def test_a_hundred_approvals_from_two_processes_run_each_call_once(
    agents: Agents, start_worker: StartWorker, marks: Path
) -> None:
    start_worker(concurrency=50)
    asked = "\n".join(f'erase {{"name": "n{n}"}}' for n in range(10))
    started = [agents["toolbox"].stream(asked) for _ in range(10)]
    for run in started:
        suspended(run)
    calls = [(run.run_id, each.tool_call_id) for run in started for each in run.pending]
    assert len(calls) == 100
    chance = random.Random(7)
    shares = [calls[:60], calls[40:]]
    for share in shares:
        chance.shuffle(share)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
        assert list(processes.map(decide, shares)) == [0, 0]

    for run in started:
        assert run.result(timeout=60).status == "finished"
    assert len(lines(marks, "erase")) == 100
    assert len(set(lines(marks, "erase"))) == 100


def test_a_call_nobody_decides_about_expires(
    agents: Agents, start_worker: StartWorker, marks: Path
) -> None:
    start_worker()
    declined = agents["clerk"].stream('hurried {"what": "a"}')
    failed = agents["clerk"].stream('urgent {"what": "a"}')

    wait_until(lambda: declined.status == "finished", "the call was declined")
    assert "Nobody decided within 1 s." in declined.result(timeout=10).answer
    wait_until(lambda: failed.status == "failed", "the run failed")
    with pytest.raises(RunFailed, match="SuspensionExpired"):
        failed.result(timeout=10)
    assert lines(marks, "hurried") == []


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_terminating_a_task_aborts_its_run(
    pool: str, agents: Agents, start_worker: StartWorker
) -> None:
    from tests.support.app import app

    worker = start_worker(pool=pool, concurrency=2)
    run = agents["speaker"].stream("Go.")
    wait_until(lambda: run.status == "running", "it runs")
    app.control.revoke(f"{run.run_id}:1:model:1", terminate=True)

    with pytest.raises(RunAborted, match="aborted"):
        run.result(timeout=20)
    assert list(run)[-1].type == "abort"
    assert agents["hello"].generate("Hi.", timeout=20).status == "finished"
    assert worker.process.poll() is None


def test_revoking_a_queued_task_aborts_its_run(agents: Agents, start_worker: StartWorker) -> None:
    from tests.support.app import app

    start_worker()
    run = agents["toolbox"].stream('wait {"seconds": 1}')
    app.control.revoke(f"{run.run_id}:2:model:1")
    with pytest.raises(RunAborted):
        run.result(timeout=20)
