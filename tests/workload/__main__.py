"""``python -m tests.workload [--dialogs 200] [--workers 2] [--kill-every SECONDS]``."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.workload.dialogs import dialogs
from tests.workload.run import deployment, play_all, report


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.workload", description=__doc__)
    parser.add_argument("--dialogs", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kill-every", type=float, metavar="SECONDS")
    chosen = parser.parse_args()
    ids = list(dialogs())[: chosen.dialogs]
    with (
        tempfile.TemporaryDirectory() as folder,
        deployment(Path(folder), chosen.workers) as fleet,
    ):
        started = time.monotonic()
        outcomes = play_all(ids, fleet, kill_every=chosen.kill_every)
        seconds = time.monotonic() - started
        return 0 if report(outcomes, seconds, fleet.kills) else 1


if __name__ == "__main__":
    sys.exit(main())
