"""Tokens per second to another process, and runs per minute."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.harness import POOLS, ROOT, Bench
from benchmarks.raw import RawClient

#: Starts a run of so many words and returns the tokens/s at which the other process got them.
Flow = Callable[..., float]


def tokens(bench: Bench) -> None:
    """A flood of tokens to a reader in another process, in turns with the raw client."""
    words = bench.size(20_000, 2_000)
    flood = "small-flood" if bench.is_quick else "flood"
    settings = {"model_settings": {"words": words}}
    for pool in POOLS:
        ours, raw, synthetic = [], [], []
        with bench.workers(pool=pool, slots=2), RawClient() as client, _flow(bench) as flow:
            for _ in range(bench.size(7, 1)):
                ours.append(flow(flood, words))
                raw.append(_raw(client, words))
                synthetic.append(flow("synthetic", words, settings))
        ratio = statistics.median(ours) / statistics.median(raw)
        name = f"tokens/s, {pool}"
        report = bench.report
        report.samples(
            f"{name}: to another process",
            ours,
            "/s",
            wanted="at least 0.5 x raw",
            note=f"{ratio:.2f} x raw",
            is_rate=True,
        )
        report.samples(f"{name}: raw client", raw, "/s", is_rate=True)
        report.samples(
            f"{name}: synthetic model", synthetic, "/s", wanted="at least 10,000", is_rate=True
        )


def _raw(client: RawClient, words: int) -> float:
    answer = client.ask(f"mock-t{words}")
    if answer.words != words:
        raise RuntimeError(f"The raw client read {answer.words} of {words} words.")
    return words / answer.last


def runs_per_minute(bench: Bench) -> None:
    """100 runs of 5 model calls of 1 s on two worker processes; then the raw client."""
    count = bench.size(100, 10)
    with bench.workers(2):
        started = time.perf_counter()
        runs = [bench.agents["five-seconds"].stream("Go.") for _ in range(count)]
        for run in runs:
            run.result(timeout=120)
        ours = time.perf_counter() - started
    with RawClient() as client:
        raw = client.loops("mock-s4-d1000-t20", count)
    bench.report.value(
        f"{count} runs x 5 model calls of 1 s, 2 workers",
        count / ours * 60,
        "runs/min",
        wanted="at least 900",
        note=f"{ours:.2f} s; {raw / ours:.2f} x raw",
    )
    bench.report.value(
        f"{count} loops at once, raw client", count / raw * 60, "runs/min", note=f"{raw:.2f} s"
    )


@contextmanager
def _flow(bench: Bench) -> Iterator[Flow]:
    """Follow runs in another process, from the call of `stream()` to the last token there."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.reader"],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    questions, answers = process.stdin, process.stdout
    assert questions is not None
    assert answers is not None

    def flow(agent: str, words: int, options: dict[str, Any] | None = None) -> float:
        started = time.monotonic()
        run = bench.agents[agent].stream("Go.", **(options or {}))
        questions.write(f"{run.run_id}\n")
        questions.flush()
        seen = json.loads(answers.readline())
        if (seen["tokens"], seen["last"]) != (words, "finish"):
            raise RuntimeError(f"Of {words} words, the reader saw {seen}.")
        return float(words / (seen["ended"] - started))

    try:
        answers.readline()
        yield flow
    finally:
        process.kill()
        process.wait()
        questions.close()
        answers.close()
