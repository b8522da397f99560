"""Run benchmarks: ``python -m benchmarks [name …] [--quick] [--kills N] [--json FILE]``."""

import argparse
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import (
    abort,
    calls,
    cost,
    latency,
    over_http,
    readers,
    recovery,
    throughput,
    tracing,
)
from benchmarks.harness import Bench, bench

ALL = {
    "steps": latency.steps,
    "tracing": tracing.tracing,
    "first-token": latency.first_token,
    "tokens": throughput.tokens,
    "stream": calls.stream_call,
    "readers": readers.readers,
    "silence": readers.silence,
    "http": over_http.many,
    "first-token-http": over_http.first_token,
    "runs": throughput.runs_per_minute,
    "cost": cost.cost,
    "idle": cost.idle,
    "backlog": cost.backlog,
    "recovery": recovery.recovery,
    "abort": abort.abort,
}


def main() -> None:
    chosen = _arguments()
    with bench(is_quick=chosen.quick, kills=chosen.kills) as measured:
        machine = _machine(measured)
        print(", ".join(f"{name} {value}" for name, value in machine.items()))
        print(f"{'':<50} {'median':>16}  {'spread':<14} wanted", flush=True)
        loads = {}
        for name in chosen.names or ALL:
            loads[name] = os.getloadavg()[0]
            measured.report.benchmark = name
            ALL[name](measured)
    if chosen.json:
        found = {"machine": machine, "loads": loads, "figures": measured.report.rows()}
        chosen.json.write_text(json.dumps(found, indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(ALL)}; all by default")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("--kills", type=int, default=3, help="workers to kill for each pool")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - set(ALL):
        parser.error(f"no benchmark named {', '.join(sorted(unknown))}")
    if chosen.kills < 1:
        parser.error("--kills takes a number from 1 on")
    return chosen


def _machine(measured: Bench) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "server": measured.ledger.client.info("server").get("valkey_version", "redis"),
        **{name: version(name) for name in ("celery", "redis", "openai")},
    }


if __name__ == "__main__":
    main()
