"""What a run came to, as everybody sees it; and how two outcomes are compared."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from evented_agent import Runs
from evented_agent.chunks import StepReset
from evented_agent.ledger import runs as scripts
from tests.support.proxy import Write
from tests.support.workers import wait_until

#: What the hooks of the careful agent are told of each run.
HOOKS = {"start", "step:1", "step:2", "finish"}
ENDS = ("finish", "error", "abort")
#: Runs in which a write may not come up: what gathers behind a slow append leaves as one.
TRIES = 4


@dataclass
class Told:
    """What the record, the journal and the result say."""

    text: str
    journal: list[bytes]
    usage: str
    results: dict[str, str]
    remembered: list[str]
    listed: tuple[int, int, str] | None


def told(runs: Runs, run_id: str) -> Told:
    record = runs.ledger.send(scripts.read(runs.keys, run_id, journal=True))
    result = runs.result(run_id)
    results = {
        message.tool_call_id: str(message.result)
        for step in result.steps
        for message in step.results
    }
    remembered = [str(message) for message in runs.thread(thread_of(run_id))]
    info = runs.thread_info(thread_of(run_id))
    listed = None if info is None else (info.messages, info.runs, info.last_message)
    return Told(result.text, sorted(record.entries), str(result.usage), results, remembered, listed)


def thread_of(run_id: str) -> str:
    """The thread that a test gives a run of its own."""
    return f"thread of {run_id}"


def hooks_told(marks: Path, run_id: str) -> set[str]:
    """What the hooks of the careful agent were told of a run, once or more."""
    lines = (marks / "careful-hooks").read_text().splitlines()
    return {line.removeprefix(f"{run_id}:") for line in lines if line.startswith(f"{run_id}:")}


def differences(
    runs: Runs, run_id: str, expected: Told, stayed: str, *, most_resets: int
) -> Iterator[str]:
    """What is wrong with a run that should have come to *expected*, a sentence each."""
    found = told(runs, run_id)
    chunks = list(runs.observe(run_id))
    if [chunk.seq for chunk in chunks] != list(range(1, len(chunks) + 1)):
        yield "seq has gaps"
    if [chunk.type for chunk in chunks if chunk.type in ENDS] != ["finish"]:
        yield "not exactly one end chunk"
    if chunks[-1].type != "finish":
        yield "a chunk follows the end"
    if found != expected:
        yield f"another outcome: {found} instead of {expected}"
    late = list(runs.observe(run_id).text_parts())[-1].snapshot
    if {stayed, late} != {expected.text}:
        yield f"readers differ: stayed {stayed!r}, late {late!r}"
    resets = sum(isinstance(chunk, StepReset) for chunk in chunks)
    if resets > most_resets:
        yield f"{resets} times something was withdrawn, at most {most_resets} expected"


def consume(queue: str, *, by: str, stop: bool = False) -> None:
    """Let a worker begin, or stop, to take messages of a queue; returns once it does."""
    from tests.support.app import app

    ask = app.control.cancel_consumer if stop else app.control.add_consumer

    def has_answered() -> bool:
        return bool(ask(queue, destination=[f"{by}@test"], reply=True, timeout=2))

    wait_until(has_answered, f"{by} answers", 30)


def last(seconds: float) -> None:
    """Let an outage last: its length is what a test is about."""
    threading.Event().wait(seconds)


def is_certain(write: Write) -> bool:
    """Whether the worker does it in each run of the careful agent.

    Only its long call has heartbeats, and the alarm may be answered by another worker's watchdog.
    """
    if write.script == "reconcile":
        return False
    return write.script != "heartbeat" or (write.task == "1:tool:call_1_0" and write.nth == 1)
