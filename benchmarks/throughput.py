"""Tokens per second to another process, runs per minute, and what they cost Redis."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from benchmarks import raw
from benchmarks.harness import ROOT, Bench


def tokens(bench: Bench) -> None:
    """A flood of tokens to a reader in another process."""
    from benchmarks.app import agents

    words = 2_000 if bench.is_quick else 20_000
    rounds = 1 if bench.is_quick else 5
    for pool in ("threads", "prefork"):
        with bench.workers(pool=pool, slots=2), _reader() as read:
            agents["answer"].generate("Go.", timeout=30)
            base = [raw.words_per_second("mock-t20000") for _ in range(rounds)]
            ours = [read(agents["flood"].stream("Go.").run_id) for _ in range(rounds)]
            synthetic = [
                read(agents["synthetic"].stream("Go.", model_settings={"words": words}).run_id)
                for _ in range(rounds)
            ]
        middle = rounds // 2
        raw_rate, rate = sorted(base)[middle], sorted(ours)[middle]
        bench.report.add(f"tokens/s, {pool}: raw client", f"{raw_rate:,.0f}")
        bench.report.add(
            f"tokens/s, {pool}: to another process",
            f"{rate:,.0f} ({rate / raw_rate:.2f} x)",
            "at least 0.5 x",
        )
        bench.report.add(
            f"tokens/s, {pool}: synthetic model", f"{sorted(synthetic)[middle]:,.0f}", "10,000"
        )


def runs_per_minute(bench: Bench) -> None:
    """100 runs of 5 model calls of 1 s on two worker processes."""
    from benchmarks.app import agents

    count = 10 if bench.is_quick else 100
    with bench.workers(2, slots=100):
        agents["answer"].generate("Go.", timeout=30)
        started = time.perf_counter()
        runs = [agents["five-seconds"].stream("Go.") for _ in range(count)]
        for run in runs:
            run.result(timeout=120)
        seconds = time.perf_counter() - started
    bench.report.add(
        f"{count} runs x 5 model calls of 1 s, 2 workers",
        f"{seconds:.1f} s, {count / seconds * 60:,.0f} runs/min",
        "at least 900 runs/min",
    )


def cost(bench: Bench) -> None:
    """Redis bytes per token and commands per run."""
    from benchmarks.app import agents

    ledger = bench.client()
    with bench.workers(slots=10):
        run = agents["flood"].stream("Go.")
        run.result(timeout=60)
        topic = agents["flood"].runs_door.keys.of(run.run_id).topic
        size = int(ledger.memory_usage(topic, samples=0) or 0)
        bench.report.add("Redis bytes per token", f"{size / ledger.xlen(topic):.0f}", "at most 100")
        list(agents["steps"].stream("Go."))
        before = ledger.info("commandstats")
        runs = 10
        for _ in range(runs):
            list(agents["steps"].stream("Go."))
        after = ledger.info("commandstats")
    for name in ("evalsha", "xread"):
        calls = after[f"cmdstat_{name}"]["calls"] - before[f"cmdstat_{name}"]["calls"]
        bench.report.add(f"{name} per run of 11 steps", f"{calls / runs:.0f}")


@contextmanager
def _reader() -> Iterator[Callable[[str], float]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.reader"],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.readline()

    def read(run_id: str) -> float:
        process.stdin.write(f"{run_id}\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
        seen = json.loads(process.stdout.readline())  # type: ignore[union-attr]
        return float(seen["tokens"] / seen["seconds"])

    try:
        yield read
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
