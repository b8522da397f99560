"""Messages to runs and conversations whose workers, senders and runs end at the wrong time."""

import contextlib
import uuid
from pathlib import Path
from typing import Any

import pytest
from celery.result import AsyncResult

from evented_agent import EventedAgent, Receipt, RunEnded, Runs
from evented_agent.chunks import TextDelta
from tests.conftest import StartWorker
from tests.durability.conftest import Doom, Start
from tests.durability.inbox_outcomes import said_in, wrong_with
from tests.durability.outcomes import consume, thread_of
from tests.support.proxy import Moment, Proxy, Write
from tests.support.servers import RedisServer
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
    wait_until(lambda: first.run_id != turn_of(runs, thread), "it leaves")
    last = agents["told"].send(thread_id=thread, input="four")
    ended(runs, last)
    wait_until(lambda: len(said_in(runs, thread)) == 4, "all is answered")
    assert said_in(runs, thread) == ["one", "two", "three", "four"]
    assert list(wrong_with(runs, last.run_id, marks)) == []


def test_what_a_failed_run_left_is_answered_before_a_later_message(
    agents: Agents, runs: Runs, start_worker: StartWorker, doom: Doom, marks: Path
) -> None:
    name = "failed"

    def is_it(write: Write) -> bool:
        return (write.script, write.run_id, write.task) == ("claim", name, "after")

    with doom(name, is_it, "before") as killed:
        run = agents["told"].stream("slow", run_id=name, queue=name, thread_id=thread_of(name))
        next(chunk for chunk in run if isinstance(chunk, TextDelta))
        agents["told"].send(name, f"fail {name}")
        assert killed.wait(40)
    agents["told"].send(name, "later")
    start_worker("survivor")
    consume(name, by="survivor")
    wait_until(lambda: len(said_in(runs, thread_of(name))) == 3, "all is answered", 60)
    assert said_in(runs, thread_of(name)) == ["slow", f"fail {name}", "later"]


def test_a_message_that_is_sent_again_after_its_run_has_ended_takes_no_turn(
    agents: Agents, runs: Runs, start_worker: StartWorker
) -> None:
    start_worker()
    thread = f"chat {uuid.uuid4().hex}"
    agents["letters"].stream("one", thread_id=thread).result(timeout=30)
    receipt = agents["letters"].send(thread_id=thread, input="two", message_id="m")
    runs.observe(receipt.run_id).result(timeout=30)
    wait_until(lambda: turn_of(runs, thread) is None, "it leaves")

    again = agents["letters"].send(thread_id=thread, input="two", message_id="m")
    assert again == receipt
    assert turn_of(runs, thread) is None


def turn_of(runs: Runs, thread: str) -> str | None:
    """The run that has the turn in a conversation."""
    info = runs.thread_info(thread)
    return info.turn.run_id if info is not None and info.turn is not None else None


#: What is told of a run's end: hooks, a conversation, a result backend.
TELLS = {
    "hooks": ("told", True),
    "a conversation": ("letters", True),
    "the result backend": ("letters", False),
    "nobody": ("letters", False),
}
MOMENTS: list[tuple[str, Moment]] = [
    ("commit", "before"),
    ("close", "before"),
    ("close", "after"),
    ("remember", "before"),
    ("remember", "after"),
]


class Interference:
    """Sends a run a message at one moment of its end, which its id names."""

    def __init__(self, agent: EventedAgent) -> None:
        self.sent: dict[str, Receipt | None] = {}
        self._agent = agent

    def __call__(self, write: Write, at: Moment) -> bool:
        run_id, is_end = write.run_id, write.script != "commit" or write.task == "1:end"
        if run_id.endswith(f"{write.script}-{at}") and is_end and run_id not in self.sent:
            self.sent[run_id] = None
            with contextlib.suppress(RunEnded):
                self.sent[run_id] = self._agent.send(run_id, "m", message_id="m")
        return True


@pytest.mark.parametrize("tells", TELLS)
def test_a_message_at_any_moment_of_the_end_is_answered_or_refused(
    tells: str,
    agents: Agents,
    runs: Runs,
    start: Start,
    redis_server: RedisServer,
    marks: Path,
) -> None:
    from tests.durability.inbox_app import app

    agent_id, chat = TELLS[tells]
    agent, name = agents[agent_id], f"end-{tells.replace(' ', '-')}"
    stores = tells == "the result backend"
    with Proxy(redis_server.port, meets := Interference(agent)) as proxy:
        start(name, proxy, env={} if stores else {"TEST_RESULT_BACKEND": ""})
        for script, at in MOMENTS:
            run_id = f"{name}-{script}-{at}"
            thread = f"chat of {run_id}"
            options: Any = {"thread_id": thread} if chat else {}
            run = agent.stream("one", run_id=run_id, queue=name, **options)
            result = run.result(timeout=60)
            receipt = meets.sent.get(run_id)
            _check(runs, run_id, receipt, marks)
            if chat:
                kept = ["one", "m"] if run_id in meets.sent else ["one"]
                wait_until(lambda: said_in(runs, thread) == kept, "it is kept", 40)  # noqa: B023
            if stores:
                assert AsyncResult(run_id, app=app).get(timeout=20)["text"] == result.text
    assert f"{name}-commit-before" in meets.sent
    assert (f"{name}-close-before" in meets.sent) == (tells in ("hooks", "the result backend"))


def _check(runs: Runs, run_id: str, receipt: Receipt | None, marks: Path) -> None:
    """A message that the run took was answered in it, one that it did not, in the next."""
    assert list(wrong_with(runs, run_id, marks)) == []
    is_taken = receipt is not None and not receipt.begins_run
    assert len(runs.result(run_id).steps) == (2 if is_taken else 1)
