"""``python -m tests.workload [--dialogs 200] [--workers 2] [--chaos SEED …]``."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.workload.chaos import ACTIONS
from tests.workload.dialogs import dialogs
from tests.workload.run import Report, deployment, play_all


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.workload", description=__doc__)
    parser.add_argument("--dialogs", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--chaos", type=int, nargs="*", metavar="SEED", default=[])
    parser.add_argument("--pause", type=float, default=0.0, help="seconds the model takes a word")
    chosen = parser.parse_args()
    ids = list(dialogs())[: chosen.dialogs]
    columns = ["seed", "equal", "runs", "steps", "calls", "withdrawn", *ACTIONS, "seconds"]
    print("  ".join(f"{name:>9}" for name in columns), flush=True)
    wrong: list[str] = []
    for seed in chosen.chaos or [None]:
        with (
            tempfile.TemporaryDirectory() as folder,
            deployment(Path(folder), chosen.workers, pause=chosen.pause) as fleet,
        ):
            started = time.monotonic()
            report = play_all(ids, fleet, seed=seed)
            print(_row(report, seed, time.monotonic() - started), flush=True)
            wrong += report.wrong
    print("\n".join(wrong))
    return 1 if wrong else 0


def _row(report: Report, seed: int | None, seconds: float) -> str:
    outcomes = report.outcomes
    sums = [
        sum(getattr(each, name) for each in outcomes)
        for name in ("runs", "steps", "calls", "withdrawn")
    ]
    equal = sum(not outcome.wrong for outcome in outcomes)
    cells = [
        "-" if seed is None else str(seed),
        f"{equal}/{len(outcomes)}",
        *map(str, sums),
        *(str(report.done[action]) for action in ACTIONS),
        f"{seconds:.1f}",
    ]
    return "  ".join(f"{cell:>9}" for cell in cells)


if __name__ == "__main__":
    sys.exit(main())
