"""Workers freeze past their leases and wake up: they write nothing and start no further call."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from evented_agent import EventedAgent, Runs
from tests.durability.conftest import Start
from tests.durability.outcomes import HOOKS, Told, consume, thread_of, told
from tests.support.proxy import Moment, Proxy, Write
from tests.support.servers import RedisServer
from tests.support.workers import WorkerProcess, wait_until

Agents = dict[str, EventedAgent]


@dataclass
class Stage:
    """A worker that will freeze, on its own queue, and one that takes the queue over."""

    agents: Agents
    runs: Runs
    zombie: WorkerProcess
    proxy: Proxy
    frozen: threading.Event
    held: threading.Event

    def freeze_at(self, write: Write, moment: Moment, *, hold: bool = False) -> None:
        """Freeze at that write; *hold* it on the way, to be let go when the worker wakes up."""

        def watch(seen: Write, at: Moment) -> bool:
            if (seen, at) == (write, moment) and not self.frozen.is_set():
                self.zombie.pause()
                self.frozen.set()
                if hold:
                    self.held.wait(60)
            return True

        self.proxy.watch = watch

    def start(self, agent: str, given: str) -> None:
        name = self.zombie.name
        self.agents[agent].stream(given, run_id=name, queue=name, thread_id=thread_of(name))

    def freeze(self) -> None:
        self.zombie.pause()
        self.frozen.set()

    def finish_elsewhere(self) -> Told:
        """Let the other worker finish the run, wake the zombie up, and see that it is well."""
        name = self.zombie.name
        assert self.frozen.wait(20)
        consume(name, by="survivor")
        outcome = self.runs.observe(name).result(timeout=60)
        assert outcome.status == "finished"
        before = told(self.runs, name), self.runs.get(name).cursor
        consume(name, by="survivor", stop=True)
        self.held.set()
        self.zombie.resume()
        assert self.agents["hello"].generate("Are you well?", queue=name, timeout=20).text
        assert (told(self.runs, name), self.runs.get(name).cursor) == before
        return before[0]


@pytest.fixture(scope="module")
def survivor(start: Start, redis_server: RedisServer) -> Iterator[WorkerProcess]:
    with Proxy(redis_server.port) as proxy:
        yield start("survivor", proxy)


@pytest.fixture
def stage(
    request: pytest.FixtureRequest,
    start: Start,
    survivor: WorkerProcess,
    agents: Agents,
    runs: Runs,
    redis_server: RedisServer,
) -> Iterator[Callable[[str], Stage]]:
    with Proxy(redis_server.port) as proxy:

        def make(name: str) -> Stage:
            zombie = start(name, proxy)
            return Stage(agents, runs, zombie, proxy, threading.Event(), threading.Event())

        yield make


def lines(marks: Path, name: str) -> list[str]:
    return (marks / name).read_text().splitlines()


def test_frozen_between_a_claim_and_its_model_call_it_does_not_call(
    stage: Callable[[str], Stage], marks: Path
) -> None:
    scene = stage("z-claim")
    scene.freeze_at(Write("claim", "z-claim", "1:model"), "after")
    scene.start("careful", "Explore.")
    scene.finish_elsewhere()

    # The two calls of the run itself, both elsewhere.
    assert len(lines(marks, "careful-model")) == 2


def test_frozen_in_a_tool_its_result_is_not_recorded(
    stage: Callable[[str], Stage], marks: Path
) -> None:
    scene = stage("z-tool")
    scene.start("toolbox", 'wait {"seconds": 2}')
    wait_until((marks / "wait").exists, "the tool runs")
    scene.freeze()

    assert scene.finish_elsewhere().text == "waited in attempt 2"


def test_frozen_in_a_tool_of_a_thread_its_result_is_not_recorded(
    stage: Callable[[str], Stage], marks: Path
) -> None:
    scene = stage("z-block")
    scene.start("toolbox", 'block {"seconds": 2}')
    wait_until((marks / "block").exists, "the tool runs")
    scene.freeze()

    assert scene.finish_elsewhere().text == "blocked in attempt 2"


def test_frozen_between_a_commit_and_its_messages_it_repeats_nothing(
    stage: Callable[[str], Stage], marks: Path
) -> None:
    scene = stage("z-send")
    scene.freeze_at(Write("commit", "z-send", "1:model"), "after")
    scene.start("careful", "Explore.")
    scene.finish_elsewhere()

    assert len(lines(marks, "careful-model")) == 2
    assert len(lines(marks, "careful")) == 4


def test_frozen_with_the_claim_of_the_next_step_it_decides_nothing(
    stage: Callable[[str], Stage], marks: Path
) -> None:
    scene = stage("z-end")
    scene.freeze_at(Write("commit", "z-end", "1:tool:call_1_0"), "after")
    scene.start("careful", "Explore.")
    scene.finish_elsewhere()

    assert len(lines(marks, "careful-model")) == 2
    assert len(lines(marks, "careful")) == 4


def test_frozen_with_the_claim_of_the_end_it_tells_no_hook(
    stage: Callable[[str], Stage], marks: Path
) -> None:
    scene = stage("z-hook")
    scene.freeze_at(Write("commit", "z-hook", "2:model"), "after")
    scene.start("careful", "Explore.")
    scene.finish_elsewhere()

    told = [line.split() for line in lines(marks, "careful-tellers")]
    assert {key for _, key in told} == {f"z-hook:{each}" for each in HOOKS}
    own = {key for pid, key in told if int(pid) == scene.zombie.pid}
    assert own == {"z-hook:start", "z-hook:step:1"}


HELD = {
    "enter": "",
    "append": "2:model",
    "commit": "1:tool:call_1_0",
    "heartbeat": "1:tool:call_1_0",
    "requeue": "1:tool:call_1_1",
    "remember": "",
    "leave_thread": "",
}


@pytest.mark.parametrize("script", HELD)
def test_a_write_that_was_long_on_its_way_changes_nothing(
    script: str, stage: Callable[[str], Stage]
) -> None:
    name = f"z-{script}"
    scene = stage(name)
    scene.freeze_at(Write(script, name, HELD[script]), "before", hold=True)
    scene.start("careful", "Explore.")
    ours = scene.finish_elsewhere().remembered
    scene.agents["hello"].generate("And then?", queue=name, thread_id=thread_of(name), timeout=20)

    remembered = [str(message) for message in scene.runs.thread(thread_of(name))]
    assert (remembered[:-2], len(ours)) == (ours, 6)
    info = scene.runs.thread_info(thread_of(name))
    assert info is not None
    assert (info.messages, info.runs) == (8, 2)
