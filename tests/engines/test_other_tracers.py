"""Who else traces: what they see of runs, and what is seen twice."""

import gzip
import json
import os
import subprocess
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from evented_agent import EventedAgent, RunFailed
from tests.conftest import StartWorker
from tests.docs.answers import Teller
from tests.support.servers import RedisServer
from tests.support.traces import FILE, NAME, StoredSpan, spans_in
from tests.support.workers import ROOT, wait_until

Spans = list[StoredSpan]


@pytest.fixture
def model() -> Iterator[Teller]:
    teller = Teller()
    yield teller
    teller.close()


def spans_of_one_run(
    set_up: str, model: Teller, redis_server: RedisServer, folder: Path, **env: str
) -> Spans:
    """One run of two model calls and a tool, in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.engines.traced_run", set_up]
    given = {
        "TEST_REDIS_URL": redis_server.url,
        FILE: str(folder / "spans"),
        NAME: "run",
        "OPENAI_API_KEY": "key",
        "OPENAI_BASE_URL": model.url,
        "LOGFIRE_TOKEN": "",
    }
    subprocess.run(command, env={**os.environ, **given, **env}, cwd=ROOT, check=True, timeout=60)
    return spans_in(folder / "spans")


def names(spans: Spans, scope: str = "evented_agent") -> Counter[str]:
    return Counter(span.name for span in spans if span.scope == scope)


OURS = {
    "invoke_agent clerk": 1,
    "chat gpt-5.5": 2,
    "execute_tool order_status": 1,
    "end_run clerk": 1,
}


def test_the_instrumentation_of_the_openai_sdk_adds_no_span(
    model: Teller, redis_server: RedisServer, tmp_path: Path
) -> None:
    spans = spans_of_one_run("openai", model, redis_server, tmp_path)

    assert {span.scope for span in spans} == {"evented_agent"}
    assert names(spans) == OURS


def test_logfire_has_our_spans_and_its_openai_instrumentation_repeats_model_calls(
    model: Teller, redis_server: RedisServer, tmp_path: Path
) -> None:
    alone, both = tmp_path / "alone", tmp_path / "both"
    alone.mkdir()
    both.mkdir()
    spans = spans_of_one_run("logfire", model, redis_server, alone)
    assert names(spans) == OURS
    assert {span.scope for span in spans} == {"evented_agent"}

    spans = spans_of_one_run("logfire_openai", model, redis_server, both)
    chats = {span.span_id for span in spans if span.name == "chat gpt-5.5"}
    assert names(spans) == OURS
    theirs = [span for span in spans if span.scope == "logfire.openai"]
    assert {span.parent for span in theirs if span.parent in chats} == chats


class Collector:
    """What Langfuse's exporter sends, as a server of theirs would get it."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, str]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                if self.path.endswith("/traces"):
                    collector.add(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def add(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans.extend((scope.scope.name, span.name) for span in scope.spans)


def test_langfuse_gets_our_spans_and_its_openai_wrapper_adds_none(
    model: Teller, redis_server: RedisServer, tmp_path: Path
) -> None:
    collector = Collector()
    url = f"http://127.0.0.1:{collector.server.server_port}"
    spans_of_one_run("langfuse", model, redis_server, tmp_path, TEST_LANGFUSE=url)
    collector.close()

    assert Counter(collector.spans) == {("evented_agent", name): n for name, n in OURS.items()}


def test_celerys_instrumentation_traces_messages_and_ours_the_calls(
    environment: dict[str, str], start_worker: StartWorker, tmp_path: Path
) -> None:
    env = {FILE: str(tmp_path / "spans"), "TEST_CELERY_SPANS": "1"}
    start_worker(app="tests.durability.traced_app", env={**env, NAME: "w1"})
    from tests.durability.traced_app import evented

    def call(*arguments: str) -> None:
        command = [sys.executable, "-m", "tests.durability.traced_app", *arguments]
        given = {**os.environ, **environment, **env, NAME: "web"}
        subprocess.run(command, env=given, cwd=ROOT, check=True, timeout=60)

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
        "chat model": 2,
        "execute_tool look_up": 1,
        "resume_run clerk": 1,
        "execute_tool refund": 1,
        "end_run clerk": 1,
    }
    assert {span.parent for span in ours if span is not start} == {start.span_id}
    celerys = [span for span in spans() if span.scope.endswith("celery")]
    runs = Counter(span.name for span in celerys if span.name.startswith("run/"))
    assert runs == {"run/evented_agent.model": 2, "run/evented_agent.tool": 2}
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
