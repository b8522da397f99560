"""Who else traces: what they see of runs, and what is seen twice."""

import json
import os
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from evented_agent import EventedAgent, RunFailed
from tests.conftest import StartWorker
from tests.support.servers import RedisServer
from tests.support.traced_run import OURS, names, spans_of_one_run
from tests.support.traces import FILE, NAME, StoredSpan, spans_in
from tests.support.warm_start import run_warm
from tests.support.workers import wait_until

Spans = list[StoredSpan]


def test_the_instrumentation_of_the_openai_sdk_adds_no_span(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    spans = spans_of_one_run("openai", redis_server, tmp_path)

    assert {span.scope for span in spans} == {"evented_agent"}
    assert names(spans) == OURS


def test_celerys_instrumentation_traces_messages_and_ours_the_calls(
    environment: dict[str, str], start_worker: StartWorker, tmp_path: Path
) -> None:
    env = {FILE: str(tmp_path / "spans"), "TEST_CELERY_SPANS": "1"}
    start_worker(app="tests.durability.traced_app", env={**env, NAME: "w1"})
    from tests.durability.traced_app import evented

    def call(*arguments: str) -> None:
        given = {**os.environ, **environment, **env, NAME: "web"}
        done = run_warm(["tests.durability.traced_app", *arguments], given)
        assert done.returncode == 0, done.stderr

    run_id, clerk = uuid.uuid4().hex, evented["clerk"]
    call("start", run_id, "fast")
    wait_until(lambda: clerk.get(run_id).status == "suspended", "it waits for approval")
    call("approve", run_id)
    assert clerk.observe(run_id).result(30).answer == "Order 7 is refunded."

    def spans() -> Spans:
        return spans_in(tmp_path / "spans")

    wait_until(lambda: names(spans())["end_run clerk"], "the end is traced")
    ours = [span for span in spans() if span.scope == "evented_agent"]
    [start] = [span for span in ours if span.name == "invoke_agent clerk"]
    assert names(ours) == {
        "invoke_agent clerk": 1,
        "chat model": 4,
        "execute_tool look_up": 1,
        "execute_tool courier": 1,
        "invoke_agent courier": 1,
        "execute_tool book_van": 1,
        "end_run courier": 1,
        "resume_run clerk": 1,
        "execute_tool refund": 1,
        "end_run clerk": 1,
    }
    named = {span.span_id: span.name for span in ours}
    assert {named[span.parent or ""] for span in ours if span is not start} == {
        "invoke_agent clerk",
        "execute_tool courier",
        "invoke_agent courier",
    }
    celerys = [span for span in spans() if span.scope.endswith("celery")]
    runs = Counter(span.name for span in celerys if span.name.startswith("run/"))
    assert runs == {"run/evented_agent.model": 4, "run/evented_agent.tool": 4}
    assert {span.trace_id for span in celerys} == {start.trace_id}


@pytest.mark.parametrize(("twice", "expected"), [({}, 1), ({"TEST_SENTRY_TWICE": "1"}, 2)])
def test_sentry_reports_a_failed_run_once_where_its_log_line_is_ignored(
    agents: dict[str, EventedAgent],
    start_worker: StartWorker,
    marks: Path,
    twice: dict[str, str],
    expected: int,
) -> None:
    start_worker(app="tests.engines.sentry_app", env=twice)
    from tests.support.app import evented

    run = evented["failing"].stream("Try.")
    with pytest.raises(RunFailed):
        run.result(30)
    told = evented["toolbox"].generate("broken", timeout=30)

    def events() -> list[Any]:
        file = marks / "sentry"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    wait_until(lambda: len(events()) >= expected, "Sentry has its reports")
    assert told.answer
    assert len(events()) == expected
    assert "out of credit" in json.dumps(events())
