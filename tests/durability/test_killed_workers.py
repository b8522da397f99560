"""Workers die, freeze and are deployed in the middle of runs; readers notice a pause at most."""

import json
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from evented_agent import EventedAgent, Runs, RunStream
from evented_agent.chunks import StepReset
from tests.conftest import StartWorker
from tests.durability.outcomes import consume
from tests.support.stories import assert_told, drawn, shown, states_in
from tests.support.words import TEXT
from tests.support.workers import WorkerProcess, wait_until

Agents = dict[str, EventedAgent]


def read_up_to(run: RunStream, word: str) -> None:
    """Read until the answer has come to *word*."""
    for part in run.text_parts():
        if part.snapshot.endswith(word):
            return


def speaking(runs: Runs, run_id: str, workers: list[WorkerProcess]) -> WorkerProcess:
    """The worker that runs a task of this run."""
    owner = wait_until(lambda: runs.get(run_id).worker, "a worker runs it")
    return next(worker for worker in workers if owner.startswith(f"{worker.name}@"))


def is_on(runs: Runs, run_id: str, worker: WorkerProcess) -> bool:
    return (runs.get(run_id).worker or "").startswith(f"{worker.name}@")


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_a_worker_killed_in_mid_answer_costs_no_word(
    pool: str, agents: Agents, runs: Runs, start_worker: StartWorker
) -> None:
    workers = [start_worker(name, pool=pool, concurrency=2) for name in ("w1", "w2")]
    run = agents["speaker"].stream("Talk.")
    resets, text = 0, ""
    for part in run.text_parts():
        if not resets and part.snapshot.endswith("word20 "):
            speaking(runs, run.run_id, workers).kill()
        resets += part.reset
        text = part.snapshot

    assert text == TEXT
    assert resets == 1
    late = list(agents["speaker"].observe(run.run_id).text_parts())
    assert late[-1].snapshot == run.result().text == TEXT


@pytest.mark.parametrize("pool", ["threads", "prefork", "solo"])
def test_each_pool_finishes_runs(pool: str, agents: Agents, start_worker: StartWorker) -> None:
    start_worker(pool=pool, concurrency=2)

    assert agents["calculator"].generate("Add.", timeout=30).answer == "The sums are [3, 7]."
    assert agents["toolbox"].generate('block {"seconds": 0}', timeout=30).answer


def test_runs_show_and_the_console_tell_of_each_killed_worker(
    agents: Agents, runs: Runs, start_worker: StartWorker
) -> None:
    run = agents["speaker"].stream("Talk.")
    for name in ("w1", "w2"):
        victim = start_worker(name)
        wait_until(partial(is_on, runs, run.run_id, victim), f"{name} runs it")
        victim.kill()
    start_worker("w3")
    assert run.result(timeout=60).text == TEXT

    story = shown(runs, run.run_id)
    began = "model call of step 1 began on worker"
    assert_told(
        story,
        [
            rf"{began} w1@test/\d+",
            rf"{began} w2@test/\d+, attempt 2 \(the first crashed: its lease ran out after \d",
            rf"{began} w3@test/\d+, attempt 3 \(the second crashed: its lease ran out after \d",
            r"step 1: stop, .*, ended after \d",
            r"finished \(stop\)",
        ],
    )
    picture = drawn(runs, run.run_id)
    assert picture.has_clock
    assert states_in(picture)["model"] == ["withdrawn", "withdrawn", "running"]


def test_a_tool_that_was_interrupted_runs_again_with_the_same_key(
    agents: Agents, runs: Runs, start_worker: StartWorker, marks: Path
) -> None:
    workers = [start_worker("w1"), start_worker("w2")]
    run = agents["toolbox"].stream('wait {"seconds": 3}')
    wait_until((marks / "wait").exists, "the tool runs")
    speaking(runs, run.run_id, workers).kill()

    assert run.result(timeout=20).answer == "waited in attempt 2"
    lines = [line.split() for line in (marks / "wait").read_text().splitlines()]
    assert Counter(line[0] for line in lines) == {"start": 2, "end": 1}
    assert len({line[1] for line in lines}) == 1


def test_a_killed_call_that_had_said_nothing_is_told_as_crashed(
    agents: Agents, runs: Runs, start_worker: StartWorker, marks: Path
) -> None:
    workers = [start_worker("w1"), start_worker("w2")]
    run = agents["toolbox"].stream('wait {"seconds": 1}')
    wait_until((marks / "wait").exists, "the tool runs")
    killed = speaking(runs, run.run_id, workers)
    killed.kill()
    run.result(timeout=20)

    assert not [chunk for chunk in runs.observe(run.run_id) if isinstance(chunk, StepReset)]
    first, second = [each for each in runs.attempts(run.run_id) if each.kind == "tool"]
    assert (first.attempt, first.outcome) == (1, "crashed")
    assert (first.worker or "").startswith(f"{killed.name}@")
    assert (second.attempt, second.outcome) == (2, "committed")
    assert not (second.worker or "").startswith(f"{killed.name}@")
    assert first.ended_at
    assert second.queued_at
    assert second.started_at
    assert second.ended_at
    assert first.ended_at <= second.queued_at <= second.started_at <= second.ended_at
    assert second.celery_id == f"{run.run_id}:{second.task}:2"


def test_a_tool_that_must_not_be_repeated_is_not(
    agents: Agents, runs: Runs, start_worker: StartWorker, marks: Path
) -> None:
    workers = [start_worker("w1"), start_worker("w2")]
    run = agents["toolbox"].stream('pay {"seconds": 30}')
    wait_until((marks / "pay").exists, "the tool runs")
    speaking(runs, run.run_id, workers).kill()

    assert run.result(timeout=20).answer.startswith("error ToolInterrupted")
    assert len((marks / "pay").read_text().splitlines()) == 1


def test_a_frozen_worker_that_wakes_up_writes_nothing(
    agents: Agents, runs: Runs, start_worker: StartWorker
) -> None:
    workers = [start_worker("w1"), start_worker("w2")]
    run = agents["speaker"].stream("Talk.")
    read_up_to(run, "word10 ")
    frozen = speaking(runs, run.run_id, workers)
    frozen.pause()
    chunks_before = run.result(timeout=30)
    last = runs.get(run.run_id).cursor
    frozen.resume()
    again = agents["hello"].generate("Is the zombie well?", timeout=20)

    assert again.text == "Hello, world."
    assert runs.get(run.run_id).cursor == last
    assert chunks_before.text == TEXT
    assert sum(isinstance(c, StepReset) for c in agents["speaker"].observe(run.run_id)) == 1


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_a_deploy_hands_its_runs_to_the_next_worker(
    pool: str, agents: Agents, runs: Runs, start_worker: StartWorker
) -> None:
    old = start_worker("old", pool=pool, concurrency=2, env={"TEST_GRACE": "0"})
    start_worker("new", pool=pool, concurrency=2, queue="later")
    run = agents["speaker"].stream("Talk.")
    read_up_to(run, "word10 ")
    consume("agents", by="new")
    old.terminate()

    assert run.result(timeout=20).text == TEXT
    resets = [c.payload.reason for c in run if isinstance(c, StepReset)]
    assert resets == ["shutdown"]
    wait_until(lambda: old.process.poll() is not None, "the old worker stopped")


def test_a_step_shorter_than_the_grace_is_not_repeated(
    agents: Agents, start_worker: StartWorker, runs: Runs
) -> None:
    old = start_worker("old", env={"TEST_GRACE": "20"})
    start_worker("new", queue="later")
    run = agents["speaker"].stream("Talk.")
    read_up_to(run, "word10 ")
    consume("agents", by="new")
    old.terminate()

    assert run.result(timeout=20).text == TEXT
    assert not [
        chunk for chunk in agents["speaker"].observe(run.run_id) if isinstance(chunk, StepReset)
    ]


def test_a_run_without_a_worker_waits_for_one(agents: Agents, start_worker: StartWorker) -> None:
    run = agents["calculator"].stream("Add.")
    start_worker()

    assert run.result(timeout=30).answer == "The sums are [3, 7]."


def test_a_lost_message_is_sent_again(
    agents: Agents, runs: Runs, start_worker: StartWorker
) -> None:
    run = agents["calculator"].stream("Add.")
    client = runs.ledger.client()
    for key in client.keys("test-broker:agents*"):
        client.delete(key)
    start_worker()

    assert run.result(timeout=30).answer == "The sums are [3, 7]."


def test_a_doubled_message_does_nothing(
    agents: Agents, runs: Runs, start_worker: StartWorker, marks: Path
) -> None:
    from tests.support.app import app

    start_worker()
    run = agents["toolbox"].stream(f"wait {json.dumps({'seconds': 0.3})}")
    for key in ("1:model", "1:tool:call_1_0", "1:end", "2:model"):
        for _ in range(3):
            app.send_task("evented_agent.tool", args=(run.run_id, key), queue="agents")

    assert run.result(timeout=20).answer == "waited in attempt 1"
    assert len((marks / "wait").read_text().splitlines()) == 2
