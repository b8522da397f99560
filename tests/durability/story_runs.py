"""Plays stories while workers are killed at their writes, or while replies are lost."""

import re
import threading
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from evented_agent import EventedAgent, Runs
from tests.durability.conftest import Start
from tests.durability.inbox_stories import Story
from tests.durability.outcomes import TRIES, consume
from tests.support.proxy import Moment, Proxy, Write
from tests.support.servers import RedisServer
from tests.support.workers import WorkerProcess, wait_until

Agents = dict[str, EventedAgent]

#: Cases at the same time: they mostly wait for leases to run out.
AT_ONCE = 8


def of_story(write: Write, part: str | None) -> Write:
    """A write under the names that it has each time that the story is played.

    The number of a hook's task is that of a chunk, and others may come before it.
    """
    return replace(write, run_id=part or "", task=re.sub("^hook:[0-9]+$", "hook", write.task))


@dataclass
class Kills:
    """Kills a worker right before and right after each of its writes in a story."""

    start: Start
    agents: Agents
    runs: Runs
    redis_server: RedisServer
    marks: Path

    def learned(
        self, make: type[Story], name: str, is_last: Callable[[Write], bool] | None = None
    ) -> list[Write]:
        """The writes of the worker of an undisturbed story, in order."""
        writes = list[Write]()
        story = make(self.agents, self.runs, name)

        def watch(write: Write, moment: Moment) -> bool:
            part = story.part_of(write.run_id)
            if part is not None and moment == "after":
                writes.append(of_story(write, part))
            return True

        with Proxy(self.redis_server.port, watch) as proxy:
            worker = self.start(name, proxy)
            story.play()
            if is_last is not None:
                wait_until(lambda: any(map(is_last, writes)), "the last write is made")
            worker.kill()
        return [write for write in writes if story.matters(write)]

    def problems(self, make: type[Story], of: str, writes: Collection[Write]) -> list[str]:
        """What is wrong with the stories, each with a worker that is killed at another write."""
        cases: list[tuple[Write, Moment]] = [(w, m) for w in writes for m in ("before", "after")]

        def play(number: int) -> list[str]:
            write, moment = cases[number]
            names = (f"{of}-{number}-{n}" for n in range(TRIES))
            tries = (self._kill_at(make, write, moment, name) for name in names)
            wrong = next((found for found in tries if found is not None), ["never came to it"])
            return [f"{moment} {write.run_id}'s {write}: {problem}" for problem in wrong]

        with ThreadPoolExecutor(AT_ONCE) as threads:
            return [line for found in threads.map(play, range(len(cases))) for line in found]

    def _kill_at(
        self, make: type[Story], write: Write, moment: Moment, name: str
    ) -> list[str] | None:
        """What is wrong with a story whose worker is killed there; None if it never came to it."""
        story = make(self.agents, self.runs, name)
        killed = threading.Event()
        victims: list[WorkerProcess] = []

        def watch(seen: Write, at: Moment) -> bool:
            is_it = of_story(seen, story.part_of(seen.run_id)) == write
            if is_it and at == moment and not killed.is_set():
                victims[0].kill()
                killed.set()
            return not killed.is_set()

        with Proxy(self.redis_server.port, watch) as proxy, ThreadPoolExecutor(1) as people:
            victims.append(self.start(name, proxy))
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
        return list(story.wrong(self.marks))


@dataclass
class Freezes:
    """Freezes a worker at a write that is on its way, until another one has finished the story."""

    start: Start
    agents: Agents
    runs: Runs
    redis_server: RedisServer
    marks: Path

    def problems(self, make: type[Story], of: str, writes: Collection[Write]) -> list[str]:
        """What is wrong with the stories, each with a worker that freezes at another write."""
        cases = list(writes)

        def play(number: int) -> list[str]:
            names = (f"{of}-{number}-{n}" for n in range(TRIES))
            tries = (self._freeze_at(make, cases[number], name) for name in names)
            wrong = next((found for found in tries if found is not None), ["never came to it"])
            return [f"{cases[number].run_id}'s {cases[number]}: {problem}" for problem in wrong]

        with ThreadPoolExecutor(AT_ONCE) as threads:
            return [line for found in threads.map(play, range(len(cases))) for line in found]

    def _freeze_at(self, make: type[Story], write: Write, name: str) -> list[str] | None:
        """What is wrong with a story whose worker froze there; None if it never came to it."""
        story = make(self.agents, self.runs, name)
        frozen, awake = threading.Event(), threading.Event()
        zombies: list[WorkerProcess] = []

        def watch(seen: Write, at: Moment) -> bool:
            is_it = of_story(seen, story.part_of(seen.run_id)) == write
            if is_it and at == "before" and not frozen.is_set():
                zombies[0].pause()
                frozen.set()
                awake.wait(120)
            return True

        with Proxy(self.redis_server.port, watch) as proxy, ThreadPoolExecutor(1) as people:
            zombies.append(self.start(name, proxy))
            played = people.submit(story.play)
            try:
                wait_until(lambda: frozen.is_set() or played.done(), "it is frozen", 60)
                if not frozen.is_set():
                    return None
                consume(name, by="survivor")
                played.result(timeout=90)
                consume(name, by="survivor", stop=True)
                found = self._after_waking(story, zombies[0], name, awake)
            except Exception as error:  # noqa: BLE001 - one case of many: told with the others
                found = [f"{error!r}"]
            finally:
                awake.set()
                zombies[0].kill()
        return found

    def _after_waking(
        self, story: Story, zombie: WorkerProcess, name: str, awake: threading.Event
    ) -> list[str]:
        """The write arrives at last, and its worker goes on as if nothing had happened."""
        before, done_before = self._told_of(name), self._done_in(name)
        awake.set()
        zombie.resume()
        assert self.agents["hello"].generate("Are you well?", queue=name, timeout=30).text
        after = self._told_of(name)
        changed = [] if after == before else [f"waking up made {after} of {before}"]
        if more := self._done_in(name) - done_before - self._interrupted(name):
            changed.append(f"woken up, it began {more}")
        return [*changed, *story.wrong(self.marks)]

    def _told_of(self, name: str) -> object:
        run = self.runs.get(name)
        return run, run.children, self.runs.attempts(name)

    def _done_in(self, name: str) -> set[str]:
        """The attempts of calls that tools have marked."""
        return {
            line
            for file in self.marks.iterdir()
            for line in file.read_text().splitlines()
            if line.startswith((f"{name}:", f"{name}~"))
        }

    def _interrupted(self, name: str) -> set[str]:
        """The calls that somebody was in the middle of when its lease ran out.

        A tool that the freezing has met goes on where it stood, whoever has called it again since.
        """
        return {
            f"{each.run_id}:{each.tool_call_id} {each.attempt}"
            for each in self.runs.attempts(name)
            if each.outcome == "crashed"
        }


class Loss:
    """Loses the reply to one write of each story, and notes the writes of another."""

    def __init__(
        self, noted: Story, scripts: Collection[str], is_certain: Callable[[Write], bool]
    ) -> None:
        self.writes: list[Write] = []
        self._is_certain = is_certain
        self._noted = noted
        self._scripts = scripts
        self._at: list[tuple[Story, Write, threading.Event]] = []

    def add(self, story: Story, write: Write) -> threading.Event:
        was_lost = threading.Event()
        self._at.append((story, write, was_lost))
        return was_lost

    def __call__(self, write: Write, moment: Moment) -> bool:
        if moment == "before":
            return True
        part = self._noted.part_of(write.run_id)
        if part is not None and write.script in self._scripts:
            known = of_story(write, part)
            if self._is_certain(known):
                self.writes.append(known)
        for story, at, was_lost in list(self._at):
            part = story.part_of(write.run_id)
            if of_story(write, part) == at and not was_lost.is_set():
                was_lost.set()
                return False
        return True


@dataclass
class Losses:
    """Plays a story once for each of its writes, whose reply is lost."""

    start: Start
    runs: Runs
    redis_server: RedisServer
    marks: Path
    scripts: Collection[str]

    def problems(
        self,
        make: type[Story],
        queue: str,
        callers_on: Callable[[str], Agents],
        wrong: Callable[[Story, str], list[str]],
        is_certain: Callable[[Write], bool] = lambda _: True,
    ) -> tuple[int, list[str]]:
        """How many replies were lost, and what is wrong, as *wrong* says of a story of that name.

        *is_certain* says of a write whether it is made each time that the story is played.
        *callers_on* makes the agents of callers, whose replies are lost too, on a Redis.
        """
        noted = make(callers_on(self.redis_server.url), self.runs, queue)
        with Proxy(self.redis_server.port, loss := Loss(noted, self.scripts, is_certain)) as proxy:
            callers = callers_on(proxy.url)
            worker = self.start(queue, proxy, concurrency=40)
            make(callers, self.runs, queue).play()

            def play(write: Write) -> list[str]:
                for attempt in range(TRIES):
                    name = f"{queue}-{loss.writes.index(write)}-{attempt}"
                    story = make(callers, self.runs, name, queue)
                    was_lost = loss.add(story, write)
                    story.play()
                    found = wrong(story, name)
                    # The last write follows the one that says the run is finished.
                    if found or was_lost.wait(5):
                        return [f"{write.run_id}'s {write}: {problem}" for problem in found]
                return [f"{write.run_id}'s {write}: never came to it"]

            cases = sorted(set(loss.writes))
            with ThreadPoolExecutor(AT_ONCE) as threads:
                found = [line for problems in threads.map(play, cases) for line in problems]
            worker.kill()
        return len(cases), found
