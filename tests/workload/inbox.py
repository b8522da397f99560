"""``python -m tests.workload.inbox [--messages 1000] [--threads 50] [--chaos SEED …]``.

Processes send numbered messages to conversations while workers are killed, frozen and restarted and
replies of Redis are lost, theirs too.  Each message is in one completed model request, in the order
in which its sender sent it.
"""

import argparse
import contextlib
import importlib
import multiprocessing
import os
import random
import statistics
import sys
import tempfile
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evented_agent import LedgerUnavailable, Runs
from evented_agent.chunks import StepReset
from tests.durability.inbox_outcomes import said_in, wrong_with
from tests.support.proxy import Moment, Proxy, Write
from tests.support.servers import RedisServer, free_port
from tests.support.workers import wait_until
from tests.workload.chaos import ACTIONS, Chaos
from tests.workload.fleet import Fleet

APP = "tests.durability.inbox_app"
SENDERS = 4
#: One reply of so many is lost, and one message of so many interrupts, or is answered slowly.
LOST, INTERRUPTS, SLOW = 150, 5, 3


@dataclass(frozen=True)
class Load:
    """How much is sent, and how many seconds pass between two messages of a sender."""

    messages: int = 1000
    threads: int = 50
    pause: float = 0.15


@dataclass
class Report:
    """What all messages came to; *wrong* has a sentence for whatever is not as it must be."""

    wrong: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    #: Of each call of `send`, ms.
    took: list[float] = field(default_factory=list)

    def percentile(self, percent: int) -> float:
        return statistics.quantiles(self.took, n=100)[percent - 1]


def texts(scope: str, sender: int, how: Load) -> Iterator[tuple[str, str, str]]:
    """What a sender sends in its order: to which thread, as which message, and its text."""
    for number in range(how.messages // SENDERS):
        message_id = f"{scope}-{sender}.{number}"
        slow = "slow " if number % SLOW == 0 else ""
        yield f"{scope} {(number + sender) % how.threads}", message_id, f"{slow}{message_id}"


def send_all(redis_url: str, scope: str, sender: int, how: Load) -> tuple[list[float], int]:
    """Send a share of the messages; how long each call took (ms), and how many failed first."""
    os.environ["TEST_REDIS_URL"] = redis_url
    agent, chance = importlib.import_module(APP).evented["told"], random.Random(sender)
    took, failed = list[float](), 0
    for number, (thread, message_id, text) in enumerate(texts(scope, sender, how)):
        sent: dict[str, Any] = {"thread_id": thread, "input": text, "message_id": message_id}
        while True:
            began = time.monotonic()
            try:
                agent.send(**sent, interrupt=number % INTERRUPTS == 0)
            except LedgerUnavailable:
                failed += 1
                continue
            took.append((time.monotonic() - began) * 1000)
            break
        # The messages come while workers are disturbed.
        time.sleep(chance.uniform(0, 2 * how.pause))
    return took, failed


def play(fleet: Fleet, redis_url: str, how: Load, seed: int | None = None) -> Report:
    """Let all senders send, while *seed* says how workers are disturbed; see what came of it."""
    scope, report = uuid.uuid4().hex[:8], Report()
    chaos = None if seed is None else Chaos(fleet, seed)
    runs: Runs = Runs.of(importlib.import_module(APP).app)
    sent = _shares(scope, how)
    with contextlib.nullcontext() if chaos is None else chaos:
        _send(redis_url, scope, how, report)
        for thread, shares in sent.items():
            # What does not come to its end is told with the rest.
            with contextlib.suppress(AssertionError):
                wait_until(lambda: _is_done(runs, thread, shares), "all is answered", 120)  # noqa: B023
    for thread, shares in sent.items():
        _check(runs, thread, shares, report)
    report.counts += Counter() if chaos is None else chaos.done
    return report


def _send(redis_url: str, scope: str, how: Load, report: Report) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "evented_agent", "celery"])
    with ProcessPoolExecutor(SENDERS, mp_context=context) as senders:
        each = [senders.submit(send_all, redis_url, scope, n, how) for n in range(SENDERS)]
        for took, failed in (sender.result() for sender in each):
            report.took += took
            report.counts["failed"] += failed


def _shares(scope: str, how: Load) -> dict[str, list[list[str]]]:
    """What each sender sends to each thread, in its order."""
    sent = defaultdict[str, list[list[str]]](list)
    for sender in range(SENDERS):
        mine = defaultdict[str, list[str]](list)
        for thread, _, text in texts(scope, sender, how):
            mine[thread].append(text)
        for thread, said in mine.items():
            sent[thread].append(said)
    return sent


def _is_done(runs: Runs, thread: str, shares: list[list[str]]) -> bool:
    info = runs.thread_info(thread)
    said = len(said_in(runs, thread))
    return info is not None and info.turn is None and said >= sum(map(len, shares))


def _check(runs: Runs, thread: str, shares: list[list[str]], report: Report) -> None:
    marks, said = Path(os.environ["TEST_MARKS"]), said_in(runs, thread)
    for share in shares:
        if (kept := [text for text in said if text in share]) != share:
            report.wrong.append(f"{thread}: {kept} instead of {share}")
    if len(said) != sum(map(len, shares)):
        report.wrong.append(f"{thread}: {len(said)} messages")
    for info in runs.list(thread_id=thread, limit=1000):
        report.counts["runs"] += 1
        if info.status != "finished":
            report.wrong.append(f"{thread}: run {info.run_id} is {info.status}: {info.error}")
            continue
        steps = runs.result(info.run_id).steps
        report.counts["steps"] += len(steps)
        report.counts["cut"] += sum(step.finish_reason == "interrupted" for step in steps)
        resets = [each for each in runs.observe(info.run_id) if isinstance(each, StepReset)]
        report.counts["withdrawn"] += len(resets)
        wrong = wrong_with(runs, info.run_id, marks)
        report.wrong += [f"{thread}: run {info.run_id}: {what}" for what in wrong]


@contextlib.contextmanager
def deployment(
    folder: Path, workers: int, port: int, *, seed: int | None, app: str = APP
) -> Iterator[tuple[Fleet, str]]:
    """A server and workers, and where senders find it; with a *seed* replies are lost."""
    chance = random.Random(seed)

    def watch(_write: Write, moment: Moment) -> bool:
        return moment == "before" or chance.randrange(LOST) > 0

    marks = folder / "marks"
    marks.mkdir()
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(RedisServer(folder / "redis", port=port))
        url = server.url
        if seed is not None:
            url = stack.enter_context(Proxy(server.port, watch)).url
        env = {"TEST_BROKER_URL": server.url, "TEST_MARKS": str(marks), "TEST_PREFIX": "chaos"}
        os.environ |= env
        os.environ.pop("TEST_RESULT_BACKEND", None)
        fleet = Fleet({**env, "TEST_REDIS_URL": url}, folder, workers, app=app)
        stack.callback(fleet.stop)
        yield fleet, url


_COLUMNS = ("runs", "steps", "cut", "withdrawn", "failed", *ACTIONS)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.workload.inbox", description=__doc__)
    parser.add_argument("--messages", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pause", type=float, default=0.15, help="seconds between two messages")
    parser.add_argument("--chaos", type=int, nargs="*", metavar="SEED", default=[])
    chosen = parser.parse_args()
    names = ("seed", "wrong", *_COLUMNS, "p50 ms", "p99 ms", "seconds")
    print("  ".join(f"{name:>9}" for name in names))
    # The application reads it once: all deployments of this process are at the same place.
    port, found = free_port(), 0
    for seed in chosen.chaos or [None]:
        found += _row(chosen, port, seed)
    return 1 if found else 0


def _row(chosen: argparse.Namespace, port: int, seed: int | None) -> int:
    how = Load(chosen.messages, chosen.threads, chosen.pause)
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        with deployment(Path(folder), chosen.workers, port, seed=seed) as (fleet, url):
            report = play(fleet, url, how, seed)
        cells = [
            *("-" if seed is None else str(seed), str(len(report.wrong))),
            *(str(report.counts[name]) for name in _COLUMNS),
            *(f"{report.percentile(p):.1f}" for p in (50, 99)),
            f"{time.monotonic() - started:.1f}",
        ]
    print("  ".join(f"{cell:>9}" for cell in cells), flush=True)
    print("\n".join(report.wrong))
    return len(report.wrong)


if __name__ == "__main__":
    sys.exit(main())
