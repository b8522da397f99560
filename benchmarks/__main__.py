"""Run benchmarks: ``python -m benchmarks [name …] [--quick] [--json FILE]``."""

import argparse
import json
import os
from pathlib import Path

from benchmarks import fleet, latency, throughput
from benchmarks.harness import bench

ALL = {
    "steps": latency.steps,
    "first-token": latency.first_token,
    "stream": latency.stream_call,
    "tokens": throughput.tokens,
    "runs": throughput.runs_per_minute,
    "cost": throughput.cost,
    "idle": fleet.idle,
    "backlog": fleet.backlog,
    "recovery": fleet.recovery,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(ALL)}; all by default")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    chosen = parser.parse_args()
    names = chosen.names or list(ALL)
    unknown = set(names) - set(ALL)
    if unknown:
        parser.error(f"no benchmark named {', '.join(sorted(unknown))}")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with bench(is_quick=chosen.quick) as measured:
        for name in names:
            ALL[name](measured)
    if chosen.json:
        chosen.json.write_text(json.dumps(measured.report.rows, indent=1))


if __name__ == "__main__":
    main()
