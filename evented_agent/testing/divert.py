"""Applications under test: all of their agents on a server of the test's own, in its process."""

import contextlib
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evented_agent.client.diversion import Diversion, current_diversion, set_diversion
from evented_agent.client.runs import Runs
from evented_agent.engines.in_process import LocalEngine
from evented_agent.ledger.connection import Ledger
from evented_agent.ledger.embedded_server import ensure_server, stop_server
from evented_agent.testing.scripted import block_real_models


@contextlib.contextmanager
def divert_agents(redis_url: str | None = None) -> Iterator[str]:
    """Divert every evented agent of this process to *redis_url*, and block real models.

    Whatever their app, broker or settings are: runs are stored there, executed here, without a
    worker, and forgotten at the end: the URL is that of a database for tests alone, which is
    emptied. Without one an embedded server is started for the block.
    Time goes on for the agents where `freezegun` stops it for the test. Yields the URL.

    Example:
        >>> class ShopTests(TestCase):
        ...     def setUp(self):
        ...         self.enterContext(divert_agents())
    """
    if redis_url is None:
        with _server() as url, divert_agents(url) as diverted:
            yield diverted
        return
    engines = _Engines()
    diversion, before = Diversion(redis_url, engines.serve), current_diversion()
    _let_time_go_on()
    set_diversion(diversion)
    try:
        with block_real_models():
            yield redis_url
    finally:
        engines.close()
        set_diversion(before)
        diversion.close()
        _empty(redis_url)


class _Engines:
    """One engine for each deployment, and what it had before."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._started: list[tuple[LocalEngine, Runs, Any, Any]] = []

    def serve(self, runs: Runs) -> None:
        before = (runs.notifier, runs.forget_copy)
        # Celery's result backend is not the test's.
        runs.forget_copy = None
        engine = LocalEngine(runs)
        engine.start()
        with self._lock:
            self._started.append((engine, runs, *before))

    def close(self) -> None:
        for engine, runs, notifier, forget_copy in self._started:
            engine.close()
            runs.notifier, runs.forget_copy = notifier, forget_copy


@contextlib.contextmanager
def _server() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="evented-agent-") as folder:
        # A temporary folder is this user's alone already.
        yield ensure_server(Path(folder)).url
        stop_server(Path(folder))


def _empty(url: str) -> None:
    ledger = Ledger(url)
    ledger.client().flushdb()
    ledger.close()


def _let_time_go_on() -> None:
    """Leases, timeouts and retries are times of machines, not of what is tested."""
    with contextlib.suppress(ImportError):
        import freezegun

        freezegun.configure(extend_ignore_list=["evented_agent", "redis", "asyncio.base_events"])
