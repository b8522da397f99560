"""Workers, and senders, are killed right before and after each write of a run with messages.

The story of the run: a message interrupts its first answer, another comes while it waits for a
person, a third while it tells what came of the decision.  Whoever dies where, each message is in one
completed model call, in order, and nobody is told of an end that is not one.
"""

import contextlib
import multiprocessing
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from evented_agent import EventedAgent, NotSuspended, RunConflict, RunEnded, Runs
from evented_agent.chunks import AnyChunk, RunWaiting, TextDelta
from tests.durability.conftest import Start
from tests.durability.inbox_outcomes import wrong_with
from tests.durability.outcomes import TRIES, consume
from tests.support.proxy import Moment, Proxy, Write
from tests.support.servers import RedisServer
from tests.support.workers import WorkerProcess, wait_until

Agents = dict[str, EventedAgent]

#: Cases at the same time: they mostly wait for leases to run out.
AT_ONCE = 8


@pytest.fixture(scope="module")
def worker_app() -> str:
    return "tests.durability.inbox_app"


@pytest.fixture(scope="module")
def survivor(start: Start, redis_server: RedisServer) -> Iterator[WorkerProcess]:
    with Proxy(redis_server.port) as proxy:
        yield start("survivor", proxy, concurrency=40)


class Story:
    """A run and who writes to it: what they do follows from what they see."""

    def __init__(self, agent: EventedAgent, run_id: str) -> None:
        self.agent, self.run_id = agent, run_id
        self._sent: set[str] = set()
        self._approved = False

    def play(self) -> None:
        """Begin the run, and see it through to its end."""
        run = self.agent.stream(
            "slow", run_id=self.run_id, queue=self.run_id, thread_id=f"thread of {self.run_id}"
        )
        for chunk in run:
            self._react(chunk)

    def _react(self, chunk: AnyChunk) -> None:
        if isinstance(chunk, RunWaiting) and chunk.payload.waits_for == "people":
            if not self._send("m2", "meanwhile?"):
                self._approve()
        elif isinstance(chunk, TextDelta):
            self._send("m1", "erase a", interrupt=True)
            if self._approved:
                self._send("m3", "and now?")

    def _send(self, message_id: str, text: str, *, interrupt: bool = False) -> bool:
        if message_id in self._sent:
            return False
        self._sent.add(message_id)
        self.agent.send(self.run_id, text, message_id=message_id, interrupt=interrupt)
        return True

    def _approve(self) -> None:
        # What is read again after a reset may have been decided.
        with contextlib.suppress(NotSuspended, RunConflict, RunEnded):
            self.agent.approve(self.run_id)
            self._approved = True


def learned(start: Start, agent: EventedAgent, redis_server: RedisServer) -> list[Write]:
    """The writes of the worker of an undisturbed run, in order."""
    name, writes = "story", list[Write]()

    def watch(write: Write, moment: Moment) -> bool:
        if write.run_id == name and moment == "after":
            writes.append(write)
        return True

    with Proxy(redis_server.port, watch) as proxy:
        worker = start(name, proxy)
        Story(agent, name).play()
        wait_until(lambda: any(w.script == "leave_thread" for w in writes), "it left its thread")
        worker.kill()
    rare = ("heartbeat", "reconcile")
    return [w for w in writes if w.script not in rare and (w.script != "append" or w.nth == 1)]


@pytest.mark.timeout(600)
def test_each_message_is_answered_once_wherever_a_worker_is_killed(
    start: Start,
    survivor: WorkerProcess,
    agents: Agents,
    runs: Runs,
    redis_server: RedisServer,
    marks: Path,
) -> None:
    writes = learned(start, agents["told"], redis_server)
    assert {write.script for write in writes} >= {
        *("claim", "append", "commit", "close", "enter", "remember", "leave_thread"),
    }
    cases: list[tuple[Write, Moment]] = [(w, m) for w in writes for m in ("before", "after")]

    def play(number: int) -> list[str]:
        write, moment = cases[number]
        tries = (kill_at(write, moment, f"story-{number}-{n}") for n in range(TRIES))
        wrong = next((found for found in tries if found is not None), ["never came to it"])
        return [f"{moment} {write}: {problem}" for problem in wrong]

    def kill_at(write: Write, moment: Moment, run_id: str) -> list[str] | None:
        """What is wrong with a run whose worker is killed there; None if it never came to that."""
        killed = threading.Event()
        victims: list[WorkerProcess] = []

        def watch(seen: Write, at: Moment) -> bool:
            is_it = seen == Write(write.script, run_id, write.task, write.nth)
            if is_it and at == moment and not killed.is_set():
                victims[0].kill()
                killed.set()
            return not killed.is_set()

        with Proxy(redis_server.port, watch) as proxy, ThreadPoolExecutor(1) as people:
            victims.append(start(run_id, proxy))
            story = people.submit(Story(agents["told"], run_id).play)
            wait_until(lambda: killed.is_set() or story.done(), "it is killed", 60)
            # The last write follows the one that says the run is finished.
            if not killed.wait(5):
                victims[0].kill()
                return None
            consume(run_id, by="survivor")
            try:
                story.result(timeout=90)
            except Exception as error:  # noqa: BLE001 - one case of many: told with the others
                return [f"{error!r}, {runs.get(run_id)}"]
        return list(wrong_with(runs, run_id, marks))

    with ThreadPoolExecutor(AT_ONCE) as threads:
        problems = [line for found in threads.map(play, range(len(cases))) for line in found]
    assert problems == []
    assert len(cases) > 40
