"""Sends the messages that a watchdog finds due, in a thread of its own.

A broker that accepts and never answers holds each call for its time limit; the watchdog must notice
dead workers meanwhile.
"""

import threading
from collections.abc import Callable, Sequence

from evented_agent.ledger.records import Due
from evented_agent.logs import logger_of

logger = logger_of(__name__)

#: Sends messages; False if they could not be sent, which loses nothing.
Notify = Callable[[Sequence[Due]], bool]

#: Messages that wait here; those beyond are dropped, and sent again by a later look.
MOST = 5_000
#: Messages of one call, so that no failure drops many.
TOGETHER = 100


class Sender:
    """Sends messages one bounded call at a time; whoever hands them over never waits."""

    def __init__(self, notify: Notify) -> None:
        self.works = True
        self._notify = notify
        self._waiting: list[Due] = []
        self._changed = threading.Condition()
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name="evented-agent-sender", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def send(self, dues: Sequence[Due]) -> None:
        """Send *dues* soon."""
        with self._changed:
            self._waiting.extend(dues[: MOST - len(self._waiting)])
            self._changed.notify()

    def stop(self) -> None:
        """Stop after the call that is under way."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while dues := self._next():
            try:
                self.works = self._notify(dues)
            except Exception:
                # Sent again later; a dead thread would send nothing ever again.
                logger.exception("Messages could not be sent; continuing")
                self.works = False
            if not self.works:
                with self._changed:
                    # The broker is away: what waits for it would be sent again by then.
                    self._waiting.clear()

    def _next(self) -> Sequence[Due]:
        """The next messages; none once this is stopped."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_stopped)
            if self._is_stopped:
                return ()
            dues, self._waiting = self._waiting[:TOGETHER], self._waiting[TOGETHER:]
            return dues
