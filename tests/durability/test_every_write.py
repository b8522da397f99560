"""A worker is killed right before and right after each of its writes: the run does not change.

The list of writes is learned from an undisturbed run, so it grows with the engine.  Each case has
a fresh worker on a queue of its own; one that survives takes the queue over.
"""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from evented_agent import EventedAgent, Runs
from tests.durability.conftest import Start
from tests.durability.outcomes import (
    HOOKS,
    TRIES,
    Told,
    consume,
    differences,
    hooks_told,
    thread_of,
)
from tests.support.proxy import Moment, Proxy, Write
from tests.support.servers import RedisServer
from tests.support.workers import WorkerProcess, wait_until

Agents = dict[str, EventedAgent]

#: Cases at the same time: they mostly wait for leases to run out.
AT_ONCE = 6
#: Two calls beside the killed one, and the killed one, may each be withdrawn once.
MOST_RESETS = 3


class Commits:
    """When each task of each run was committed, by whichever worker."""

    def __init__(self) -> None:
        self.at: dict[tuple[str, str], float] = {}

    def __call__(self, write: Write, moment: Moment) -> bool:
        if write.script == "commit" and moment == "after":
            self.at.setdefault((write.run_id, write.task), time.time())
        return True


@pytest.fixture(scope="module")
def commits() -> Commits:
    return Commits()


@pytest.fixture(scope="module")
def survivor(start: Start, commits: Commits, redis_server: RedisServer) -> Iterator[WorkerProcess]:
    with Proxy(redis_server.port, commits) as proxy:
        yield start("survivor", proxy, concurrency=20)


@pytest.mark.timeout(600)
def test_a_run_is_the_same_wherever_its_worker_is_killed(
    start: Start,
    survivor: WorkerProcess,
    commits: Commits,
    undisturbed: tuple[Told, list[Write]],
    agents: Agents,
    runs: Runs,
    redis_server: RedisServer,
    marks: Path,
) -> None:
    expected, writes = undisturbed
    cases: list[tuple[Write, Moment]] = [(w, m) for w in writes for m in ("before", "after")]
    assert {write.script for write in writes} == {
        *("claim", "append", "heartbeat", "commit", "close", "requeue"),
        *("enter", "remember", "leave_thread"),
    }

    def play(number: int) -> list[str]:
        write, moment = cases[number]
        tries = (kill_at(write, moment, f"killed-{number}-{n}") for n in range(TRIES))
        wrong = next((found for found in tries if found is not None), ["never came to it"])
        return [f"{moment} {write}: {problem}" for problem in wrong]

    def kill_at(write: Write, moment: Moment, run_id: str) -> list[str] | None:
        """What is wrong with a run whose worker is killed there; None if it never came to that."""
        killed = threading.Event()
        victims: list[WorkerProcess] = []

        def watch(seen: Write, at: Moment) -> bool:
            commits(seen, at)
            is_it = (seen.script, seen.task, seen.nth) == (write.script, write.task, write.nth)
            if seen.run_id == run_id and is_it and at == moment and not killed.is_set():
                victims[0].kill()
                killed.set()
            return not killed.is_set()

        with Proxy(redis_server.port, watch) as proxy, ThreadPoolExecutor(1) as reader:
            victims.append(start(run_id, proxy))
            agents["careful"].stream(
                "Explore.", run_id=run_id, queue=run_id, thread_id=thread_of(run_id)
            )
            run = runs.observe(run_id, timeout=80)
            stayed = reader.submit(lambda: list(run.text_parts())[-1].snapshot)
            wait_until(lambda: killed.is_set() or run.status == "finished", "it is killed", 40)
            # The last write follows the one that says the run is finished.
            if not killed.wait(5):
                victims[0].kill()
                return None
            consume(run_id, by="survivor")
            try:
                text = stayed.result(timeout=90)
            except Exception as error:  # noqa: BLE001 - one case of many: told with the others
                return [f"{error!r}, {runs.get(run_id)}"]
        wrong = list(differences(runs, run_id, expected, text, most_resets=MOST_RESETS))
        if (hooks := hooks_told(marks, run_id)) != HOOKS:
            wrong.append(f"the hooks were told {hooks}")
        return wrong

    with ThreadPoolExecutor(AT_ONCE) as threads:
        problems = [line for found in threads.map(play, range(len(cases))) for line in found]

    assert problems == []
    assert list(called_again(commits, marks)) == []
    assert len(cases) > 50


def called_again(commits: Commits, marks: Path) -> Iterator[str]:
    """Tools that were called although a commit of theirs had come back."""
    for line in (marks / "careful").read_text().splitlines():
        key, attempt, at = line.split()
        run_id, _, call = key.partition(":")
        committed = commits.at.get((run_id, f"1:tool:{call}"))
        if committed is not None and float(at) > committed:
            yield f"{key} was called again in attempt {attempt}"
