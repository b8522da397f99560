"""What workers count is what they did: never more, and all of it once they have stopped."""

import importlib
import os
import re
import threading
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from celery import Celery

from evented_agent import (
    Agent,
    EventedAgent,
    Metrics,
    RunAborted,
    RunFailed,
    Runs,
    Settings,
    create_durable_agent,
    create_evented_agent,
    tool,
)
from evented_agent.client.metrics_series import SeriesSpan
from evented_agent.models.protocol import ModelRequest
from evented_agent.testing import Say, ScriptedModel, tool_call
from tests.conftest import StartWorker
from tests.support.servers import RedisServer
from tests.support.words import TEXT
from tests.support.workers import WorkerProcess, wait_until

Agents = Mapping[str, EventedAgent]
Start = Callable[..., WorkerProcess]

RUNS = 8


@pytest.fixture(scope="module")
def worker_app() -> str:
    return "tests.engines.counted_app"


@pytest.fixture
def prefix() -> str:
    """A deployment of its own: nobody else counts in it."""
    return f"m{uuid.uuid4().hex[:8]}"


@pytest.fixture
def counted(redis_server: RedisServer, worker_app: str, agents: Agents, prefix: str) -> Agents:
    """The agents of the app, in that deployment."""
    app = Celery("counted", broker=redis_server.url, set_as_current=False)
    app.conf.broker_transport_options = {"global_keyprefix": f"{prefix}-broker:"}
    own = importlib.import_module(worker_app).evented
    return {
        id_: create_evented_agent(
            each.agent, app=app, redis_url=redis_server.url, settings=Settings(prefix=prefix)
        )
        for id_, each in own.items()
    }


@pytest.fixture
def runs(redis_server: RedisServer, prefix: str) -> Runs:
    return Runs(redis_server.url, settings=Settings(prefix=prefix))


@pytest.fixture
def start(start_worker: StartWorker, prefix: str) -> Start:
    def start_one(name: str = "w1", *, interval: float = 1, **options: object) -> WorkerProcess:
        env = {"TEST_PREFIX": prefix, "TEST_COUNT_INTERVAL": str(interval)}
        return start_worker(name, env=env, **options)

    return start_one


def stop(worker: WorkerProcess) -> None:
    worker.terminate()
    wait_until(lambda: worker.process.poll() is not None, f"{worker.name} has stopped", 30)


def lines(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


def label_sets(text: str) -> set[str]:
    return {line.rpartition(" ")[0] for line in text.splitlines() if line[0] != "#"}


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_after_a_clean_stop_all_that_was_done_is_counted(
    pool: str, counted: Agents, runs: Runs, start: Start, marks: Path
) -> None:
    # So long that only the stop adds anything.
    worker = start(pool=pool, concurrency=4, interval=600)
    begun = [counted["stamper"].stream("Stamp.") for _ in range(RUNS)]
    retried, failed = counted["retrier"].stream("Try."), counted["failing"].stream("Fail.")
    aborted = counted["speaker"].stream("Talk.")
    next(aborted.text_parts())
    during = runs.metrics()
    assert aborted.abort()
    with pytest.raises(RunAborted):
        aborted.result(30)
    with pytest.raises(RunFailed):
        failed.result(30)
    for run in [*begun, retried]:
        run.result(30)
    stop(worker)

    counters = runs.metrics().counters
    assert lines(marks / "models") == counters["model_calls"]["stamper"] == 2 * RUNS
    assert lines(marks / "tools") == counters["tool_calls"]["stamper"] == 2 * RUNS
    assert lines(marks / "flaky") == counters["tool_calls"]["retrier"] == 2
    assert counters["steps"] == {"stamper": 2 * RUNS, "retrier": 2, "speaker": 1}
    assert counters["input_tokens"]["stamper"] == 10 * 2 * RUNS
    assert counters["output_tokens"]["stamper"] == 5 * 2 * RUNS
    assert counters["retries"] == {"retrier": 1}
    assert counters["runs_finished"] == {"stamper": RUNS, "retrier": 1}
    assert counters["runs_failed"] == {"failing": 1}
    assert counters["runs_aborted"] == {"speaker": 1}
    assert counters["queue_waits"]["stamper"] == 4 * RUNS
    assert "crashes" not in counters
    assert during.runs["running"]["speaker"] == 1
    assert (during.workers, during.slots, during.serving["stamper"]) == (1, 4, 1)
    assert counters["runs_started"] == {"stamper": RUNS, "retrier": 1, "failing": 1, "speaker": 1}
    assert counters["answers"]["stamper"] == 2 * RUNS
    assert 0 < counters["run_ms"]["stamper"] < 30_000 * RUNS
    assert runs.metrics().last_hour == counters
    spans: tuple[SeriesSpan, ...] = ("hour", "day")
    for span in spans:
        over_time = runs.metrics_series(span)
        assert sum(over_time.values("runs_finished")) == RUNS + 1
        longest = max(over_time.values("run_peak_ms", "stamper"))
        assert counters["run_ms"]["stamper"] / RUNS <= longest < 30_000
    with pytest.raises(ValueError, match="span='week': use one of hour, day"):
        runs.metrics_series("week")  # type: ignore[arg-type]


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_a_killed_worker_is_counted_as_one_crash_and_one_recovery(
    pool: str, counted: Agents, runs: Runs, start: Start
) -> None:
    workers = [start(name, pool=pool, concurrency=2) for name in ("w1", "w2")]
    run = counted["speaker"].stream("Talk.")
    for part in run.text_parts():
        if part.snapshot.endswith("word20 "):
            break
    owner = wait_until(lambda: runs.get(run.run_id).worker, "a worker runs it")
    victim = next(worker for worker in workers if owner.startswith(f"{worker.name}@"))
    victim.kill()
    assert run.result(timeout=30).text == TEXT
    stop(next(worker for worker in workers if worker is not victim))

    counters = runs.metrics().counters
    assert counters["crashes"] == counters["recoveries"] == {"speaker": 1}
    assert 0 <= counters["recovery_ms"]["speaker"] < 20_000
    # The victim's first call may not have been added to the sums when it died.
    assert 1 <= counters["model_calls"]["speaker"] <= 2
    assert counters["steps"] == counters["runs_finished"] == {"speaker": 1}


def test_a_run_that_a_caller_aborts_is_counted_and_its_wait_is_seen(
    counted: Agents, runs: Runs, start: Start
) -> None:
    waiting = counted["hello"].stream("Hello.")
    before = runs.metrics()
    assert before.runs["queued"] == {"": 1}
    assert before.oldest["queued"] >= 0
    assert (before.workers, before.counters) == (0, {})

    worker = start(queue="elsewhere")
    runs.abort(waiting.run_id)
    wait_until(lambda: runs.metrics().runs["aborted"][""] == 1, "it is aborted")
    stop(worker)


def test_runs_in_this_process_are_counted(redis_server: RedisServer, prefix: str) -> None:
    agent = Agent(id="here", model=ScriptedModel(["Hello."]))
    local = create_durable_agent(
        agent, redis_url=redis_server.url, settings=Settings(prefix=prefix)
    )
    for _ in range(3):
        local.generate("Hello.", timeout=20)
    wait_until(
        lambda: of_process(redis_server, prefix).counters.get("steps") == {"here": 3},
        "what was done is added within a second or so",
    )
    local.close()

    counters = of_process(redis_server, prefix).counters
    assert counters["steps"] == counters["runs_finished"] == {"here": 3}


def test_a_run_that_only_waits_for_its_background_calls_is_idle(
    redis_server: RedisServer, prefix: str
) -> None:
    gate = threading.Event()

    @tool(background=True)
    def report() -> str:
        """Write a report, once the test says so."""
        assert gate.wait(30)
        return "written"

    script = ScriptedModel([[tool_call("report")], "I am at it.", "Here it is."])
    local = create_durable_agent(
        Agent(id="here", model=script, tools=[report]),
        redis_url=redis_server.url,
        settings=Settings(prefix=prefix),
    )
    run = local.stream("Report.", until_idle=True)
    wait_until(lambda: idle_in(redis_server, prefix) == {"here": 1, "": 0}, "it is idle")
    found = of_process(redis_server, prefix)
    assert found.runs["running"]["here"] == 1
    assert 'evented_agent_idle_runs{agent="here"} 1\n' in found.prometheus()
    gate.set()
    assert run.result(20).answer == "Here it is."
    assert idle_in(redis_server, prefix) == {"here": 0, "": 0}
    local.close()


def test_who_is_idle_is_not_told_where_too_many_run(
    redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evented_agent.client.metrics.MOST_RUNNING", 0)
    gate = threading.Event()
    local = create_durable_agent(
        Agent(id="here", model=ScriptedModel([lambda _: gate.wait(30) and "Done."])),
        redis_url=redis_server.url,
        settings=Settings(prefix=prefix),
    )
    run = local.stream("Wait.")
    wait_until(lambda: idle_in(redis_server, prefix) is None, "it runs")
    assert "evented_agent_idle_runs{" not in of_process(redis_server, prefix).prometheus()
    gate.set()
    run.result(20)
    local.close()


def idle_in(server: RedisServer, prefix: str) -> Mapping[str, int] | None:
    return of_process(server, prefix).idle


def of_process(server: RedisServer, prefix: str) -> Metrics:
    return Runs(server.url, settings=Settings(prefix=f"{prefix}.here")).metrics()


#: Runs in all, and those at a time.
MANY = int(os.environ.get("TEST_HOSTILE_RUNS", "100"))
AT_ONCE = max(20, MANY // 50)


def test_whatever_models_users_and_runs_are_called_there_are_as_many_label_sets(
    redis_server: RedisServer, prefix: str
) -> None:
    evil = 'x",agent="{}"\n\\evented_agent_runs {}'

    @tool
    def known(name: str) -> str:
        """Say something odd."""
        return evil.format(name, name)

    def call(_: ModelRequest) -> Say:
        name = uuid.uuid4().hex
        return Say("", [tool_call(f"tool_{name}", evil=name), tool_call("known", name=name)])

    def answer(_: ModelRequest) -> Say:
        return Say(evil.format(uuid.uuid4(), uuid.uuid4()))

    agent = Agent(id="here", model=ScriptedModel([call, answer]), tools=[known])
    local = create_durable_agent(
        agent, redis_url=redis_server.url, settings=Settings(prefix=prefix)
    )
    counts = []
    for wave in range(MANY // AT_ONCE):
        begun = [
            local.stream(
                evil.format(wave, number),
                thread_id=evil.format(uuid.uuid4(), number),
                resource_id=uuid.uuid4().hex,
                metadata={uuid.uuid4().hex: number},
            )
            for number in range(AT_ONCE)
        ]
        for run in begun:
            run.result(60)
        wait_until(lambda: _all_ended(redis_server, prefix), "their ends are counted")
        counts.append(len(label_sets(of_process(redis_server, prefix).prometheus())))
    local.close()

    text = of_process(redis_server, prefix).prometheus()
    print(f"{MANY} runs: {set(counts)} label sets")
    assert set(counts) == {counts[0]}
    assert counts[0] < 60
    assert f'evented_agent_runs_ended_total{{status="finished",agent="here"}} {MANY}' in text
    assert all(
        re.fullmatch(r"[a-z_]+(\{[a-z]+=\"[\w.-]*\"(,[a-z]+=\"[\w.-]*\")?\})?", each)
        for each in label_sets(text)
    )


def _all_ended(server: RedisServer, prefix: str) -> bool:
    found = of_process(server, prefix)
    return found.counters.get("runs_finished", {}).get("here") == found.runs["finished"][""]
