"""Servers and workers of the benchmarks: real processes on free loopback ports."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import redis

from benchmarks.figures import Report
from benchmarks.mock import Counts
from evented_agent.engines.celery import EventedAgent
from evented_agent.ledger.embedded_server import find_binary

ROOT = Path(__file__).parent.parent
POOLS = ("threads", "prefork")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """A child process with its log; killed with everything that it started."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        port: int = 0,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.port = port
        self.log = log
        log.unlink(missing_ok=True)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **(env or {})},
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
        raise RuntimeError(f"Nobody listens on {self.port}: {self.log.read_text()[-800:]}")

    def signal(self, number: signal.Signals) -> None:
        """Signal the process: with its children, but SIGTERM, which a deploy sends to it alone."""
        send = os.kill if number == signal.SIGTERM else os.killpg
        with contextlib.suppress(ProcessLookupError):
            send(self.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGKILL)
        self._process.wait()


class Server(Process):
    """A Redis-compatible server with an append-only file, as a deployment has it."""

    def __init__(self, folder: Path, name: str) -> None:
        port = free_port()
        (folder / name).mkdir()
        command = [
            *(find_binary(), "--port", str(port), "--bind", "127.0.0.1", "--save", ""),
            *("--appendonly", "yes", "--dir", str(folder / name)),
        ]
        super().__init__(command, folder / f"{name}.log", port=port)
        self.wait_for_port()
        self.url = f"redis://127.0.0.1:{port}/0"
        self.client = redis.Redis.from_url(self.url)

    def commands(self) -> Counter[str]:
        """How often each command has run so far, scripts' own included; not our asking."""
        stats = self.client.info("commandstats")
        calls = {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in stats.items()}
        return Counter({name: n for name, n in calls.items() if name != "info"})


@dataclass
class Bench:
    """What a benchmark measures with: two servers, a model server, and workers on demand."""

    ledger: Server
    broker: Server
    mock: Process
    folder: Path
    is_quick: bool
    kills: int
    report: Report = field(default_factory=Report)

    @property
    def agents(self) -> dict[str, EventedAgent]:
        # The application reads at import where the servers are.
        from benchmarks.app import agents

        return agents

    def size(self, full: int, quick: int) -> int:
        return quick if self.is_quick else full

    @contextlib.contextmanager
    def workers(
        self,
        count: int = 1,
        *,
        pool: str = "threads",
        slots: int = 100,
        as_configured: bool = True,
        apart: Mapping[str, Mapping[str, str]] | None = None,
    ) -> Iterator[dict[str, Process]]:
        """Workers on empty servers, by name; what an earlier benchmark left would cost them.

        *apart* is one more for each queue, named by it, with variables of its own.
        """
        self.ledger.client.flushall()
        self.broker.client.flushall()
        env = {} if as_configured else {"BENCH_CELERY_DEFAULTS": "1"}
        started = {
            name: Process(_worker(name, pool, slots), self.folder / f"{name}.log", env=env)
            for name in (f"w{n}" for n in range(count))
        }
        for queue, more in (apart or {}).items():
            command = _worker(queue, pool, slots, queue)
            started[queue] = Process(command, self.folder / f"{queue}.log", env={**env, **more})
        try:
            self._wait_for(started)
            self._warm_up(min(slots, 10) * count)
            yield started
        finally:
            for process in started.values():
                process.kill()

    def paid(self) -> Counts:
        """What the model server was asked for so far."""
        connection = http.client.HTTPConnection("127.0.0.1", self.mock.port, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", "/counts")
            return Counts(**json.load(connection.getresponse()))

    def _wait_for(self, workers: Mapping[str, Process], seconds: float = 60) -> None:
        ends = time.monotonic() + seconds
        runs = self.agents["answer"].client
        while len(runs.workers()) < len(workers):
            if time.monotonic() > ends:
                logs = "\n".join(worker.log.read_text()[-800:] for worker in workers.values())
                raise RuntimeError(f"The workers did not start in {seconds:g} s:\n{logs}")
            time.sleep(0.05)

    def _warm_up(self, count: int) -> None:
        for run in [self.agents["answer"].stream("Go.") for _ in range(count)]:
            run.result(timeout=60)


def _worker(name: str, pool: str, slots: int, queue: str = "agents") -> list[str]:
    return [
        *(sys.executable, "-m", "celery", "-A", "benchmarks.app", "worker", "-n", f"{name}@bench"),
        *("-P", pool, "-c", str(slots), "-Q", queue, "--loglevel", "WARNING"),
        *("--without-gossip", "--without-mingle", "--without-heartbeat"),
    ]


@contextlib.contextmanager
def bench(*, is_quick: bool, kills: int) -> Iterator[Bench]:
    """Start the servers and tell the application of the benchmarks where they are."""
    with (
        tempfile.TemporaryDirectory(prefix="evented-agent-bench-") as name,
        contextlib.ExitStack() as processes,
    ):
        folder = Path(name)
        ledger = Server(folder, "ledger")
        processes.callback(ledger.kill)
        broker = Server(folder, "broker")
        processes.callback(broker.kill)
        port = free_port()
        mock = Process(
            [sys.executable, "-m", "benchmarks.mock", str(port)], folder / "mock.log", port=port
        )
        processes.callback(mock.kill)
        mock.wait_for_port()
        os.environ |= {
            "BENCH_REDIS_URL": ledger.url,
            "BENCH_BROKER_URL": broker.url,
            "OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1",
            "OPENAI_API_KEY": "none",
        }
        yield Bench(ledger, broker, mock, folder, is_quick, kills)
