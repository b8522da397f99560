"""Logs as JSON, where that is asked for and nobody has chosen another form."""

import json
import logging
import math
import os
import uuid
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import context, trace
from opentelemetry.trace import NonRecordingSpan, SpanContext

from evented_agent import EventedAgent
from evented_agent.engines.celery.json_logs import LOG_FORMAT_VARIABLE
from evented_agent.logs import JsonFormatter, RunFields, begin_work
from tests.conftest import StartWorker
from tests.support.traces import FILE, spans_in
from tests.support.warm_start import run_warm
from tests.support.workers import WorkerProcess, wait_until

JSON = {LOG_FORMAT_VARIABLE: "json"}


def records_of(worker: WorkerProcess) -> list[dict[str, Any]]:
    # The last line may be half written.
    lines = [line for line in worker.text().splitlines() if line[:1] + line[-1:] == "{}"]
    return [json.loads(line) for line in lines]


def test_a_worker_writes_one_object_a_line_that_names_run_and_span(
    agents: dict[str, EventedAgent], start_worker: StartWorker, tmp_path: Path
) -> None:
    spans = tmp_path / "spans"
    worker = start_worker(app="tests.durability.traced_app", env={**JSON, FILE: str(spans)})
    from tests.durability.traced_app import evented

    run_id = uuid.uuid4().hex
    command = ["tests.durability.traced_app", "start", run_id, "fast"]
    done = run_warm(command, {**os.environ, FILE: str(spans)})
    assert done.returncode == 0, done.stderr
    clerk = evented["clerk"]
    wait_until(lambda: clerk.get(run_id).status == "suspended", "it waits for approval")
    clerk.approve(run_id)
    clerk.observe(run_id).result(30)

    def lines_of_run() -> list[dict[str, Any]]:
        return [each for each in records_of(worker) if each.get("run_id") == run_id]

    wait_until(lambda: len(lines_of_run()) == 2, "the end is logged")
    records, ours = records_of(worker), lines_of_run()
    assert {each["logger"] for each in ours} == {"evented_agent.execution.executor"}
    [began, ended] = ours
    assert began["message"] == f"Run {run_id} of agent clerk started"
    assert (began["task_key"], began["agent"], began["attempt"]) == ("1:model", "clerk", 1)
    assert (began["level"], ended["task_key"]) == ("INFO", "2:end")
    assert began["timestamp"].endswith("+00:00")
    [start] = [span for span in spans_in(spans) if span.name == "invoke_agent clerk"]
    assert {(each["trace_id"], each["span_id"]) for each in ours} == {
        (start.trace_id, start.span_id)
    }
    celerys = [each for each in records if each["logger"] == "celery.app.trace"]
    assert any(f"{run_id}:1:model:1" in each["message"] for each in celerys)
    task_lines = [line for line in worker.text().splitlines() if run_id in line]
    assert all(line.startswith("{") for line in task_lines)


def test_a_format_of_the_users_stays(
    agents: dict[str, EventedAgent], start_worker: StartWorker
) -> None:
    worker = start_worker(app="tests.engines.shop_app", env=JSON)
    from tests.engines.shop_app import evented

    run = evented["hello"].stream("Hi")
    run.result(30)
    wait_until(lambda: "finished (" in worker.text(), "the end is logged")

    assert records_of(worker) == []
    assert f"INFO|evented_agent.execution.executor|{run.run_id}|1:model|hello|1|" in worker.text()
    assert "This log has a format of its own and is not written as JSON" in worker.text()


def test_the_formatter_of_structlog_stays_and_has_the_fields(
    agents: dict[str, EventedAgent], start_worker: StartWorker
) -> None:
    # Nobody says "ready" in Celery's words before structlog is set up.
    worker = start_worker(app="tests.engines.structlog_app")
    from tests.engines.structlog_app import evented

    run = evented["clerk"].stream('stock {"of": "milk"}')
    run.result(30)
    wait_until(lambda: "finished (" in worker.text(), "the end is logged")

    said = next(line for line in worker.text().splitlines() if "counting milk" in line)
    assert f"run_id={run.run_id} agent=clerk" in said
    assert records_of(worker) == []


def record(**given: Any) -> logging.LogRecord:
    about = {"name": "shop", "levelname": "INFO", "levelno": logging.INFO, "msg": "hello"}
    return logging.makeLogRecord({**about, "created": 0.0, **given})


def test_a_line_has_what_is_known_and_whatever_can_be_written() -> None:
    line = JsonFormatter().format(
        record(order=7, ok=True, part=math.nan, obj=object(), odd="\ud800")
    )

    assert json.loads(line) == {
        "timestamp": "1970-01-01T00:00:00.000+00:00",
        "level": "INFO",
        "logger": "shop",
        "message": "hello",
        "order": 7,
        "ok": True,
        "odd": "\ud800",
    }
    assert line.isascii()


def test_a_line_names_the_run_and_the_span_with_and_without_a_filter() -> None:
    import contextvars

    def inside() -> list[dict[str, Any]]:
        begin_work("r", "1:model", "clerk", 2)
        span = NonRecordingSpan(SpanContext(0xA, 0xB, is_remote=False))
        context.attach(trace.set_span_in_context(span))
        filtered = record()
        RunFields().filter(filtered)
        return [json.loads(JsonFormatter().format(each)) for each in (record(), filtered)]

    for made in contextvars.copy_context().run(inside):
        assert made["trace_id"] == f"{0xA:032x}"
        assert made["span_id"] == f"{0xB:016x}"
        assert (made["run_id"], made["task_key"], made["agent"], made["attempt"]) == (
            *("r", "1:model", "clerk"),
            2,
        )


@pytest.mark.parametrize("name", ["run_id", "task", "agent", "attempt", "trace_id", "span_id"])
@pytest.mark.parametrize("value", [uuid.UUID(int=1), object(), {"a": 1}, math.nan])
def test_a_line_is_written_whatever_somebody_calls_as_its_fields_are(
    name: str, value: object
) -> None:
    line = JsonFormatter().format(record(order=7, **{name: value}))

    assert json.loads(line)["order"] == 7
    assert "NaN" not in line
    assert {name, "task_key"}.isdisjoint(json.loads(line))


def test_a_line_with_a_trace_of_somebodys_own_needs_no_span() -> None:
    line = JsonFormatter().format(record(trace_id="mine"))

    assert json.loads(line)["trace_id"] == "mine"
    filtered = record(trace_id="mine")
    RunFields().filter(filtered)
    assert logging.Formatter("%(trace_id)s %(span_id)s").format(filtered) == "mine -"


def test_an_exception_is_in_its_line() -> None:
    error = ValueError("no such luck")
    line = JsonFormatter().format(record(exc_info=(ValueError, error, None)))

    assert json.loads(line)["exception"].endswith("ValueError: no such luck")
    assert "\n" not in line
