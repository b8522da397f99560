"""``python -m tests.workload.tree [--trees 4] [--width 5] [--chaos SEED …]``.

Trees of three levels, 1 + 5 + 25 runs each, in which some calls are approved, while workers are
killed, frozen and restarted and replies of Redis are lost.  All come to the same answer, each call
has one result and one decision, and the tokens of all runs are counted once.
"""

import argparse
import contextlib
import importlib
import json
import os
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evented_agent import EventedAgentError, RunInfo, Runs
from evented_agent.chunks import Child, StepReset, child_chunk
from tests.durability.tree_stories import Call, given, wrong_with
from tests.support.servers import free_port
from tests.support.workers import wait_until
from tests.workload.chaos import ACTIONS, Chaos
from tests.workload.fleet import Fleet
from tests.workload.inbox import deployment

APP = "tests.durability.tree_app"
_COLUMNS = ("runs", "approved", "withdrawn", *ACTIONS)


@dataclass
class Report:
    """What the trees came to; *wrong* has a sentence for whatever is not as it must be."""

    wrong: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def plan_of(width: int) -> tuple[Call, ...]:
    """Leads with scouts, of whom the first erases, which a person approves, and the others look."""

    def scout(lead: int, number: int) -> Call:
        tool = "look" if number else "erase"
        return given("scout", (tool, {"at" if number else "name": f"{lead}.{number}"}))

    return tuple(
        given("lead", *(scout(lead, number) for number in range(width))) for lead in range(width)
    )


def answer_to(plan: tuple[Call, ...]) -> str:
    """What the boss says in the end."""
    return f"I have: {'; '.join(_result(call) for call in plan)}."


def _result(call: Call) -> str:
    name, arguments = call
    if name == "look":
        return f"saw {arguments['at']}"
    if name == "erase":
        return f"erased {arguments['name']}"
    return answer_to(tuple(json.loads(arguments["input"])))


class Approver:
    """Approves whatever waits, from a thread of its own, until the block is left."""

    def __init__(self, runs: Runs) -> None:
        self.approved = 0
        self._runs = runs
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Approver":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over.wait(0.1):
            with contextlib.suppress(EventedAgentError):
                for info in self._runs.list(limit=100):
                    self._approve(info)

    def _approve(self, info: RunInfo) -> None:
        for pending in info.pending:
            self._runs.approve(info.run_id, number=pending.number, by="approver")
            self.approved += 1


def play(fleet: Fleet, trees: int, width: int, seed: int | None = None) -> Report:
    """Start all trees, while *seed* says how workers are disturbed; see what came of them."""
    report, plan = Report(), plan_of(width)
    module: Any = importlib.import_module(APP)
    runs = Runs.of(module.app)
    chaos = contextlib.nullcontext() if seed is None else Chaos(fleet, seed)
    names = [f"tree-{uuid.uuid4().hex[:8]}" for _ in range(trees)]
    with chaos, Approver(runs) as approver:
        for name in names:
            module.evented["boss"].stream(json.dumps(plan), run_id=name)

        def all_have_ended() -> bool:
            return all(runs.get(name).is_ended for name in names)

        # What does not come to its end is told with the rest.
        with contextlib.suppress(AssertionError):
            wait_until(all_have_ended, "all trees have ended", 60 + 30 * trees)
    report.counts["approved"] = approver.approved
    for name in names:
        report.wrong += [f"{name}: {what}" for what in _wrong(runs, name, plan, report)]
    if isinstance(chaos, Chaos):
        report.counts += chaos.done
    return report


def _wrong(runs: Runs, name: str, plan: tuple[Call, ...], report: Report) -> Iterator[str]:
    info, result = runs.get(name), runs.result(name)
    report.counts["runs"] += 1 + len(info.children)
    if info.status != "finished":
        yield f"is {info.status}: {info.error}, {[each.status for each in info.children]}"
        return
    if result.answer != answer_to(plan):
        yield f"has answered {result.answer!r}"
    width = len(plan)
    if len(info.children) != width + width**2:
        yield f"has {len(info.children)} children"
    if len(info.decisions) != width:
        yield f"{len(info.decisions)} decisions were taken, {width} asked for"
    for chunk in runs.observe(name):
        said = child_chunk(chunk) if isinstance(chunk, Child) else chunk
        report.counts["withdrawn"] += isinstance(said, StepReset)
    yield from wrong_with(runs, name, Path(os.environ["TEST_MARKS"]))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.workload.tree", description=__doc__)
    parser.add_argument("--trees", type=int, default=4)
    parser.add_argument("--width", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--chaos", type=int, nargs="*", metavar="SEED", default=[])
    chosen = parser.parse_args()
    names = ("seed", "wrong", *_COLUMNS, "seconds")
    print("  ".join(f"{name:>9}" for name in names))
    # The application reads it once: all deployments of this process are at the same place.
    port, found = free_port(), 0
    for seed in chosen.chaos or [None]:
        found += _row(chosen, port, seed)
    return 1 if found else 0


def _row(chosen: argparse.Namespace, port: int, seed: int | None) -> int:
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        place = Path(folder)
        with deployment(place, chosen.workers, port, seed=seed, app=APP) as (fleet, _):
            report = play(fleet, chosen.trees, chosen.width, seed)
        cells = [
            *("-" if seed is None else str(seed), str(len(report.wrong))),
            *(str(report.counts[name]) for name in _COLUMNS),
            f"{time.monotonic() - started:.1f}",
        ]
    print("  ".join(f"{cell:>9}" for cell in cells), flush=True)
    print("\n".join(report.wrong))
    return len(report.wrong)


if __name__ == "__main__":
    sys.exit(main())
