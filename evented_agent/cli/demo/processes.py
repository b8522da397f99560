"""The demo's child processes: started in sessions of their own, stopped by pid, logs at hand.

Imports neither Celery nor agents.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import evented_agent

#: What the demo passes to its workers.
BROKER_VARIABLE = "EVENTED_AGENT_DEMO_BROKER"
MODEL_VARIABLE = "EVENTED_AGENT_DEMO_MODEL"

#: Lines of a log that are shown when something went wrong.
TAIL = 15


class DemoFailed(Exception):
    """Raised when the demo cannot go on; the text is for the terminal."""


class DemoProcess:
    """One process of the demo; *name* is what people see."""

    def __init__(
        self, name: str, arguments: Sequence[str], *, home: Path, env: Mapping[str, str]
    ) -> None:
        self.name = name
        self._log = home / f"{name}.log"
        with self._log.open("ab") as log:
            # A session of its own: Ctrl-C reaches the demo alone, which then stops its children.
            self._process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=home,
                env={**os.environ, **_import_path(), **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def tail(self) -> str:
        """Return the last lines of the log, under a heading."""
        state = "runs" if self.is_alive else f"ended with {self._process.returncode}"
        lines = self._log.read_text("utf-8", "replace").splitlines()[-TAIL:]
        return "\n".join([f"--- {self.name} (pid {self.pid}, {state}):", *lines])

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._process.kill()
        self._process.wait()

    def terminate(self) -> None:
        """SIGTERM, without waiting."""
        self._process.terminate()

    def stop(self, seconds: float) -> None:
        """Wait so long for its own end, then kill it."""
        try:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
        finally:
            self.kill()


def wait_for(
    description: str,
    is_true: Callable[[], object],
    children: Sequence[DemoProcess],
    *,
    seconds: float,
) -> None:
    """Wait for a condition; raises `DemoFailed` with logs when a child ends or time is up."""
    ends = time.monotonic() + seconds
    while not is_true():
        ended = [child for child in children if not child.is_alive]
        if ended:
            raise DemoFailed(f"A process ended before {description}.\n{logs_of(ended)}")
        if time.monotonic() > ends:
            raise DemoFailed(f"Not within {seconds:g} s: {description}.\n{logs_of(children)}")
        time.sleep(0.05)


def logs_of(children: Sequence[DemoProcess]) -> str:
    return "\n".join(child.tail() for child in children)


def end_with_parent() -> None:
    """End this process soon after the one that started it, which may have been killed."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


@contextmanager
def private_environment() -> Iterator[None]:
    """Take away what would lead this process or its children to the user's own servers."""
    names = [name for name in os.environ if name.startswith("CELERY_")]
    names += [name for name in ("EVENTED_AGENT_REDIS_URL",) if name in os.environ]
    taken = {name: os.environ.pop(name) for name in names}
    try:
        yield
    finally:
        os.environ.update(taken)


def _import_path() -> dict[str, str]:
    """What lets a child import this package where it is not installed but run from its source."""
    root = Path(evented_agent.__file__).parent.parent
    if root.name in ("site-packages", "dist-packages"):
        return {}
    known = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": f"{root}{os.pathsep}{known}" if known else str(root)}
