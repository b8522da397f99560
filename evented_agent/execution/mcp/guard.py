"""Starts a server's program and ends it with the worker, however that ends: ``guard PID COMMAND``.

Run as a script, with nothing but the standard library: it must start fast.  It leads a process
group of its own; its standard input and output are the program's.
"""

import contextlib
import ctypes
import os
import select
import signal
import socket
import sys
from typing import NoReturn

#: Milliseconds between two checks of the parent, where the kernel does not tell of its end.
_PARENT_CHECK_MS = 500
#: As `prctl` has it: the signal to get when the parent has died.
_PR_SET_PDEATHSIG = 1
#: The exit code of a program that could not be started, as shells have it.
NOT_STARTED = 127


def _die_with_parent(number: signal.Signals) -> None:
    """Get a signal when the parent dies (Linux)."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number))


def _start(command: list[str]) -> NoReturn:
    _die_with_parent(signal.SIGKILL)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell, and the user's own command
    except OSError:
        os._exit(NOT_STARTED)


def guard_command(parent: int, command: list[str]) -> int:
    """Run *command* until it ends, SIGTERM comes or *parent* is gone; returns its exit code."""
    # A mask of the thread that started this process is inherited.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    wakeup, alarm = socket.socketpair()
    alarm.setblocking(False)
    signal.set_wakeup_fd(alarm.fileno())
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    _die_with_parent(signal.SIGTERM)
    pid = os.fork()
    if pid == 0:
        _start(command)
    # Held open here as well, the program's end would not end its output.
    os.close(0)
    os.close(1)
    poll = select.poll()
    poll.register(wakeup, select.POLLIN)
    while os.getppid() == parent:
        signals = wakeup.recv(64) if poll.poll(_PARENT_CHECK_MS) else b""
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if signal.SIGTERM in signals:
            break
    return 0


if __name__ == "__main__":
    code = guard_command(int(sys.argv[1]), sys.argv[2:])
    if code == NOT_STARTED:
        sys.exit(code)
    # The program, this process, and whatever the program has started.
    os.killpg(0, signal.SIGKILL)
