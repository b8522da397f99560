"""Servers, workers and statistics of the benchmarks."""

import contextlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import redis

from evented_agent.embedded import find_binary

ROOT = Path(__file__).parent.parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Report:
    """Prints figures as they come, the wanted one beside."""

    rows: list[dict[str, str]] = field(default_factory=list)

    def add(self, name: str, value: str, wanted: str = "") -> None:
        self.rows.append({"name": name, "value": value, "wanted": wanted})
        print(f"{name:<58} {value:>30}   {wanted}", flush=True)


@dataclass
class Bench:
    """What a benchmark measures with: two servers, a model server, and workers on demand."""

    ledger: "Process"
    broker: "Process"
    mock: "Process"
    folder: Path
    report: Report
    is_quick: bool

    @contextlib.contextmanager
    def workers(self, count: int = 1, *, pool: str = "threads", slots: int = 100) -> Iterator[None]:
        started = [
            worker_process(self.folder, f"w{n}", pool=pool, slots=slots) for n in range(count)
        ]
        try:
            self.wait_for_workers(count)
            yield
        finally:
            for process in started:
                process.kill()
            self.client().delete("ea:workers")

    def wait_for_workers(self, count: int, seconds: float = 60) -> None:
        """Wait until so many workers have announced themselves."""
        ends = time.monotonic() + seconds
        while self.client().hlen("ea:workers") < count:
            if time.monotonic() > ends:
                raise RuntimeError("The workers did not start.")
            time.sleep(0.05)
        time.sleep(0.5)

    def client(self, url: str | None = None) -> "redis.Redis":
        return redis.Redis.from_url(url or os.environ["BENCH_REDIS_URL"])


class Process:
    """A child process with its log; killed with everything that it started."""

    def __init__(self, command: Sequence[str], log: Path, *, port: int = 0) -> None:
        self.port = port
        self._log = log
        log.unlink(missing_ok=True)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def wait_for_port(self, seconds: float = 20) -> None:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            time.sleep(0.02)
        raise RuntimeError(f"Nobody listens on {self.port}")

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGKILL)
        self._process.wait()


def worker_process(folder: Path, name: str, *, pool: str, slots: int) -> Process:
    command = [
        *(sys.executable, "-m", "celery", "-A", "benchmarks.app", "worker", "-n", f"{name}@bench"),
        *("-P", pool, "-c", str(slots), "-Q", "agents", "--loglevel", "WARNING"),
        *("--without-gossip", "--without-mingle", "--without-heartbeat"),
    ]
    return Process(command, folder / f"{name}.log")


def redis_process(folder: Path, name: str) -> Process:
    port = free_port()
    (folder / name).mkdir()
    command = [
        *(find_binary(), "--port", str(port), "--bind", "127.0.0.1", "--save", ""),
        *("--appendonly", "yes", "--dir", str(folder / name)),
    ]
    process = Process(command, folder / f"{name}.log", port=port)
    process.wait_for_port()
    return process


@contextlib.contextmanager
def bench(*, is_quick: bool) -> Iterator[Bench]:
    """Start the servers and tell the application of the benchmarks where they are."""
    with tempfile.TemporaryDirectory(prefix="evented-agent-bench-") as name:
        folder = Path(name)
        ledger, broker = redis_process(folder, "ledger"), redis_process(folder, "broker")
        port = free_port()
        mock = Process(
            [sys.executable, "-m", "benchmarks.mock", str(port)], folder / "mock.log", port=port
        )
        try:
            mock.wait_for_port()
            os.environ |= {
                "BENCH_REDIS_URL": f"redis://127.0.0.1:{ledger.port}/0",
                "BENCH_BROKER_URL": f"redis://127.0.0.1:{broker.port}/0",
                "OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1",
                "OPENAI_API_KEY": "none",
            }
            yield Bench(ledger, broker, mock, folder, Report(), is_quick)
        finally:
            for process in (mock, broker, ledger):
                process.kill()


def quantiles(values: Sequence[float]) -> tuple[float, float]:
    """Median and p99."""
    ordered = sorted(values)
    return statistics.median(ordered), ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]


def milliseconds(values: Sequence[float]) -> str:
    median, high = quantiles(values)
    return f"{median * 1e3:.1f} ms (p99 {high * 1e3:.1f})"
