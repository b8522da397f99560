"""How soon an aborted run has ended: mid-token, while the model is silent, and suspended."""

import time

from benchmarks.harness import POOLS, Bench


def abort(bench: Bench) -> None:
    """From the call of `abort` to the `abort` chunk in the caller's hands."""
    for pool in POOLS:
        count = 2 if bench.is_quick else 20
        with bench.workers(1, pool=pool, slots=4):
            seconds = [_abort_speaker(bench, words=20 + n) for n in range(count)]
        bench.report.samples(
            f"{pool}: abort mid-token until the run has ended",
            seconds,
            "s",
            wanted="at most 0.5 s",
            note=f"{count} aborts",
        )


def _abort_speaker(bench: Bench, *, words: int) -> float:
    run = bench.agents["speaker"].stream("Go.")
    heard = 0
    asked = 0.0
    for chunk in run:
        heard += chunk.type == "text-delta"
        if heard == words and not asked:
            asked = time.perf_counter()
            run.abort()
        if chunk.type == "abort":
            return time.perf_counter() - asked
    raise RuntimeError("The run was not aborted.")
