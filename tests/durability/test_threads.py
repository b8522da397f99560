"""Whose turn it is in a thread, and what it remembers, when workers die at the wrong moments."""

import json
from pathlib import Path
from typing import Any

import pytest

from evented_agent import EventedAgent, Runs
from tests.conftest import StartWorker
from tests.durability.conftest import Doom
from tests.durability.outcomes import consume
from tests.support.proxy import Moment, Write
from tests.support.words import TEXT
from tests.support.workers import wait_until

Agents = dict[str, EventedAgent]


@pytest.mark.parametrize("script", ["remember", "commit", "leave_thread"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_the_next_run_gets_its_turn_when_the_worker_dies_at_the_end_of_the_first(
    script: str,
    when: Moment,
    doom: Doom,
    start_worker: StartWorker,
    agents: Agents,
    runs: Runs,
) -> None:
    name = f"turn-{script}-{when}"

    def is_it(write: Write) -> bool:
        return (write.script, write.run_id, write.nth) == (script, name, 1)

    with doom(name, is_it, when) as killed:
        first = agents["hello"].stream("One.", run_id=name, thread_id=name, queue=name)
        second = agents["hello"].stream("Two.", thread_id=name, queue=name)
        assert killed.wait(20)
    start_worker("survivor")
    consume(name, by="survivor")

    assert second.result(timeout=60).status == first.result(timeout=60).status == "finished"
    said = [str(message.content) for message in runs.thread(name)]  # type: ignore[union-attr]
    assert said == ["One.", "Hello, world.", "Two.", "Hello, world."]


def test_a_thread_keeps_its_order_when_the_first_run_s_worker_dies(
    agents: Agents, runs: Runs, start_worker: StartWorker, marks: Path
) -> None:
    first_worker = start_worker("w1")
    first = agents["speaker"].stream("One.", thread_id="order")
    rest = [agents["hello"].stream(text, thread_id="order") for text in ("Two.", "Three.")]
    wait_until(lambda: "text-delta" in kinds(runs, first.run_id), "the first speaks")
    first_worker.kill()
    start_worker("w2")

    for run in rest:
        assert run.result(timeout=60).status == "finished"
    said = [str(message.content) for message in runs.thread("order")]  # type: ignore[union-attr]
    assert said == ["One.", TEXT, "Two.", "Hello, world.", "Three.", "Hello, world."]


def kinds(runs: Runs, run_id: str) -> list[str]:
    seen: list[str] = []
    try:
        seen.extend(chunk.type for chunk in runs.observe(run_id, timeout=0.05))
    except TimeoutError:
        return seen
    return seen


def test_a_run_that_was_deleted_does_not_hold_its_thread(
    agents: Agents, runs: Runs, start_worker: StartWorker
) -> None:
    held = agents["hello"].stream("One.", thread_id="deleted", queue="nobody")
    runs.delete(held.run_id)
    start_worker()
    assert agents["hello"].generate("Two.", thread_id="deleted", timeout=30).status == "finished"


@pytest.mark.parametrize("verb", ["abort", "delete"])
def test_abort_and_delete_wake_the_next_run_of_a_thread(
    verb: str, agents: Agents, runs: Runs, start_worker: StartWorker
) -> None:
    thread = f"woken-by-{verb}"
    held = agents["hello"].stream("One.", thread_id=thread, queue="nobody")
    start_worker()
    waiting = agents["hello"].stream("Two.", thread_id=thread)
    wait_until(lambda: "its turn" in (runs.get(waiting.run_id).waiting_for or ""), "it waits")
    # By now it would look again after many seconds only.
    tasks = runs.keys.of(waiting.run_id).tasks
    client: Any = runs.ledger.client()
    task = json.loads(client.hget(tasks, "1:model"))
    client.hset(tasks, "1:model", json.dumps(task | {"not_before": task["not_before"] + 60_000}))
    getattr(runs, verb)(held.run_id)

    assert waiting.result(timeout=15).status == "finished"


def test_an_ended_run_whose_agent_is_gone_holds_its_thread_for_a_minute(
    agents: Agents, runs: Runs, start_worker: StartWorker
) -> None:
    start_worker()
    gone = agents["hello"].stream("One.", thread_id="gone", queue="nobody")
    record = runs.keys.of(gone.run_id).run
    client: Any = runs.ledger.client()
    client.hset(record, mapping={"agent": "gone", "started": 1})
    runs.abort(gone.run_id)
    waiting = agents["hello"].stream("Two.", thread_id="gone")
    wait_until(lambda: "its turn" in (runs.get(waiting.run_id).waiting_for or ""), "it waits")
    client.hincrby(record, "ended", -60_000)

    assert waiting.result(timeout=20).status == "finished"
