"""The web process of the benchmarks.  Needs Linux to say what it costs: that is in ``/proc``."""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.harness import Bench, Process, free_port

_TICKS = os.sysconf("SC_CLK_TCK")


class Web(Process):
    """A uvicorn process that serves the runs of the benchmarks."""

    def __init__(self, bench: Bench, stall_seconds: float = 60) -> None:
        port = free_port()
        env = {
            "BENCH_REDIS_URL": f"{bench.ledger.url}?client_name=web",
            "BENCH_STALL_SECONDS": str(stall_seconds),
        }
        command = [
            *(sys.executable, "-m", "uvicorn", "benchmarks.site:web", "--port", str(port)),
            *("--log-level", "warning", "--no-access-log"),
        ]
        super().__init__(command, bench.folder / "web.log", port=port, env=env)
        self.stall_seconds = stall_seconds

    def memory(self) -> float:
        """What it holds in memory, in KB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return float(status.partition("VmRSS:")[2].split()[0])

    def cpu_seconds(self) -> float:
        """Seconds that it has computed so far."""
        stat = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / _TICKS

    def readers(self) -> int:
        """How many connections of readers it has open."""
        table = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        of_port = {line[9] for line in table if line[1].endswith(f":{self.port:04X}")}
        found = 0
        for each in Path(f"/proc/{self.pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                found += str(each.readlink())[len("socket:[") : -1] in of_port
        return found


@contextlib.contextmanager
def serving(bench: Bench, *, cores: Sequence[int] = (), stall_seconds: float = 60) -> Iterator[Web]:
    """Serve, on these cores alone if there are any."""
    web = Web(bench, stall_seconds)
    if cores:
        os.sched_setaffinity(web.pid, cores)
    try:
        web.wait_for_port()
        yield web
    finally:
        web.kill()


@contextlib.contextmanager
def apart(bench: Bench) -> Iterator[Sequence[int]]:
    """Keep this process, Redis and what is started on one core; yields what is left, for a web."""
    cores = sorted(os.sched_getaffinity(0))
    for pid in (0, bench.ledger.pid):
        os.sched_setaffinity(pid, cores[:1])
    try:
        yield cores[-1:]
    finally:
        for pid in (0, bench.ledger.pid):
            os.sched_setaffinity(pid, cores)
