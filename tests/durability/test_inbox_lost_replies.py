"""Replies are lost where runs are sent messages: each is answered once, nothing is withdrawn."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from evented_agent import EventedAgent, Runs
from evented_agent.chunks import StepReset
from tests.durability.conftest import Start, agents_on
from tests.durability.inbox_stories import STORIES, Story
from tests.durability.outcomes import TRIES
from tests.support.proxy import Moment, Proxy, Write
from tests.support.servers import RedisServer

Agents = dict[str, EventedAgent]
#: What only runs with messages or in conversations do.
SCRIPTS = ("send", "close", "yield_turn", "bind", "enter", "leave_thread", "create", "resume")
AT_ONCE = 8


@pytest.fixture(scope="module")
def worker_app() -> str:
    return "tests.durability.inbox_app"


class Loss:
    """Loses the reply to one write of each story, and notes the writes of another."""

    def __init__(self, noted: Story) -> None:
        self.writes: list[Write] = []
        self._noted = noted
        self._at: list[tuple[Story, Write, threading.Event]] = []

    def add(self, story: Story, write: Write) -> threading.Event:
        was_lost = threading.Event()
        self._at.append((story, write, was_lost))
        return was_lost

    def __call__(self, write: Write, moment: Moment) -> bool:
        if moment == "before":
            return True
        part = self._noted.part_of(write.run_id)
        if part is not None and write.script in SCRIPTS:
            self.writes.append(replace(write, run_id=part))
        for story, at, was_lost in list(self._at):
            part = story.part_of(write.run_id)
            if replace(write, run_id=part or "") == at and not was_lost.is_set():
                was_lost.set()
                return False
        return True


@pytest.mark.timeout(300)
@pytest.mark.parametrize("of", STORIES)
def test_a_lost_reply_changes_nothing_of_what_is_answered(
    of: str, start: Start, runs: Runs, agents: Agents, redis_server: RedisServer, marks: Path
) -> None:
    make, queue = STORIES[of], f"lossy-{of}"
    noted = make(agents, runs, queue)
    with Proxy(redis_server.port, loss := Loss(noted)) as proxy:
        callers = agents_on(proxy.url, redis_server.url, "tests.durability.inbox_app")
        worker = start(queue, proxy, concurrency=40)
        # Its callers, too, are told nothing.
        make(callers, runs, queue).play()

        def play(write: Write) -> list[str]:
            for attempt in range(TRIES):
                name = f"{queue}-{loss.writes.index(write)}-{attempt}"
                story = make(callers, runs, name, queue)
                was_lost = loss.add(story, write)
                story.play()
                wrong = list(story.wrong(marks))
                if any(isinstance(chunk, StepReset) for chunk in runs.observe(name)):
                    wrong.append("something was withdrawn")
                # The last write follows the one that says the run is finished.
                if wrong or was_lost.wait(5):
                    return [f"{write.run_id}'s {write}: {problem}" for problem in wrong]
            return [f"{write.run_id}'s {write}: never came to it"]

        cases = sorted(set(loss.writes))
        with ThreadPoolExecutor(AT_ONCE) as threads:
            problems = [line for found in threads.map(play, cases) for line in found]
        worker.kill()
    assert problems == []
    assert len(cases) >= 5
