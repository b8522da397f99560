"""Milliseconds over the raw client: a step, and the first token."""

import statistics
import time
from collections.abc import Iterable, Sequence

from benchmarks.figures import ms
from benchmarks.harness import POOLS, Bench
from benchmarks.raw import RawClient
from evented_agent.chunks import Chunk

STEPS = 10


def steps(bench: Bench) -> None:
    """10 tool steps and an answer, on an idle worker, in turns with the raw client."""
    for pool in POOLS:
        _steps(bench, pool)
    _steps(bench, "threads", as_configured=False)


def _steps(bench: Bench, pool: str, *, as_configured: bool = True) -> None:
    name = f"step, {pool}" if as_configured else f"step, {pool}, Celery's defaults"
    ours, raw = [], []
    slots = 10 if pool == "threads" else 2
    with (
        bench.workers(pool=pool, slots=slots, as_configured=as_configured),
        RawClient() as client,
    ):
        bench.agents["steps"].generate("Go.", timeout=30)
        client.loop("mock-s10-t20")
        for _ in range(bench.size(30, 3)):
            ours.append(run_steps(bench))
            raw.append(client.loop("mock-s10-t20"))
    _beside_raw(bench, name, ours, raw)
    over = statistics.median(ours) - statistics.median(raw)
    bench.report.value(
        f"{name}: over the raw client, per step", over / STEPS * 1e3, "ms", wanted="at most 10 ms"
    )


def first_token(bench: Bench) -> None:
    """From the call of `stream()` to the first token at its reader, beside the raw client."""
    for pool in POOLS:
        ours, raw = [], []
        slots = 10 if pool == "threads" else 2
        with bench.workers(pool=pool, slots=slots), RawClient() as client:
            client.ask("mock-t20")
            for _ in range(bench.size(100, 5)):
                ours.append(_first_token(bench))
                raw.append(client.ask("mock-t20").first)
        name = f"first token, {pool}"
        _beside_raw(bench, name, ours, raw)
        over = statistics.median(ours) - statistics.median(raw)
        bench.report.value(f"{name}: over the raw client", over * 1e3, "ms", wanted="at most 15 ms")


def _beside_raw(bench: Bench, name: str, ours: Sequence[float], raw: Sequence[float]) -> None:
    ratio = statistics.median(ours) / statistics.median(raw)
    bench.report.samples(name, ms(ours), "ms", note=f"{ratio:.2f} x raw")
    bench.report.samples(f"{name}: raw client", ms(raw), "ms")


def run_steps(bench: Bench, queue: str = "agents") -> float:
    """Seconds of one run of `STEPS` steps, as its reader sees it."""
    started = time.perf_counter()
    chunks = list(bench.agents["steps"].stream("Go.", queue=queue))
    seconds = time.perf_counter() - started
    check_end(chunks[-1:])
    return seconds


def _first_token(bench: Bench) -> float:
    """Read on to the end, so that the next run finds an idle slot."""
    started, first = time.perf_counter(), 0.0
    last: Chunk | None = None
    for last in bench.agents["answer"].stream("Go."):
        if last.type == "text-delta":
            first = first or time.perf_counter() - started
    check_end([last] if last is not None else [])
    return first


def check_end(chunks: Iterable[Chunk]) -> None:
    """Raise unless the run finished: a failed one would be fast."""
    ends = [chunk.type for chunk in chunks]
    if ends != ["finish"]:
        raise RuntimeError(f"A measured run ended with {ends}, not with a finish.")
