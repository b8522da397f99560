"""Starts programs from an interpreter that has imported the libraries already.

A worker or a command spends most of its start importing, and tests start hundreds.  Each is forked
from one warm interpreter, leads a session of its own and is the same program from there on: it
reads its environment, imports the app, and can be killed like any other.  For Linux: elsewhere
programs start from cold.
"""

import contextlib
import gc
import importlib
import json
import os
import platform
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

_ROOT = Path(__file__).parent.parent.parent
#: What every worker of the tests imports; apps and agents are not among them.
LIBRARIES = (
    *("celery.bin.celery", "celery.bin.worker", "celery.apps.worker"),
    *("celery.worker.worker", "celery.concurrency.thread", "celery.concurrency.prefork"),
    *("celery.backends.redis", "kombu.transport.redis", "evented_agent", "evented_agent.testing"),
    *("evented_agent.cli", "rich.console", "rich.table", "uvicorn.main", "evented_agent.web"),
)
_MOST_BYTES = 1_000_000
_BIN = Path(sys.executable).parent
_SCRIPT = "evented-agent"


class WarmProcess:
    """A process that `start_warm` has started; what tests need of `subprocess.Popen`."""

    def __init__(self, pid: int, status: int) -> None:
        self.pid = pid
        self._status = status
        self._returncode: int | None = None

    def poll(self) -> int | None:
        """How it ended, as in `subprocess`: negative for a signal; None while it runs."""
        if self._returncode is None and select.select([self._status], [], [], 0)[0]:
            self._returncode = int(os.read(self._status, 100))
            os.close(self._status)
        return self._returncode

    def wait(self, timeout: float | None = None) -> int:
        if self._returncode is None and not select.select([self._status], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        found = self.poll()
        assert found is not None
        return found

    def send_signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)


class _Warm:
    """The warm interpreter, and the socket by which it is asked."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MOST_BYTES)
        command = [sys.executable, "-m", __spec__.name, str(theirs.fileno())]
        # It ends with this process, which closes the socket.
        self._process = subprocess.Popen(command, cwd=_ROOT, pass_fds=[theirs.fileno()])
        theirs.close()

    def start(self, request: Mapping[str, Any], output: IO[bytes], error: IO[bytes]) -> WarmProcess:
        read, write = os.pipe()
        fds = [output.fileno(), error.fileno(), write]
        socket.send_fds(self._ours, [json.dumps(request).encode()], fds)
        os.close(write)
        ends = time.monotonic() + 60
        pid = b""
        while not pid.endswith(b"\n"):
            assert select.select([read], [], [], ends - time.monotonic())[0], "no process in 60 s"
            piece = os.read(read, 1)
            assert piece, "the warm interpreter has ended"
            pid += piece
        return WarmProcess(int(pid), read)


_WARM: list[_Warm] = []


def start_warm(
    command: Sequence[str],
    env: Mapping[str, str],
    output: IO[bytes],
    error: IO[bytes] | None = None,
    *,
    cwd: Path = _ROOT,
) -> "WarmProcess | subprocess.Popen[bytes]":
    """Start ``evented-agent …``, or ``NAME …`` as ``python -m NAME`` does; it reads no input."""
    name, *arguments = command
    if platform.system() == "Linux":
        if not _WARM:
            _WARM.append(_Warm())
        request = {"name": name, "arguments": arguments, "env": dict(env), "cwd": str(cwd)}
        return _WARM[0].start(request, output, error or output)
    script = [str(_BIN / name)] if name == _SCRIPT else [sys.executable, "-m", name]
    return subprocess.Popen(
        [*script, *arguments],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=error or output,
        start_new_session=True,
    )


def run_warm(
    command: Sequence[str], env: Mapping[str, str], *, cwd: Path = _ROOT, timeout: float = 60
) -> "subprocess.CompletedProcess[str]":
    """Start a program as `start_warm` does, and wait for its end."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as error:
        process = start_warm(command, env, output, error, cwd=cwd)
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            raise
        said = []
        for file in (output, error):
            file.seek(0)
            said.append(file.read().decode())
    return subprocess.CompletedProcess(command, code, *said)


# In the warm interpreter ------------------------------------------------------------------------

_running: dict[int, int] = {}


def _reap(*_: object) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        with contextlib.suppress(BrokenPipeError), os.fdopen(_running.pop(pid), "wb") as told:
            told.write(str(os.waitstatus_to_exitcode(status)).encode())


def _serve(asked: socket.socket) -> dict[str, Any]:
    """Fork for each request; returns the request in the new process alone."""
    while True:
        message, fds, _, _ = socket.recv_fds(asked, _MOST_BYTES, 3)
        if not message:
            sys.exit()
        output, error, status = fds
        # None ends before its number is known here.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        pid = os.fork()
        if pid == 0:
            _become_own(output, error)
            request: dict[str, Any] = json.loads(message)
            return request
        os.close(output)
        os.close(error)
        _running[pid] = status
        os.write(status, f"{pid}\n".encode())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])


def _become_own(output: int, error: int) -> None:
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (error, 2)):
        os.dup2(source, target)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))


def _become(request: Mapping[str, Any]) -> None:
    """Become what a fresh interpreter would be: its environment, folder, path and streams."""
    env: dict[str, str] = request["env"]
    os.environ.clear()
    os.environ.update(env)
    os.chdir(request["cwd"])
    is_script = request["name"] == _SCRIPT
    first = str(_BIN) if is_script else request["cwd"]
    sys.path[:1] = [first, *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = [request["name"], *request["arguments"]]
    at_once = bool(env.get("PYTHONUNBUFFERED"))
    output = open(1, "w", closefd=False)  # noqa: SIM115
    error = open(2, "w", buffering=1, closefd=False, errors="backslashreplace")  # noqa: SIM115
    output.reconfigure(write_through=at_once)
    error.reconfigure(write_through=at_once)
    sys.stdout, sys.stderr = output, error


def main() -> None:
    asked = socket.socket(fileno=int(sys.argv[1]))
    for name in LIBRARIES:
        importlib.import_module(name)
    gc.freeze()
    signal.signal(signal.SIGCHLD, _reap)
    request = _serve(asked)
    asked.detach()
    _become(request)
    if request["name"] == _SCRIPT:
        sys.exit(importlib.import_module("evented_agent.cli").main())
    runpy.run_module(request["name"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
