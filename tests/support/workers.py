"""Real Celery workers as processes, for tests that kill them."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from tests.support.warm_start import WarmProcess, start_warm

ROOT = Path(__file__).parent.parent.parent


def wait_until(is_true: Callable[[], Any], description: str, seconds: float = 20) -> Any:
    """Wait for a condition with a bound; returns what it returned."""
    ends = time.monotonic() + seconds
    while not (value := is_true()):
        if time.monotonic() > ends:
            raise AssertionError(f"Not within {seconds:g} s: {description}")
        # Between two looks: the only sleep that tests wait with.
        time.sleep(0.05)
    return value


def _stands_still(group: int) -> bool:
    """Whether each thread of a group of processes is stopped; True where there is no /proc."""
    return all(
        state in "TZX"
        for process in Path("/proc").glob("[0-9]*")
        if _status(process)[2:3] == [str(group)]
        for state, *_ in map(_status, process.glob("task/*"))
    )


def _status(of: Path) -> list[str]:
    """State, parent and group of a process or thread; state X once it is gone."""
    try:
        return (of / "stat").read_text().rpartition(")")[2].split()[:3]
    except OSError:
        return ["X"]


class WorkerProcess:
    """One ``celery worker`` in a session of its own; leaving it kills whatever is left."""

    def __init__(
        self,
        env: dict[str, str],
        log: Path,
        *,
        app: str = "tests.support.app",
        name: str = "w1",
        pool: str = "threads",
        concurrency: int = 10,
        queue: str = "agents",
        options: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.log = log
        self._env = {**os.environ, **env, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        #: Subclasses have another command for it.
        self._command: Sequence[str] = [
            *("celery", "-A", app, "worker"),
            *("-n", f"{name}@test", "-P", pool, "-c", str(concurrency), "-Q", queue),
            *("--loglevel", "INFO", "--without-gossip", "--without-mingle"),
            *options,
        ]
        self._process: WarmProcess | subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        with self.log.open("ab") as log:
            self._process = start_warm(self._command, self._env, log)
        return self

    def wait_ready(self) -> Self:
        def is_ready() -> bool:
            if self.process.poll() is not None:
                raise AssertionError(f"The worker exited:\n{self.text()}")
            return f"{self.name}@test ready" in self.text()

        wait_until(is_ready, f"worker {self.name} is ready; log:\n{self.text()}", 30)
        return self

    @property
    def process(self) -> "WarmProcess | subprocess.Popen[bytes]":
        assert self._process is not None
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    def text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def kill(self) -> None:
        """SIGKILL the worker with its children."""
        self._signal(signal.SIGKILL)
        self.process.wait()

    def terminate(self) -> None:
        """SIGTERM the parent, as a deploy does."""
        self.process.send_signal(signal.SIGTERM)

    def pause(self) -> None:
        """Freeze the worker with its children; returns once no thread of theirs goes on.

        A signal that stops a process reaches each of its threads only when the system has the time.
        """
        self._signal(signal.SIGSTOP)
        wait_until(lambda: _stands_still(self.pid), f"worker {self.name} stands still")

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def __enter__(self) -> Self:
        return self.start().wait_ready()

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._signal(signal.SIGCONT)
            self.kill()
