"""Background calls and the turns that follow them, when workers and Redis die at the wrong time."""

import json
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from evented_agent import EventedAgent, RunAborted, Runs, RunStream
from tests.conftest import StartWorker
from tests.durability.conftest import Doom, agents_on
from tests.durability.outcomes import consume
from tests.support.proxy import Moment, Write
from tests.support.servers import RedisServer
from tests.support.workers import wait_until

Agents = dict[str, EventedAgent]
REPORT = 'report {"seconds": 2}'
#: The report's commit, that never came.
INTERRUPTED = ("1:tool:call_1_0", "before")
TEXT = "It is being written.\n\nThe report: written in attempt {attempt}."


@pytest.fixture(scope="module")
def worker_app() -> str:
    return "tests.durability.background_app"


def lines(marks: Path, name: str) -> list[str]:
    file = marks / name
    return file.read_text().splitlines() if file.exists() else []


def kinds(run: RunStream) -> Counter[str]:
    return Counter(chunk.type for chunk in run)


def test_a_worker_killed_while_a_background_call_runs(
    agents: Agents, start_worker: StartWorker, marks: Path
) -> None:
    victim = start_worker("w1")
    run = agents["writer"].stream('report {"seconds": 4}', until_idle=True)
    wait_until(lambda: lines(marks, "report"), "the report has begun")
    wait_until(lambda: "It is being written" in run_text(agents, run), "the chat went on")
    victim.kill()
    start_worker("w2")

    assert run.result(timeout=60).text == TEXT.format(attempt=2)
    assert kinds(run)["finish"] == 1


def run_text(agents: Agents, run: RunStream) -> str:
    return agents["writer"].client.result(run.run_id).text


@pytest.mark.parametrize(
    ("script", "task", "when"),
    [
        ("commit", "1:tool:call_1_0", "before"),
        ("commit", "1:tool:call_1_0", "after"),
        ("commit", "2:end", "before"),
        ("commit", "2:end", "after"),
        ("append", "3:model", "after"),
        ("commit", "3:model", "before"),
        ("commit", "3:model", "after"),
    ],
)
def test_a_worker_killed_between_a_completion_and_the_end_of_its_follow_up(
    script: str,
    task: str,
    when: Moment,
    doom: Doom,
    start_worker: StartWorker,
    agents: Agents,
    marks: Path,
) -> None:
    name = f"follow-{script}-{task.replace(':', '-')}-{when}"

    def is_it(write: Write) -> bool:
        return (write.script, write.run_id, write.task) == (script, name, task)

    with doom(name, is_it, when) as killed:
        run = agents["writer"].stream(REPORT, run_id=name, queue=name, until_idle=True)
        assert killed.wait(30)
    start_worker("survivor")
    consume(name, by="survivor")

    result = run.result(timeout=60)
    attempts = len(lines(marks, "report"))
    assert result.text == TEXT.format(attempt=attempts)
    # Not yet completed when the worker died: it was written again.
    assert attempts == (2 if task == "2:end" or (task, when) == INTERRUPTED else 1)
    chunks = list(run)
    assert [chunk.seq for chunk in chunks] == list(range(1, len(chunks) + 1))
    assert Counter(chunk.type for chunk in chunks)["finish"] == 1


@pytest.mark.parametrize("script", ["claim", "commit"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_worker_killed_after_it_dropped_a_call_drops_it_once(
    script: str, when: Moment, doom: Doom, start_worker: StartWorker, agents: Agents
) -> None:
    name = f"dropped-{script}-{when}"

    def is_it(write: Write) -> bool:
        return (write.script, write.run_id, write.task) == (script, name, "2:end:dropped")

    with doom(name, is_it, when) as killed:
        run = agents["writer"].stream(
            'report {"seconds": 60}', run_id=name, queue=name, until_idle=0.5
        )
        assert killed.wait(30)
    start_worker("survivor")
    consume(name, by="survivor")

    result = run.result(timeout=60)
    assert result.text == "It is being written."
    dropped = result.steps[0].results_by_call["call_1_0"]
    assert dropped.is_error
    assert dropped.result.startswith("Dropped: ")
    told = kinds(run)
    assert (told["background-task-cancelled"], told["finish"]) == (1, 1)


def test_a_completion_after_an_abort_changes_nothing(
    agents: Agents, runs: Runs, start_worker: StartWorker, marks: Path
) -> None:
    start_worker()
    run = agents["writer"].stream('block_apart {"seconds": 1}', until_idle=True)
    wait_until(lambda: lines(marks, "block_apart"), "it has begun")
    run.abort()
    with pytest.raises(RunAborted):
        run.result(timeout=20)
    wait_until(lambda: len(lines(marks, "block_apart")) == 2, "it went on to its end")
    types = [chunk.type for chunk in runs.observe(run.run_id)]
    assert types[-1] == "abort"
    assert "background-task-completed" not in types


def test_a_redis_that_restarts_loses_no_background_call(
    tmp_path: Path, start_worker: StartWorker, redis_server: RedisServer, marks: Path
) -> None:
    with RedisServer(tmp_path / "own") as own:
        env = {"TEST_REDIS_URL": own.url}
        start_worker(env=env)
        agents = agents_on(own.url, redis_server.url, "tests.durability.background_app")
        run = agents["writer"].stream(REPORT, until_idle=True)
        wait_until(lambda: lines(marks, "report"), "the report has begun")
        own.restart()
        result = run.result(timeout=60)
        assert result.text == TEXT.format(attempt=len(lines(marks, "report")))


def test_two_hundred_background_calls_keep_to_the_limit_and_arrive_once(
    agents: Agents, start_worker: StartWorker, marks: Path
) -> None:
    start_worker("w1", concurrency=50)
    start_worker("w2", concurrency=50)
    asked = "\n".join(f"crowd {json.dumps({'n': n})}" for n in range(10))
    started = [agents["crowd"].stream(asked, until_idle=True) for _ in range(20)]
    for run in started:
        result = run.result(timeout=100)
        assert [each.result for each in result.steps[0].results] == list(range(10))
        completed = kinds(run)
        assert completed["background-task-completed"] == 10
        assert completed["finish"] == 1
    calls = lines(marks, "crowd")
    assert len([line for line in calls if line.startswith("in")]) == 200
    assert most_at_once(calls) <= 10


def most_at_once(calls: list[str]) -> int:
    count = most = 0
    for line in calls:
        count += 1 if line.startswith("in") else -1
        most = max(most, count)
    return most


def text_of(run_id: str) -> str:
    """What a process of its own reads."""
    from tests.durability.background_app import evented

    *_, last = evented["writer"].observe(run_id).text_parts()
    return last.snapshot


def test_a_third_process_joins_in_the_middle_and_has_the_same_text(
    agents: Agents, start_worker: StartWorker, marks: Path
) -> None:
    start_worker()
    run = agents["writer"].stream('report {"seconds": 6}', until_idle=True)
    wait_until(lambda: lines(marks, "report"), "the report has begun")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        theirs = processes.submit(text_of, run.run_id)
        ours = [part.snapshot for part in run.text_parts()][-1]
        assert theirs.result(timeout=60) == ours == TEXT.format(attempt=1)
