"""Deploys: workers end and begin, versions change, under runs that go on."""

from pathlib import Path

import pytest

from evented_agent import EventedAgent, Runs, RunStream
from evented_agent.chunks import StepReset
from tests.conftest import StartWorker
from tests.durability.outcomes import consume
from tests.support.words import TEXT
from tests.support.workers import WorkerProcess, wait_until

Agents = dict[str, EventedAgent]


def resets_of(agents: Agents, run: RunStream) -> list[str]:
    chunks = agents["speaker"].observe(run.run_id)
    return [chunk.payload.reason for chunk in chunks if isinstance(chunk, StepReset)]


def stopped(worker: WorkerProcess, seconds: float = 30) -> None:
    wait_until(lambda: worker.process.poll() is not None, f"{worker.name} stopped", seconds)


def all_speak(runs: list[RunStream]) -> None:
    for run in runs:
        assert next(run.text_parts()).snapshot


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_a_rolling_restart_under_load_pays_no_token_twice(
    pool: str, agents: Agents, start_worker: StartWorker
) -> None:
    slots, count = (60, 50) if pool == "threads" else (6, 6)
    start = {"pool": pool, "concurrency": slots, "env": {"TEST_GRACE": "20"}}
    old = [start_worker(f"old{n}", **start) for n in (1, 2)]
    runs = [agents["speaker"].stream("Talk.") for _ in range(count)]
    all_speak(runs)
    for number, worker in enumerate(old):
        worker.terminate()
        start_worker(f"new{number}", **start)
        runs += [agents["speaker"].stream("Talk.") for _ in range(count // 10)]
    for worker in old:
        stopped(worker)

    for run in runs:
        assert run.result(timeout=60).text == TEXT
        assert resets_of(agents, run) == []


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_what_outlasts_the_grace_goes_on_elsewhere_at_once(
    pool: str, agents: Agents, start_worker: StartWorker
) -> None:
    slots, count = (20, 10) if pool == "threads" else (4, 3)
    start = {"pool": pool, "concurrency": slots}
    old = start_worker("old", **start, env={"TEST_GRACE": "0"})
    start_worker("new", **start, queue="later")
    runs = [agents["speaker"].stream("Talk.") for _ in range(count)]
    all_speak(runs)
    consume("agents", by="new")
    old.terminate()

    for run in runs:
        assert run.result(timeout=60).text == TEXT
        assert resets_of(agents, run) == ["shutdown"]
    stopped(old)


def test_the_next_version_of_an_agent_takes_over_runs_in_flight(
    agents: Agents, start_worker: StartWorker, marks: Path
) -> None:
    start_worker("old", env={"TEST_GRACE": "20"})
    worker = start_worker("new", queue="later", app="tests.durability.careful_app_2")
    run = agents["careful"].stream("Explore.")
    wait_until((marks / "careful").exists, "its tools run")
    consume("agents", by="old", stop=True)
    old_messages = len(marks.joinpath("careful-model").read_text().splitlines())
    consume("agents", by="new")
    result = run.result(timeout=60)

    assert old_messages == 1
    assert "That is all of version 2: There is nothing at home." in result.text
    assert worker.process.poll() is None


def test_a_worker_without_the_agent_leaves_its_runs_queued_and_says_so(
    agents: Agents, runs: Runs, start_worker: StartWorker
) -> None:
    other = start_worker("other", app="tests.support.app")
    run = agents["careful"].stream("Explore.")

    waiting = wait_until(lambda: runs.get(run.run_id).waiting_for, "the run says what it lacks")
    assert "a worker that serves agent 'careful'" in waiting
    assert agents["hello"].generate("Hi.", timeout=20).text == "Hello, world."
    start_worker("right")
    other.kill()
    assert run.result(timeout=60).status == "finished"


def test_a_worker_older_than_the_record_leaves_the_run_queued_and_says_so(
    agents: Agents, runs: Runs, start_worker: StartWorker
) -> None:
    run = agents["hello"].stream("Hi.")
    record = runs.keys.of(run.run_id).run
    runs.ledger.client().hset(record, "v", "99")
    start_worker()

    waiting = wait_until(lambda: runs.get(run.run_id).waiting_for, "the run says what it lacks")
    assert "a worker of a newer version (the run has format 99)" in waiting
    assert agents["hello"].generate("Hi.", timeout=20).text == "Hello, world."
    runs.ledger.client().hset(record, "v", "1")
    assert run.result(timeout=60).text == "Hello, world."
