"""Messages to runs and conversations whose workers, senders and runs end at the wrong time."""

import uuid
from pathlib import Path

import pytest

from evented_agent import EventedAgent, Receipt, Runs
from tests.conftest import StartWorker
from tests.durability.inbox_outcomes import said_in, wrong_with
from tests.support.workers import wait_until

Agents = dict[str, EventedAgent]


@pytest.fixture(scope="module")
def worker_app() -> str:
    return "tests.durability.inbox_app"


def ended(runs: Runs, receipt: Receipt) -> None:
    wait_until(lambda: runs.get(receipt.run_id).is_ended, f"{receipt.run_id} ends", 40)


def test_messages_around_the_end_of_a_run_are_answered_in_order(
    agents: Agents, runs: Runs, start_worker: StartWorker, marks: Path
) -> None:
    start_worker()
    thread = f"shut {uuid.uuid4().hex}"
    first = agents["told"].stream("one", thread_id=thread)
    wait_until((marks / f"held-{thread}").exists, "the end is being told")
    for text in ("two", "three"):
        agents["told"].send(thread_id=thread, input=text)
    (marks / f"open-{thread}").touch()
    first.result(timeout=20)
    wait_until(lambda: agents["told"].thread_info(thread).turn != first.run_id, "it leaves")
    last = agents["told"].send(thread_id=thread, input="four")
    ended(runs, last)
    wait_until(lambda: len(said_in(runs, thread)) == 4, "all is answered")
    assert said_in(runs, thread) == ["one", "two", "three", "four"]
    assert list(wrong_with(runs, last.run_id, marks)) == []
