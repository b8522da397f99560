"""What Logfire and Langfuse see of runs, in an environment of its own: `make test-tracers`."""

import gzip
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.servers import RedisServer
from tests.support.traced_run import OURS, names, spans_of_one_run


def test_logfire_has_our_spans_and_its_openai_instrumentation_repeats_model_calls(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    alone, both = tmp_path / "alone", tmp_path / "both"
    alone.mkdir()
    both.mkdir()
    spans = spans_of_one_run("logfire", redis_server, alone)
    assert names(spans) == OURS
    assert {span.scope for span in spans} == {"evented_agent"}

    spans = spans_of_one_run("logfire_openai", redis_server, both)
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
    redis_server: RedisServer, tmp_path: Path
) -> None:
    collector = Collector()
    url = f"http://127.0.0.1:{collector.server.server_port}"
    spans_of_one_run("langfuse", redis_server, tmp_path, TEST_LANGFUSE=url)
    collector.close()

    assert Counter(collector.spans) == {("evented_agent", name): n for name, n in OURS.items()}
