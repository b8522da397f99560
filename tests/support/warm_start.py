"""Starts ``celery`` from an interpreter that has imported the libraries already.

A worker spends most of its start importing, and tests start hundreds.  Each is forked from one warm
interpreter, leads a session of its own and is the same program from there on: it reads its
environment, imports the app, and can be killed like any other.  For Linux; see `WorkerProcess`.
"""

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

#: What every worker of the tests imports; apps and agents are not among them.
LIBRARIES = (
    *("celery.__main__", "celery.bin.celery", "celery.bin.worker", "celery.apps.worker"),
    *("celery.worker.worker", "celery.concurrency.thread", "celery.concurrency.prefork"),
    *("celery.backends.redis", "kombu.transport.redis", "evented_agent", "evented_agent.testing"),
)
_MOST_BYTES = 1_000_000


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

    def __init__(self, root: Path) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MOST_BYTES)
        command = [sys.executable, "-m", __spec__.name, str(theirs.fileno())]
        # It ends with this process, which closes the socket.
        self._process = subprocess.Popen(command, cwd=root, pass_fds=[theirs.fileno()])
        theirs.close()

    def start(self, arguments: Sequence[str], env: Mapping[str, str], log: Path) -> WarmProcess:
        read, write = os.pipe()
        with log.open("ab") as output:
            request = json.dumps({"arguments": list(arguments), "env": dict(env)}).encode()
            socket.send_fds(self._ours, [request], [output.fileno(), write])
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
    arguments: Sequence[str], env: Mapping[str, str], log: Path, root: Path
) -> WarmProcess:
    """Start ``celery`` with these arguments, all its output in *log*."""
    if not _WARM:
        _WARM.append(_Warm(root))
    return _WARM[0].start(arguments, env, log)


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
        message, fds, _, _ = socket.recv_fds(asked, _MOST_BYTES, 2)
        if not message:
            sys.exit()
        output, status = fds
        # None ends before its number is known here.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        pid = os.fork()
        if pid == 0:
            _become_own(output)
            request: dict[str, Any] = json.loads(message)
            return request
        os.close(output)
        _running[pid] = status
        os.write(status, f"{pid}\n".encode())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])


def _become_own(output: int) -> None:
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115


def main() -> None:
    asked = socket.socket(fileno=int(sys.argv[1]))
    for name in LIBRARIES:
        importlib.import_module(name)
    gc.freeze()
    signal.signal(signal.SIGCHLD, _reap)
    request = _serve(asked)
    asked.detach()
    os.environ.clear()
    os.environ.update(request["env"])
    sys.path[1:1] = request["env"].get("PYTHONPATH", "").split(os.pathsep)
    sys.argv = ["celery", *request["arguments"]]
    importlib.import_module("celery.__main__").main()


if __name__ == "__main__":
    main()
