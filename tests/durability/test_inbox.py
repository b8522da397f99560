"""Messages to runs and conversations whose workers, senders and runs end at the wrong time."""

import contextlib
import uuid
from pathlib import Path

import pytest
from celery.result import AsyncResult

from evented_agent import EventedAgent, Receipt, RunEnded, Runs
from tests.conftest import StartWorker
from tests.durability.conftest import Start
from tests.durability.inbox_outcomes import said_in, wrong_with
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
    wait_until(lambda: agents["told"].thread_info(thread).turn != first.run_id, "it leaves")
    last = agents["told"].send(thread_id=thread, input="four")
    ended(runs, last)
    wait_until(lambda: len(said_in(runs, thread)) == 4, "all is answered")
    assert said_in(runs, thread) == ["one", "two", "three", "four"]
    assert list(wrong_with(runs, last.run_id, marks)) == []


#: What is told of a run's end: hooks, a conversation, a result backend.
TELLS = {
    "hooks": ("told", "chat"),
    "a conversation": ("letters", "chat"),
    "the result backend": ("letters", ""),
    "nobody": ("letters", ""),
}
MOMENTS: list[tuple[str, Moment]] = [
    ("commit", "before"),
    ("close", "before"),
    ("close", "after"),
    ("remember", "before"),
    ("remember", "after"),
]


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
    agent, sent = agents[agent_id], dict[str, Receipt | None]()
    name = f"end-{tells.replace(' ', '-')}"

    def watch(write: Write, at: Moment) -> bool:
        moment = (write.script, at)
        is_end = write.script != "commit" or write.task == "1:end"
        run_id = write.run_id
        if run_id.endswith(f"{moment[0]}-{moment[1]}") and is_end and run_id not in sent:
            sent[run_id] = None
            with contextlib.suppress(RunEnded):
                sent[run_id] = agent.send(run_id, "m", message_id="m")
        return True

    with Proxy(redis_server.port, watch) as proxy:
        env = {"TEST_RESULT_BACKEND": ""} if tells in ("nobody", "a conversation") else {}
        start(name, proxy, env=env)
        started = {}
        for script, at in MOMENTS:
            run_id = f"{name}-{script}-{at}"
            thread = {"thread_id": f"chat of {run_id}"} if chat else {}
            started[run_id] = agent.stream("one", run_id=run_id, queue=name, **thread)  # type: ignore[arg-type]
        for run_id, run in started.items():
            run.result(timeout=40)
            wait_until(lambda: runs.get(run_id).is_ended, "it ends")  # noqa: B023
            assert list(wrong_with(runs, run_id, marks)) == []
            receipt = sent.get(run_id)
            if receipt is not None and receipt.begins_run:
                assert runs.observe(receipt.run_id).result(timeout=20).status == "finished"
            if chat:
                kept = ["one", "m"] if run_id in sent else ["one"]
                wait_until(lambda: said_in(runs, f"chat of {run_id}") == kept, "it is kept")  # noqa: B023
            elif receipt is not None:
                assert len(run.result().steps) == 2
    assert f"{name}-commit-before" in sent
    closes = tells in ("hooks", "the result backend")
    assert (f"{name}-close-before" in sent) == closes
    if tells == "the result backend":
        for run_id, run in started.items():
            assert AsyncResult(run_id, app=app).get(timeout=20)["text"] == run.result().text
