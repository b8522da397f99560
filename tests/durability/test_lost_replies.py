"""Connections die after the request, before the reply: nothing is doubled, nothing lost."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from celery import Celery

from evented_agent import Agent, EventedAgent, RunDeleted, Runs, Settings, create_evented_agent
from evented_agent.testing import ScriptedModel
from tests.conftest import StartWorker
from tests.durability.conftest import Start
from tests.durability.outcomes import TRIES, Told, consume, differences, thread_of
from tests.support.proxy import Moment, Proxy, Write
from tests.support.servers import RedisServer
from tests.support.words import TEXT
from tests.support.workers import wait_until

Agents = dict[str, EventedAgent]


class Cuts:
    """Cuts the connection at chosen writes, once each."""

    def __init__(self) -> None:
        self.at: dict[tuple[str, str, str, int, Moment], threading.Event] = {}

    def add(self, write: Write, moment: Moment) -> threading.Event:
        done = threading.Event()
        self.at[(write.script, write.run_id, write.task, write.nth, moment)] = done
        return done

    def __call__(self, write: Write, moment: Moment) -> bool:
        key = (write.script, write.run_id, write.task, write.nth, moment)
        done = self.at.get(key)
        if done is None or done.is_set():
            return True
        done.set()
        return False


@pytest.mark.timeout(300)
def test_a_lost_request_or_reply_of_a_worker_changes_nothing(
    start: Start,
    undisturbed: tuple[Told, list[Write]],
    agents: Agents,
    runs: Runs,
    redis_server: RedisServer,
    marks: Path,
) -> None:
    expected, writes = undisturbed
    cuts, played = Cuts(), list[str]()
    cases: list[tuple[Write, Moment]] = [(w, m) for w in writes for m in ("before", "after")]

    def play(number: int) -> list[str]:
        write, moment = cases[number]
        wrong: list[str] = []
        for attempt in range(TRIES):
            run_id = f"lost-{number}-{attempt}"
            played.append(run_id)
            was_cut = cuts.add(Write(write.script, run_id, write.task, write.nth), moment)
            run = agents["careful"].stream(
                "Explore.", run_id=run_id, queue="lossy", thread_id=thread_of(run_id)
            )
            text = list(run.text_parts())[-1].snapshot
            wrong += differences(runs, run_id, expected, text, most_resets=0)
            # The last write follows the one that says the run is finished.
            if was_cut.wait(5):
                break
        else:
            wrong.append("never came to it")
        return [f"{moment} {write}: {problem}" for problem in wrong]

    with Proxy(redis_server.port, cuts) as proxy:
        worker = start("lossy", proxy, concurrency=60)
        with ThreadPoolExecutor(12) as threads:
            problems = [line for found in threads.map(play, range(len(cases))) for line in found]
        # Its watchdog would answer for those of later tests.
        worker.kill()

    assert problems == []
    calls = (marks / "careful").read_text().splitlines()
    # Three calls a run, and the second try of one of them.
    assert len(calls) == 4 * len(played)


def test_a_lost_reply_of_a_caller_changes_nothing(
    start_worker: StartWorker, runs: Runs, redis_server: RedisServer
) -> None:
    cuts = Cuts()
    app = Celery("lossy", broker="redis://127.0.0.1:1/0", set_as_current=False)
    agent = Agent(id="speaker", model=ScriptedModel(["unused"]))
    with Proxy(redis_server.port, cuts) as proxy:
        caller = create_evented_agent(
            agent, app=app, redis_url=proxy.url, settings=Settings(prefix="test")
        )
        lost = [cuts.add(Write(name, "caller-1"), "after") for name in ("create", "abort")]
        run = caller.stream("Talk.", run_id="caller-1")
        start_worker()
        wait_until(lambda: runs.get("caller-1").status == "running", "the run was begun")
        assert run.abort("enough")
        assert [chunk.type for chunk in runs.observe("caller-1")][-1] == "abort"

        lost.append(cuts.add(Write("delete", "caller-1"), "after"))
        caller.delete("caller-1")

    assert all(each.is_set() for each in lost)
    with pytest.raises(RunDeleted):
        runs.get("caller-1")


def test_a_lost_reply_of_a_watchdog_changes_nothing(
    start: Start, agents: Agents, redis_server: RedisServer
) -> None:
    cuts = Cuts()
    lost = [cuts.add(Write(name, nth=2), "after") for name in ("tick", "announce")]
    lost.append(cuts.add(Write("reconcile", "watched"), "after"))
    with Proxy(redis_server.port) as plain, Proxy(redis_server.port, cuts) as proxy:
        start("watcher", proxy)
        victim = start("watched", plain)
        run = agents["speaker"].stream("Talk.", run_id="watched", queue="watched")
        parts = run.text_parts()
        next(part for part in parts if part.snapshot.endswith("word10 "))
        victim.kill()
        consume("watched", by="watcher")
        text = list(parts)[-1].snapshot

    assert text == run.result().text == TEXT
    assert all(each.is_set() for each in lost)
