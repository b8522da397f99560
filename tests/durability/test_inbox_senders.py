"""Whoever sends a message is killed at any of its writes, and sends it again: it is one message."""

import itertools
import multiprocessing
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evented_agent import EventedAgent, Runs
from evented_agent.chunks import TextDelta
from tests.durability.conftest import agents_on
from tests.durability.inbox_outcomes import said_in, wrong_with
from tests.support.proxy import Moment, Proxy, Write
from tests.support.servers import RedisServer
from tests.support.workers import WorkerProcess, wait_until

Agents = dict[str, EventedAgent]
Verb = tuple[str, dict[str, Any]]


@pytest.fixture(scope="module")
def worker_app() -> str:
    return "tests.durability.inbox_app"


def to_speaking(agent: EventedAgent, thread: str) -> Verb:
    run = agent.stream("slow", thread_id=thread)
    next(chunk for chunk in run if isinstance(chunk, TextDelta))
    return "send", {"run_id": run.run_id, "input": "m", "message_id": "m", "interrupt": True}


def to_suspended(agent: EventedAgent, thread: str) -> Verb:
    run = agent.stream("erase a", thread_id=thread)
    wait_until(lambda: run.status == "suspended", "a person is asked")
    return "send", {"run_id": run.run_id, "input": "m", "message_id": "m", "decline": True}


def to_thread(agent: EventedAgent, thread: str) -> Verb:
    run = agent.stream("slow", thread_id=thread)
    next(chunk for chunk in run if isinstance(chunk, TextDelta))
    return "send", {"thread_id": thread, "input": "m", "message_id": "m"}


def to_thread_at_rest(agent: EventedAgent, thread: str) -> Verb:
    agent.stream("one", thread_id=thread).result(timeout=20)
    return "send", {"thread_id": thread, "input": "m", "message_id": "m"}


def to_new_thread(_agent: EventedAgent, thread: str) -> Verb:
    return "send", {"thread_id": thread, "input": "m", "message_id": "m"}


def steering(agent: EventedAgent, thread: str) -> Verb:
    run = agent.stream("slow", thread_id=thread)
    next(chunk for chunk in run if isinstance(chunk, TextDelta))
    options = {"thread_id": thread, "run_id": f"{run.run_id}-m", "when_busy": "steer"}
    return "stream", {"input": "m", **options}


MOMENTS: tuple[Moment, ...] = ("before", "after")
SCENES = (to_speaking, to_suspended, to_thread, to_thread_at_rest, to_new_thread, steering)


def act(redis_url: str, broker_url: str, verb: Verb) -> None:
    """Send from a process of its own."""
    agents = agents_on(redis_url, broker_url, "tests.durability.inbox_app")
    getattr(agents["letters"], verb[0])(**verb[1])


def is_killed(server: RedisServer, verb: Verb, nth: int, moment: Moment) -> bool:
    """Whether a sender that is killed at its *nth* write comes to it."""
    senders: list[Any] = []
    count = itertools.count(1)

    def watch(_write: Write, at: Moment) -> bool:
        if at == moment and next(count) == nth:
            senders[0].kill()
            return False
        return True

    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.durability.inbox_app", __name__])
    with Proxy(server.port, watch) as proxy:
        sender = processes.Process(target=act, args=(proxy.url, server.url, verb))
        senders.append(sender)
        sender.start()
        sender.join(60)
    assert sender.exitcode in (0, -9), sender.exitcode
    return sender.exitcode == -9


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_a_message_that_is_sent_again_by_who_died_is_one_message(
    scene: Callable[[EventedAgent, str], Verb],
    agents: Agents,
    runs: Runs,
    module_worker: WorkerProcess,
    redis_server: RedisServer,
    marks: Path,
) -> None:
    agent, dead = agents["letters"], 0
    for nth, moment in itertools.product(range(1, 12), MOMENTS):
        thread = f"chat {uuid.uuid4().hex}"
        verb = scene(agent, thread)
        was_killed = is_killed(redis_server, verb, nth, moment)
        dead += was_killed
        again = getattr(agent, verb[0])(**verb[1])
        wait_until(lambda: runs.get(again.run_id).is_ended, "it is answered", 40)  # noqa: B023
        wait_until(lambda: "m" in said_in(runs, thread), "it is kept", 20)  # noqa: B023
        assert said_in(runs, thread).count("m") == 1
        assert list(wrong_with(runs, again.run_id, marks)) == []
        if not was_killed:
            break
    assert dead >= 2
