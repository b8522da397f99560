"""How soon another worker speaks when the speaking one is killed, and what that costs."""

import random
import signal
import time
from typing import NamedTuple

from benchmarks.harness import POOLS, Bench

WORDS = 200
TEXT = "".join(f"w{n} " for n in range(WORDS))


class Kill(NamedTuple):
    """What one kill cost; tokens are words of the mock."""

    seconds: float
    retracted: int
    paid_twice: int


def recovery(bench: Bench) -> None:
    """The speaking one of two workers is killed, or told to stop, in the middle of its answer."""
    for pool in POOLS:
        _measure(bench, pool, signal.SIGKILL, wanted="at most 3.5 s")
        # The application of the benchmarks has no grace.
        _measure(bench, pool, signal.SIGTERM, wanted="at most 1 s")


def _measure(bench: Bench, pool: str, number: signal.Signals, *, wanted: str) -> None:
    count = 1 if bench.is_quick else bench.kills
    kills = [_kill(bench, pool, number) for _ in range(count)]
    name = f"{number.name}, {pool}"
    bench.report.samples(
        f"{name}: until the other speaks",
        [kill.seconds for kill in kills],
        "s",
        wanted=wanted,
        note=f"{count} kill{'s' if count > 1 else ''}",
    )
    note = f"of {WORDS}"
    retracted = [float(kill.retracted) for kill in kills]
    bench.report.samples(f"{name}: tokens retracted", retracted, "", note=note)
    paid = [float(kill.paid_twice) for kill in kills]
    bench.report.samples(f"{name}: tokens paid twice", paid, "", note=note)


def _kill(bench: Bench, pool: str, number: signal.Signals) -> Kill:
    speaker = bench.agents["speaker"]
    # Anywhere between two heartbeats, which decide when the lease runs out.
    last_words = random.randint(30, WORDS - 50)
    with bench.workers(2, pool=pool, slots=4) as workers:
        paid = bench.paid().words
        run = speaker.stream("Go.")
        killed = spoken = 0.0
        heard: list[int] = []
        retracted = 0
        for chunk in run:
            if chunk.type == "step-reset":
                retracted += sum(seq >= chunk.payload.from_seq for seq in heard)
            if chunk.type != "text-delta":
                continue
            heard.append(chunk.seq)
            if retracted and not spoken:
                spoken = time.perf_counter()
            if len(heard) == last_words:
                owner = speaker.get(run.run_id).worker or ""
                workers[owner.partition("@")[0]].signal(number)
                killed = time.perf_counter()
        text = run.result().text
        paid = bench.paid().words - paid
    if text != TEXT or not spoken:
        raise RuntimeError(f"A kill after {last_words} words spoilt the run: {text!r}")
    return Kill(spoken - killed, retracted, paid - WORDS)
