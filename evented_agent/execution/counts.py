"""What this process has done: sums in memory, added to those in Redis about once a second.

Nobody waits for that: it has a thread of its own, which begins with the first thing counted.
"""

import secrets
import threading
from collections.abc import Callable, Mapping
from operator import add

from evented_agent.errors import LedgerUnavailable
from evented_agent.ledger.connection import Ledger
from evented_agent.ledger.counters import add_counts
from evented_agent.ledger.keys import Keys
from evented_agent.logs import logger_of

logger = logger_of(__name__)

#: Seconds between two additions, and after one that failed.
INTERVAL, AFTER_FAILURE = 1.0, 5.0


class Counts:
    """The sums of one process; a forked child needs its own.

    Each is added to Redis at most once: of a process that is killed, the last second is missing.
    """

    def __init__(self, keys: Keys, ledger: Ledger) -> None:
        self._keys = keys
        self._ledger = ledger
        self._sender = secrets.token_hex(8)
        self._number = 0
        self._sums: dict[tuple[str, str], int] = {}
        #: The batch that was sent and not answered.
        self._sent: Mapping[tuple[str, str], int] = {}
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._has_news = threading.Event()
        self._is_stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, name: str, agent: str, by: int = 1) -> None:
        """Count something; *agent* is the id of a declared one."""
        self._put(name, agent, by, add)

    def peak(self, name: str, agent: str, value: int) -> None:
        """Keep the largest value of a time; *agent* is the id of a declared one."""
        self._put(name, agent, value, max)

    def _put(self, name: str, agent: str, value: int, join: Callable[[int, int], int]) -> None:
        key = (name, agent)
        with self._lock:
            self._sums[key] = join(self._sums.get(key, 0), value)
            if self._thread is None:
                self._start()
        if not self._has_news.is_set():
            self._has_news.set()

    def flush(self) -> bool:
        """Add what is new to the sums in Redis; False where they could not be reached."""
        with self._sending:
            if self._sent and not self._send(self._sent, is_again=True):
                return False
            with self._lock:
                self._sent, self._sums = self._sums, {}
                self._has_news.clear()
            if not self._sent:
                return True
            self._number += 1
            return self._send(self._sent, is_again=False)

    def stop(self) -> None:
        """Add what is left, and end the thread; the next thing counted begins another."""
        with self._lock:
            self._is_stopped.set()
            self._is_stopped = threading.Event()
            self._thread = None
        self._has_news.set()
        self.flush()

    def _start(self) -> None:
        self._thread = threading.Thread(
            target=self._run, args=(self._is_stopped,), name="evented-agent-counts", daemon=True
        )
        self._thread.start()

    def _run(self, is_stopped: threading.Event) -> None:
        wait = INTERVAL
        while not is_stopped.wait(wait):
            wait = INTERVAL if self.flush() else AFTER_FAILURE
            if wait == INTERVAL:
                self._has_news.wait()

    def _send(self, batch: Mapping[tuple[str, str], int], *, is_again: bool) -> bool:
        call = add_counts(self._keys, self._sender, self._number, batch, is_again=is_again)
        try:
            self._ledger.send(call, retry_for=0)
        except LedgerUnavailable as error:
            if error.retryable:
                logger.debug("What was done could not be counted yet: %s", error)
                return False
            logger.warning("What was done could not be counted: %s", error)
        except Exception:
            # Nothing depends on it: no exception may end this thread.
            logger.exception("What was done could not be counted")
        self._sent = {}
        return True
