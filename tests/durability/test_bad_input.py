"""Bad input meets a real worker: an error of the run or for the model, and the worker lives on."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from evented_agent import EventedAgent, RunFailed, RunInfo, Runs
from tests.support.workers import WorkerProcess, wait_until

Agents = dict[str, EventedAgent]


@pytest.fixture(scope="module")
def worker_app() -> str:
    return "tests.durability.bad_input_app"


@pytest.fixture(autouse=True, scope="module")
def worker(module_worker: WorkerProcess) -> Iterator[WorkerProcess]:
    pid = module_worker.pid
    yield module_worker
    assert module_worker.process.poll() is None
    assert module_worker.pid == pid


@pytest.fixture(autouse=True)
def is_well(agents: Agents) -> Iterator[None]:
    """After whatever the test did, the worker answers."""
    yield
    assert agents["hello"].generate("Are you well?", timeout=20).text == "Hello, world."


def app() -> Celery:
    from tests.support.app import app

    return app


@pytest.mark.parametrize("name", ["model", "tool", "end"])
def test_messages_made_by_hand(name: str, agents: Agents, runs: Runs) -> None:
    other = agents["hello"].stream("Hi.")
    other.result(timeout=20)
    before = runs.get(other.run_id).cursor
    for args in [
        (),
        ("x",),
        ("x", "1:model", "more"),
        (None, None),
        ([1], {"a": 1}),
        ("no run", "1:model"),
        ("\ud800", "1:model"),
        ("no-such-run", "1:model"),
        (other.run_id, "1:model"),
        (other.run_id, "1:end"),
        (other.run_id, "9:tool:none"),
        (other.run_id, ""),
        (other.run_id, "x" * 100_000),
    ]:
        app().send_task(f"evented_agent.{name}", args=args, queue="agents")
    app().send_task(f"evented_agent.{name}", kwargs={"run_id": other.run_id}, queue="agents")

    wait_until(lambda: queue_length(runs) == 0, "all were taken")
    assert runs.get(other.run_id).cursor == before


def test_messages_that_are_no_celery_messages(runs: Runs) -> None:
    with app().connection_for_write() as connection, connection.Producer() as producer:
        for body, content_type in [
            ("{garbage", "application/json"),
            (b"\x80\x04}", "application/x-python-serialize"),
            ("text", "text/plain"),
            (b"\xff\xfe", "application/unheard-of"),
        ]:
            producer.publish(
                body, routing_key="agents", content_type=content_type, content_encoding="utf-8"
            )
    wait_until(lambda: queue_length(runs) == 0, "all were taken")


def queue_length(runs: Runs) -> int:
    return int(runs.ledger.client().llen("test-broker:agents"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("messages", "[{garbage"),
        ("messages", '[{"role":"nobody"}]'),
        ("options", "{garbage"),
        ("options", '{"max_steps":"many"}'),
    ],
)
def test_a_damaged_record_ends_its_run_with_an_error(
    field: str, value: str, agents: Agents, runs: Runs
) -> None:
    def damage(run_id: str) -> None:
        runs.ledger.client().hset(runs.keys.of(run_id).run, field, value)

    run = started_after(agents, runs, damage)
    info = wait_until(lambda: ended(runs, run.run_id), "the run ended")
    assert info.status == "failed"
    assert info.error is not None


def ended(runs: Runs, run_id: str) -> RunInfo | None:
    info = runs.get(run_id)
    return info if info.is_ended else None


def test_a_damaged_journal_ends_its_run_with_an_error(agents: Agents, runs: Runs) -> None:
    def damage(run_id: str) -> None:
        runs.ledger.client().rpush(runs.keys.of(run_id).journal, "{garbage")

    run = started_after(agents, runs, damage)
    info = wait_until(lambda: ended(runs, run.run_id), "the run ended")
    assert info.status == "failed"
    assert "A journal entry cannot be read" in str(info.error)


def started_after(agents: Agents, runs: Runs, damage: Any) -> Any:
    """A run whose record was changed between its creation and its first message."""
    run = agents["hello"].stream("Hi.", queue="nobody")
    damage(run.run_id)
    runs.ledger.client().hset(runs.keys.of(run.run_id).run, "queue", "agents")
    app().send_task("evented_agent.model", args=(run.run_id, "1:model"), queue="agents")
    return run


def call(agents: Agents, name: str, arguments: str = "{}") -> str:
    return agents["misbehaving"].generate(f"{name} {arguments}", timeout=30).answer


def test_wrong_arguments_and_tools_are_told_to_the_model(agents: Agents) -> None:
    assert call(agents, "add", '{"a": "x"}').startswith("error InvalidArguments")
    assert call(agents, "dance").startswith("error ToolNotFound: There is no tool 'dance'")
    assert call(agents, "large", '{"size": 2000000}').startswith("error ToolResultUnusable")


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("unprintable", "error Unprintable"),
        ("system-exit", "error ToolExit: SystemExit"),
        ("interrupt", "error ToolExit: KeyboardInterrupt"),
        ("cancelled", "error ToolExit: CancelledError"),
        ("not-json", "error"),
        ("recursive", "error"),
        ("nan", "error ToolResultUnusable"),
        ("surrogate", "error"),
    ],
)
@pytest.mark.parametrize("tool", ["misbehave", "amisbehave"])
def test_tools_that_misbehave(tool: str, how: str, told: str, agents: Agents) -> None:
    answer = call(agents, tool, json.dumps({"how": how}))

    assert answer.lower().startswith(told.lower()), answer


@pytest.mark.parametrize("agent", ["surrogates", "nul"])
def test_odd_characters_of_a_model_are_shown_or_end_the_run(agent: str, agents: Agents) -> None:
    try:
        text = agents[agent].generate("Hi.", timeout=30).text
    except RunFailed as failure:
        assert "surrogate" in str(failure)  # noqa: PT017 - or the text comes as it is
    else:
        assert text in ("before \x00 after", "before \ufffd after")


def test_nothing_of_all_this_is_left(runs: Runs, marks: Path) -> None:
    assert runs.list(status="running") == []
