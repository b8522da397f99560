"""For tests: all deployments of this process use another Redis, and execute their runs here."""

import threading
from collections.abc import Callable
from typing import Any

from evented_agent.ledger.connection import Ledger


class Diversion:
    """Where all deployments are for a while: their runs at *url*, executed by *serve*."""

    def __init__(self, url: str, serve: Callable[[Any], None]) -> None:
        self.url = url
        self._serve = serve
        self._lock = threading.Lock()
        self._ledgers: dict[int, tuple[Ledger, object]] = {}
        self._served: dict[int, Any] = {}

    def ledger_of(self, deployment: object) -> Ledger:
        """What *deployment* uses instead of its own ledger."""
        with self._lock:
            held = self._ledgers.get(id(deployment))
            if held is None:
                # Held with it, so that nothing else gets the same id.
                held = self._ledgers[id(deployment)] = (Ledger(self.url), deployment)
            return held[0]

    def serve(self, deployment: object) -> None:
        """Execute the runs of *deployment* in this process from now on."""
        with self._lock:
            if id(deployment) in self._served:
                return
            self._served[id(deployment)] = deployment
        self._serve(deployment)

    def close(self) -> None:
        """Close the connections."""
        for ledger, _ in self._ledgers.values():
            ledger.close()


_current: Diversion | None = None


def current_diversion() -> Diversion | None:
    """The diversion of this process, if there is one."""
    return _current


def set_diversion(diversion: Diversion | None) -> None:
    """Divert all deployments of this process from now on; None ends that."""
    global _current  # noqa: PLW0603 - modules hold their agents, nothing can be handed to them
    _current = diversion
