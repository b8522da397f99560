"""``python -m tests.workload [--dialogs 200] [--workers 2] [--chaos SEED …]``.

With ``--topology cluster`` or ``sentinel`` the runs are there, and not workers are disturbed but
masters killed and slots moved.
"""

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.workload import chaos, topology
from tests.workload.dialogs import dialogs
from tests.workload.run import Report, deployment, play_all


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.workload", description=__doc__)
    parser.add_argument("--dialogs", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--chaos", type=int, nargs="*", metavar="SEED", default=[])
    parser.add_argument("--pause", type=float, default=0.0, help="seconds the model takes a word")
    parser.add_argument("--topology", choices=topology.KINDS, help="where the runs are")
    parser.add_argument("--min-replicas", type=int, default=0, help="min-replicas-to-write")
    chosen = parser.parse_args()
    actions = list(topology.ACTIONS if chosen.topology else chaos.ACTIONS)
    ids = list(dialogs())[: chosen.dialogs]
    if not (chosen.topology and len(chosen.chaos) > 1):
        print("  ".join(f"{name:>9}" for name in ("seed", *_COLUMNS, *actions, "seconds")))
        return max(_play(chosen, ids, seed, actions) for seed in chosen.chaos or [None])
    # The application reads once where its runs are, and each topology is elsewhere.
    given = sys.argv[1:]
    at = given.index("--chaos")
    others = given[:at] + given[at + 1 + len(chosen.chaos) :]
    command = [sys.executable, "-m", "tests.workload", *others, "--chaos"]
    return max(subprocess.run([*command, str(seed)]).returncode for seed in chosen.chaos)


def _play(
    chosen: argparse.Namespace, ids: list[str], seed: int | None, actions: Sequence[str]
) -> int:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        where, shards = None, 1
        if chosen.topology:
            made = topology.topology(chosen.topology, folder / "ledger", chosen.min_replicas)
            where = stack.enter_context(made)
            shards = topology.SHARDS if chosen.topology == "cluster" else 1
        ledger = where.url if where is not None else ""
        fleet = stack.enter_context(
            deployment(folder, chosen.workers, pause=chosen.pause, ledger=ledger, shards=shards)
        )
        disturbing: chaos.Chaos | topology.TopologyChaos | None = None
        if seed is not None and where is not None:
            disturbing = topology.TopologyChaos(where, seed)
        elif seed is not None:
            disturbing = chaos.Chaos(fleet, seed)
        started = time.monotonic()
        report = play_all(ids, chaos=disturbing)
        print(_row(report, seed, actions, time.monotonic() - started), flush=True)
        print("\n".join(report.wrong))
        return 1 if report.wrong else 0


_COLUMNS = ("equal", "runs", "steps", "calls", "withdrawn", "restarted", "repeated", "hung")


def _row(report: Report, seed: int | None, actions: Sequence[str], seconds: float) -> str:
    outcomes = report.outcomes
    sums = {
        name: sum(getattr(each, name) for each in outcomes)
        for name in ("runs", "steps", "calls", "withdrawn", "restarted", "hung")
    }
    equal = f"{sum(not outcome.wrong for outcome in outcomes)}/{len(outcomes)}"
    counted = {**sums, "equal": equal, "repeated": report.repeated}
    cells = [
        "-" if seed is None else str(seed),
        *(str(counted[name]) for name in _COLUMNS),
        *(str(report.done[action]) for action in actions),
        f"{seconds:.1f}",
    ]
    return "  ".join(f"{cell:>9}" for cell in cells)


if __name__ == "__main__":
    sys.exit(main())
