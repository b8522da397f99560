"""Workers are killed right before and right after each write of runs that are sent messages.

Whoever dies where: each message is in one completed model call, in order, and nobody is told of an
end that is not one.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from evented_agent import EventedAgent, Runs
from tests.durability.conftest import Start
from tests.durability.inbox_stories import STORIES, Story
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


def learned(start: Start, story: Story, name: str, redis_server: RedisServer) -> list[Write]:
    """The writes of the worker of an undisturbed story, in order."""
    writes = list[Write]()

    def watch(write: Write, moment: Moment) -> bool:
        part = story.part_of(write.run_id)
        if part is not None and moment == "after":
            writes.append(replace(write, run_id=part))
        return True

    with Proxy(redis_server.port, watch) as proxy:
        worker = start(name, proxy)
        story.play()
        wait_until(lambda: any(w.script == "leave_thread" for w in writes), "it left its thread")
        worker.kill()
    return [write for write in writes if story.matters(write)]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("of", STORIES)
def test_each_message_is_answered_once_wherever_a_worker_is_killed(
    of: str,
    start: Start,
    survivor: WorkerProcess,
    agents: Agents,
    runs: Runs,
    redis_server: RedisServer,
    marks: Path,
) -> None:
    make = STORIES[of]
    writes = learned(start, make(agents, runs, of), of, redis_server)
    cases: list[tuple[Write, Moment]] = [(w, m) for w in writes for m in ("before", "after")]

    def play(number: int) -> list[str]:
        write, moment = cases[number]
        tries = (kill_at(write, moment, f"{of}-{number}-{n}") for n in range(TRIES))
        wrong = next((found for found in tries if found is not None), ["never came to it"])
        return [f"{moment} {write.run_id}'s {write}: {problem}" for problem in wrong]

    def kill_at(write: Write, moment: Moment, name: str) -> list[str] | None:
        """What is wrong with a story whose worker is killed there; None if it never came to it."""
        story = make(agents, runs, name)
        killed = threading.Event()
        victims: list[WorkerProcess] = []

        def watch(seen: Write, at: Moment) -> bool:
            is_it = replace(seen, run_id=story.part_of(seen.run_id) or "") == write
            if is_it and at == moment and not killed.is_set():
                victims[0].kill()
                killed.set()
            return not killed.is_set()

        with Proxy(redis_server.port, watch) as proxy, ThreadPoolExecutor(1) as people:
            victims.append(start(name, proxy))
            told = people.submit(story.play)
            wait_until(lambda: killed.is_set() or told.done(), "it is killed", 60)
            # The last write follows the one that says the run is finished.
            if not killed.wait(5):
                victims[0].kill()
                return None
            consume(name, by="survivor")
            try:
                told.result(timeout=90)
            except Exception as error:  # noqa: BLE001 - one case of many: told with the others
                return [f"{error!r}"]
        return list(story.wrong(marks))

    with ThreadPoolExecutor(AT_ONCE) as threads:
        problems = [line for found in threads.map(play, range(len(cases))) for line in found]
    assert problems == []
    assert len(cases) >= 18
