"""Runs that say what time it is, written straight into the ledger: no worker takes part."""

import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from benchmarks.harness import Bench
from evented_agent.chunks import TextDelta
from evented_agent.chunks.codec import encode_delta
from evented_agent.client.deployment import Deployment
from evented_agent.ledger.attempts import Worker, append, claim
from evented_agent.ledger.records import FORMAT, Claim, Signal
from evented_agent.ledger.script import Command

#: Whose runs they are.
OWNER = "people"

_TASK, _TOKEN = "1:model", "benchmark"
#: Seconds between two looks at what is due.
_TICK = 0.002
#: Chunks that go to Redis together.
_AT_ONCE = 100


class Speaker:
    """A run whose model task is claimed by this process."""

    def __init__(self, at: Deployment, run_id: str) -> None:
        self.run_id = run_id
        self._keys = at.keys
        self._sent = 0

    def say(self, text: str) -> Command[Signal | None]:
        """What adds one more piece of text."""
        chunk = encode_delta(TextDelta, _TASK, "p1", text)
        self._sent += 1
        sent = self._sent - 1
        return append(
            self._keys, self.run_id, _TASK, token=_TOKEN, sent=sent, chunks=[chunk], closing=None
        )


def speakers(bench: Bench, count: int) -> list[Speaker]:
    """Start runs, and claim them."""
    evented = bench.agents["answer"]
    at = evented.client
    ids = [evented.stream("Go.", resource_id=OWNER).run_id for _ in range(count)]
    worker = Worker("benchmark", "benchmark", lease_ms=3_600_000)
    for run_id in ids:
        claimed = at.ledger.send(
            claim(
                *(at.keys, run_id, _TASK),
                token=_TOKEN,
                worker=worker,
                newest=FORMAT,
                agents=["answer"],
            )
        )
        if not isinstance(claimed, Claim):
            raise TypeError(f"Run {run_id} was not to be had: {claimed}")
    return [Speaker(at, run_id) for run_id in ids]


def say_the_time(at: Deployment, turns: Iterator[Speaker], *, rate: float, count: int) -> float:
    """Let each speaker in turn say what time it is, *rate* a second and *count* in all.

    Returns how many seconds it took: more than planned where Redis is too slow.
    """
    said, started = 0, time.monotonic()
    while said < count:
        due = min(count, int((time.monotonic() - started) * rate)) - said
        some = islice(turns, min(due, _AT_ONCE))
        said += _say(at, [each.say(f"{time.monotonic()} ") for each in some])
        time.sleep(_TICK)
    return time.monotonic() - started


def say_much(at: Deployment, speaker: Speaker, *, chunks: int, size: int) -> None:
    """Let a run say far more than a connection holds."""
    for _ in range(chunks):
        _say(at, [speaker.say("x" * size)])


def _say(at: Deployment, commands: Sequence[Command[Any]]) -> int:
    if commands:
        at.ledger.send_all(commands, retry_for=5)
    return len(commands)
