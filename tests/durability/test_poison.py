"""Tools and models that take processes down or still: their runs end, and the fleet lives on."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from evented_agent import EventedAgent, RunFailed, Runs
from evented_agent.chunks import StepReset
from tests.conftest import StartWorker
from tests.support.words import TEXT
from tests.support.workers import WorkerProcess, wait_until

Agents = dict[str, EventedAgent]


@pytest.fixture(scope="module")
def worker_app() -> str:
    return "tests.durability.poison_app"


@contextmanager
def restarted(*workers: WorkerProcess) -> Iterator[None]:
    """Start workers again when they are gone, as an init system does."""
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(0.1):
            for worker in workers:
                if worker.process.poll() is not None:
                    worker.start()

    thread = threading.Thread(target=watch)
    thread.start()
    yield
    is_over.set()
    thread.join()


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_a_run_that_kills_its_worker_each_time_ends_after_5_crashes(
    pool: str, agents: Agents, start_worker: StartWorker, marks: Path
) -> None:
    with restarted(*(start_worker(name, pool=pool, concurrency=4) for name in ("w1", "w2"))):
        by_tool = agents["poisonous"].stream("die {}")
        by_model = agents["deadly"].stream("Go.")

        assert "stopped 5 times; it may have done part" in by_tool.result(timeout=90).answer
        with pytest.raises(RunFailed, match="Poisoned: The worker that ran this model task"):
            by_model.result(timeout=90)
        assert agents["hello"].generate("Hi.", timeout=30).text == "Hello, world."
    for name in ("die", "deadly"):
        # Fewer where one took the other's worker down before that had made its call.
        assert 0 < len((marks / name).read_text().splitlines()) <= 5


def test_a_tool_without_memory_is_an_error_that_the_model_sees(
    agents: Agents, start_worker: StartWorker
) -> None:
    worker = start_worker()

    assert agents["poisonous"].generate("hog {}", timeout=30).answer.startswith("error MemoryError")
    assert worker.process.poll() is None


def test_a_blocked_event_loop_loses_no_lease_and_is_told_with_its_stack(
    agents: Agents, start_worker: StartWorker, marks: Path
) -> None:
    workers = [start_worker("w1"), start_worker("w2")]
    run = agents["poisonous"].stream('hang {"seconds": 30}')

    assert run.result(timeout=60).answer == "hung in attempt 1"
    log = "".join(worker.text() for worker in workers)
    assert "The event loop has been blocked for" in log
    assert "time.sleep(seconds)" in log
    assert "stood still" not in log


def test_a_held_gil_hands_the_runs_of_its_process_over(
    agents: Agents, runs: Runs, start_worker: StartWorker, marks: Path
) -> None:
    holder = start_worker("holder")
    speaking = agents["speaker"].stream("Talk.")
    next(part for part in speaking.text_parts() if part.snapshot.endswith("word5 "))
    holding = agents["poisonous"].stream('hold {"seconds": 12}')
    wait_until((marks / "hold").exists, "the tool runs")
    start_worker("other")

    assert holding.result(timeout=60).answer == "held in attempt 2"
    assert speaking.result(timeout=60).text == TEXT
    before = [runs.get(run.run_id).cursor for run in (speaking, holding)]
    told = wait_until(lambda: "stood still" in holder.text() and holder.text(), "it woke up", 30)
    assert "It ran: " in told
    assert f"hold of run {holding.run_id}" in told
    assert [runs.get(run.run_id).cursor for run in (speaking, holding)] == before
    chunks = agents["speaker"].observe(speaking.run_id)
    resets = [chunk.payload for chunk in chunks if isinstance(chunk, StepReset)]
    assert [reset.reason for reset in resets] == ["crash"]


def test_an_isolated_tool_holds_and_kills_only_itself(
    agents: Agents, start_worker: StartWorker
) -> None:
    worker = start_worker()
    speaking = agents["speaker"].stream("Talk.")
    held = agents["poisonous"].stream('hold_apart {"seconds": 5}')
    killed = agents["poisonous"].stream("die_apart {}")

    assert held.result(timeout=60).answer == "held apart in attempt 1"
    assert killed.result(timeout=60).answer.startswith("error IsolatedCrash")
    assert speaking.result(timeout=60).text == TEXT
    assert not [chunk for chunk in speaking if _is_reset(chunk)]
    assert worker.process.poll() is None


def _is_reset(chunk: object) -> bool:
    return isinstance(chunk, StepReset)
