"""Leases and the thread that renews them.

One thread per process renews all leases, so that a busy event loop or a blocking tool does not
lose them.  It supervises the loop: whatever blocks it for a second is logged with its stack.
"""

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Literal

from evented_agent.errors import LedgerUnavailable
from evented_agent.ledger.connection import Ledger
from evented_agent.ledger.records import Fenced, Signal, Task
from evented_agent.ledger.script import Command
from evented_agent.logs import logger_of

logger = logger_of(__name__)

#: Why an attempt is stopped from outside; "lost": Redis has lost chunks of it, in a failover.
Stop = Literal["fenced", "lost", "aborted", "released"]
#: The reasons after which nothing that the attempt does counts.
_OVER = ("fenced", "lost")

#: An event loop that is blocked for so long (s) has its stack logged, …
STALL_LOGGED = 1.0
#: … and for so long, counts as dead: its leases are no longer renewed.
STALL_FATAL = 60.0


def boottime() -> float:
    """Seconds on a clock that goes on while the machine sleeps and never jumps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Lease:
    """The right of one attempt to work on its task."""

    def __init__(
        self, task: Task, *, seconds: float, since: float, on_stop: Callable[[], object]
    ) -> None:
        self.task = task
        self.stopped: Stop | None = None
        self.due: float | None = None
        #: Whether a message cuts short what a model says; that stops a model's answer alone.
        self.is_interrupted = False
        self.on_interrupt: Callable[[], object] | None = None
        self._seconds = seconds
        self._renewed_at = since
        self._on_stop = on_stop
        self._is_sealed = False

    @property
    def is_valid(self) -> bool:
        """Whether no other worker can have claimed the task, as far as this process knows."""
        return self.stopped not in _OVER and boottime() < self._renewed_at + self._seconds

    @property
    def is_renewable(self) -> bool:
        """Whether the task's own timeout has not passed."""
        return self.due is None or boottime() < self.due

    def renewed(self, since: float) -> None:
        self._renewed_at = since

    def seal(self) -> None:
        """The work is done; only the commit is left, and it checks the token itself.

        A heartbeat that arrives after the commit is answered "fenced", since the task is done.
        That must stop neither the commit nor the end task that comes with it.
        """
        self._is_sealed = True

    def unseal(self) -> None:
        """The commit was refused and the work continues; heartbeats may stop it again."""
        self._is_sealed = False

    def take(self, signal: Signal | None) -> None:
        """Do as Redis has answered.  Call it on the attempt's event loop."""
        if signal == "aborted":
            self.stop("aborted")
        elif signal == "interrupted" and not self.is_interrupted:
            self.is_interrupted = True
            if self.on_interrupt is not None:
                self.on_interrupt()

    def stop(self, reason: Stop) -> None:
        """Stop the attempt.  Call it on the attempt's event loop."""
        if self.stopped in _OVER or (self._is_sealed and reason != "released"):
            return
        if self.stopped == reason:
            return
        self.stopped = reason
        self._on_stop()


class Heartbeats:
    """Renews the leases of this process from a thread of its own."""

    def __init__(self, ledger: Ledger, *, lease_ms: int, loop: asyncio.AbstractEventLoop) -> None:
        self._ledger = ledger
        self._lease_ms = lease_ms
        self._loop = loop
        self._leases: dict[str, tuple[Lease, Command[Signal | None]]] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop_thread: int | None = None
        self._ticked_at = boottime()
        self._tick_asked = False
        self._stall_logged = False
        self._is_stopped = False

    def add(self, lease: Lease, heartbeat: Command[Signal | None]) -> None:
        """Renew this lease with *heartbeat* from now on.  Call it on the attempt's event loop."""
        with self._lock:
            self._loop_thread = threading.get_ident()
            if not self._leases:
                self._ticked_at = boottime()
            self._leases[lease.task.token] = (lease, heartbeat)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._run, name="evented-agent-heartbeat", daemon=True
                )
                self._thread.start()
        self._wake.set()

    def remove(self, lease: Lease) -> None:
        with self._lock:
            self._leases.pop(lease.task.token, None)

    def stop(self) -> None:
        """Stop renewing."""
        self._is_stopped = True
        self._wake.set()

    def leases(self) -> list[Lease]:
        with self._lock:
            return [lease for lease, _ in self._leases.values()]

    def _due(self) -> list[tuple[Lease, Command[Signal | None]]]:
        with self._lock:
            return [each for each in self._leases.values() if each[0].is_renewable]

    def _run(self) -> None:
        interval = self._lease_ms / 3000
        while not self._is_stopped:
            if not self.leases():
                self._wake.clear()
                if not self.leases():
                    self._wake.wait()
                    continue
            try:
                self._renew()
            except Exception:
                # One missed heartbeat does no harm; a dead heartbeat thread does.
                logger.exception("Heartbeat failed; continuing")
            woke_at = boottime() + interval
            time.sleep(interval)
            self._log_standstill(boottime() - woke_at)

    def _log_standstill(self, seconds: float) -> None:
        """Log that not even this thread could run, and what ran meanwhile."""
        if seconds < STALL_LOGGED:
            return
        running = ", ".join(
            f"{lease.task.tool or lease.task.kind} of run {lease.task.run_id}"
            for lease in self.leases()
        )
        logger.error(
            "This process stood still for %.1f s: a tool held the GIL, or the machine was frozen. "
            "After more than a lease (%.0f s), other workers take its tasks. It ran: %s. "
            "Declare a tool that holds the GIL with isolate=True.",
            seconds,
            self._lease_ms / 1000,
            running or "nothing",
        )

    def _renew(self) -> None:
        if not self._loop_is_alive():
            return
        due = self._due()
        since = boottime()
        if not due:
            return
        try:
            replies = self._ledger.send_all([heartbeat for _, heartbeat in due])
        except LedgerUnavailable as error:
            logger.warning("Leases could not be renewed: %s", error)
            return
        for (lease, _), reply in zip(due, replies, strict=True):
            self._handle_reply(lease, reply, since)
        if refused := [reply for reply in replies if isinstance(reply, LedgerUnavailable)]:
            logger.warning("%d leases were not renewed: %s", len(refused), refused[0])

    def _handle_reply(self, lease: Lease, reply: object, since: float) -> None:
        if isinstance(reply, Fenced):
            self._stop(lease, "fenced")
        elif isinstance(reply, LedgerUnavailable):
            # Logged once for all.
            return
        elif isinstance(reply, BaseException):
            logger.warning("The lease of %s was not renewed: %s", lease.task.key, reply)
        else:
            lease.renewed(since)
            if reply in ("aborted", "interrupted"):
                self._loop.call_soon_threadsafe(lease.take, reply)

    def _stop(self, lease: Lease, reason: Stop) -> None:
        self._loop.call_soon_threadsafe(lease.stop, reason)

    def _loop_is_alive(self) -> bool:
        """Ask the event loop to respond; False once it has not done so for too long."""
        stalled = boottime() - self._ticked_at
        if not self._tick_asked:
            self._tick_asked = True
            self._loop.call_soon_threadsafe(self._tick)
            return True
        if stalled > STALL_LOGGED and not self._stall_logged:
            self._stall_logged = True
            logger.error(
                "The event loop has been blocked for %.1f s; every run of this process waits. "
                "Use a `def` tool, or await in an `async def` one. It is here:\n%s",
                stalled,
                self._loop_stack(),
            )
        return stalled < STALL_FATAL

    def _tick(self) -> None:
        self._ticked_at = boottime()
        self._tick_asked = False
        self._stall_logged = False

    def _loop_stack(self) -> str:
        frame = sys._current_frames().get(self._loop_thread or 0)  # noqa: SLF001 - documented
        return "".join(traceback.format_stack(frame)) if frame else "(unknown)"
