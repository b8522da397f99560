"""What tracing costs a step: the same runs with OpenTelemetry's SDK, and without any."""

import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from benchmarks.figures import ms
from benchmarks.harness import Bench
from benchmarks.latency import STEPS, run_steps

#: Set for workers that trace.
VARIABLE = "BENCH_TRACING"


class Nowhere(SpanExporter):
    """Takes what a collector would get."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002
        return SpanExportResult.SUCCESS


def trace_here() -> None:
    """Trace and measure in this process as a deployment would, to nowhere."""
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([InMemoryMetricReader()]))


def tracing(bench: Bench) -> None:
    """10 tool steps and an answer, with tracing in worker and caller, and without, in pairs."""
    took: dict[bool, list[float]] = {False: [], True: []}
    trace_here()
    provider = trace.get_tracer_provider()
    with bench.workers(slots=10, apart={"traced": {VARIABLE: "1"}}):
        for pair in range(-2, bench.size(100, 2)):
            for is_on in (pair % 2 == 0, pair % 2 != 0):
                with _caller(provider if is_on else None):
                    seconds = run_steps(bench, "traced" if is_on else "agents")
                # The first pairs warm up.
                took[is_on] += [seconds] if pair >= 0 else []
    for is_on, name in ((False, "steps, no tracing"), (True, "steps, tracing")):
        bench.report.samples(name, ms(took[is_on]), "ms")
    over = [on - off for off, on in zip(took[False], took[True], strict=True)]
    bench.report.value("tracing: per step", statistics.median(over) / STEPS * 1e3, "ms")


@contextmanager
def _caller(provider: trace.TracerProvider | None) -> Iterator[None]:
    # A process has one provider for good; this one has to go without in turns.
    kept = trace._TRACER_PROVIDER
    trace._TRACER_PROVIDER = provider
    try:
        yield
    finally:
        trace._TRACER_PROVIDER = kept
