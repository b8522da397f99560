"""Spans of several processes, kept in one file, and shown as the tree that they are."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.support.workers import wait_until

#: Where a process of the tests keeps its spans, and what it is called there.
FILE, NAME = "TEST_SPANS", "TEST_SPANS_OF"


@dataclass(frozen=True)
class StoredSpan:
    """A span as it was exported."""

    process: str
    scope: str
    name: str
    trace_id: str
    span_id: str
    parent: str | None
    start: int
    end: int
    status: str
    attributes: dict[str, Any] = field(hash=False)
    events: Sequence[str] = ()
    links: Sequence[str] = ()


class FileExporter(SpanExporter):
    """Appends each span to a file as soon as it ends: what a killed process exported is kept."""

    def __init__(self, path: str, process: str) -> None:
        self._file = os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY)
        self._process = process

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        for span in spans:
            os.write(self._file, f"{json.dumps(_dumped(span, self._process))}\n".encode())
        return SpanExportResult.SUCCESS


def export_to_file(process: str) -> None:
    """Let this process trace into the file of the environment; without one, nothing."""
    if path := os.environ.get(FILE):
        provider = TracerProvider()
        name = os.environ.get(NAME, process)
        provider.add_span_processor(SimpleSpanProcessor(FileExporter(path, name)))
        trace.set_tracer_provider(provider)


def spans_in(path: Path) -> list[StoredSpan]:
    """The spans of a file by their start."""
    if not path.exists():
        return []
    found = [StoredSpan(**json.loads(line)) for line in path.read_text().splitlines()]
    return sorted(found, key=lambda span: span.start)


def stored(spans: Sequence[ReadableSpan], process: str = "here") -> list[StoredSpan]:
    """Spans of this process in the same form."""
    return sorted((StoredSpan(**_dumped(s, process)) for s in spans), key=lambda s: s.start)


def tree(spans: Sequence[StoredSpan]) -> str:
    """All traces as trees: what, in which process, when and for how long."""
    known = {span.span_id: span for span in spans}
    first = min(span.start for span in spans)
    roots = [span for span in spans if span.parent not in known]
    return "\n".join(line for root in roots for line in _lines(root, spans, known, first, 0))


def _lines(
    span: StoredSpan,
    spans: Sequence[StoredSpan],
    known: dict[str, StoredSpan],
    first: int,
    depth: int,
) -> Iterator[str]:
    about = {
        name.rpartition(".")[2]: value for name, value in span.attributes.items() if name in _SHOWN
    }
    words = [f"{name}={value}" for name, value in about.items()]
    words += [f"event: {event}" for event in span.events]
    words += [f"link: {known[link].name}" for link in span.links if link in known]
    words += [] if span.status == "UNSET" else [span.status]
    at, took = (span.start - first) / 1e9, (span.end - span.start) / 1e6
    left = f"{'   ' * depth}{'└─ ' if depth else ''}{span.name}"
    yield f"{left:<37} {span.process:<8} {at:7.2f} s {took:8.1f} ms  {'  '.join(words)}"
    for child in spans:
        if child.parent == span.span_id:
            yield from _lines(child, spans, known, first, depth + 1)


_SHOWN = (
    "evented_agent.step",
    "evented_agent.attempt",
    "evented_agent.crashes",
    "evented_agent.waited",
    "evented_agent.run.status",
    "error.type",
)


def _dumped(span: ReadableSpan, process: str) -> dict[str, Any]:
    context = span.get_span_context()
    assert context is not None
    scope = span.instrumentation_scope
    return {
        "process": process,
        "scope": "" if scope is None else scope.name,
        "name": span.name,
        "trace_id": f"{context.trace_id:032x}",
        "span_id": f"{context.span_id:016x}",
        "parent": None if span.parent is None else f"{span.parent.span_id:016x}",
        "start": span.start_time or 0,
        "end": span.end_time or 0,
        "status": span.status.status_code.name,
        "attributes": dict(span.attributes or {}),
        "events": [event.name for event in span.events],
        "links": [f"{link.context.span_id:016x}" for link in span.links],
    }


class Recorded:
    """What this process traced and measured."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.exporter, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        # A process has one provider for good, and tests are many.
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", self.provider)
        meters = MeterProvider([self.reader])
        monkeypatch.setattr("opentelemetry.metrics._internal._METER_PROVIDER", meters)

    def spans(self, name: str = "") -> list[StoredSpan]:
        found = stored(self.exporter.get_finished_spans())
        return [span for span in found if span.name.startswith(name)]

    def ended(self, run_id: str) -> list[StoredSpan]:
        """All spans, once the run's end is traced."""

        def has_ended() -> bool:
            ends = self.spans("end_run")
            return any(span.attributes["evented_agent.run.id"] == run_id for span in ends)

        wait_until(has_ended, "the end is traced")
        return self.spans()

    def points(self) -> dict[str, list[Any]]:
        data = self.reader.get_metrics_data()
        assert data is not None
        return {
            metric.name: list(metric.data.data_points)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }
