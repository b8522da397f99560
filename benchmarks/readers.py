"""Thousands of readers in one process, beside a single reader in another."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from typing import Any

from benchmarks.figures import ms
from benchmarks.harness import ROOT, Bench
from evented_agent.engines.celery import EventedAgent


def readers(bench: Bench) -> None:
    """Half in threads, half on an event loop, of runs that say a word a second."""
    _measure(bench, "a word a second", words=bench.size(30, 10), gap=1.0)


def silence(bench: Bench) -> None:
    """The same readers of models that say nothing for a minute."""
    _measure(bench, "silent for a minute", words=2, gap=bench.size(60, 8))


def _measure(bench: Bench, name: str, *, words: int, gap: float) -> None:
    runs, each = bench.size(100, 5), bench.size(1000, 20)
    with bench.workers():
        crowd = _start(bench, "crowd", each, each)
        single = _start(bench, "single", 1, 0)
        settings = {"words": words, "gap": gap}
        clock: EventedAgent = bench.agents["clock"]
        ids = [clock.stream("Go.", model_settings=settings).run_id for _ in range(runs)]
        _tell(single, ids[:1])
        _tell(crowd, ids)
        time.sleep(4)
        connections = _connections(bench, "crowd")
        of_many, of_one = (_end(process) for process in (crowd, single))
    ends = Counter(of_many["ends"]) + Counter(of_one["ends"])
    name = f"{2 * each:,} readers of {runs} runs, {name}"
    print(f"{name}: {dict(ends)}")
    report = bench.report
    report.value(f"{name}: errors", ends.total() - ends["finish"], "", wanted="0")
    report.value(f"{name}: connections", connections, "", wanted="at most 40")
    if of_many["delays"]:
        delays = of_many["delays"]
        alone = statistics.median(of_one["delays"])
        report.samples(f"{name}: delay of a token", ms(delays), "ms")
        report.samples(f"{name}: to a single reader", ms(of_one["delays"]), "ms")
        over = statistics.median(delays) - alone
        report.value(f"{name}: over the single reader", over * 1e3, "ms")


def _start(bench: Bench, name: str, in_threads: int, in_tasks: int) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.crowd", str(in_threads), str(in_tasks)],
        cwd=ROOT,
        env={**os.environ, "BENCH_REDIS_URL": f"{bench.ledger.url}?client_name={name}"},
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    _hear(process, "ready")
    return process


def _tell(process: "subprocess.Popen[str]", ids: list[str]) -> None:
    """Let it read these runs; all readers have begun when this returns."""
    assert process.stdin is not None
    process.stdin.write(" ".join(ids) + "\n")
    process.stdin.flush()
    _hear(process, "all")


def _hear(process: "subprocess.Popen[str]", word: str) -> None:
    assert process.stdout is not None
    if process.stdout.readline() != f"{word}\n":
        raise RuntimeError("The readers did not begin.")


def _connections(bench: Bench, name: str) -> int:
    return sum(client["name"] == name for client in bench.ledger.client.client_list())


def _end(process: "subprocess.Popen[str]") -> dict[str, Any]:
    told, _ = process.communicate(timeout=300)
    found: dict[str, Any] = json.loads(told)
    return found
