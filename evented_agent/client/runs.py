"""The door to all runs of a deployment: create, look, list, follow, decide, abort, delete.

Needs no agent code and no Celery; what it commits is sent by whoever rings the bell, or later by
an alarm.
"""

import weakref
from typing import Any, ClassVar

from evented_agent.client.commands import Deciding
from evented_agent.client.deployment import Notifier as Notifier
from evented_agent.client.follow import Cursor, check_readable
from evented_agent.client.run_stream import AsyncRunStream, RunStream
from evented_agent.errors import ConfigurationError
from evented_agent.ledger import runs


class Runs(Deciding):
    """All runs of one deployment, as any process sees them.

    Args:
        redis_url: Where the runs are; by default ``EVENTED_AGENT_REDIS_URL``, else the embedded
            server. A function is called at first use.
        settings: The deployment's settings; the same in every process.
        allow_blocking: Let synchronous methods block a running event loop (in a notebook).

    Nothing connects before the first call that needs it.

    Example:
        >>> runs = Runs("redis://127.0.0.1:6379/0")
        >>> for run in runs.runs(status="running"): ...
    """

    _of_app: ClassVar[weakref.WeakKeyDictionary[Any, "Runs"]] = weakref.WeakKeyDictionary()

    @classmethod
    def of(cls, app: Any) -> "Runs":
        """The runs of a Celery app; raises `ConfigurationError` before an agent is registered."""
        found = cls._of_app.get(app)
        if found is None:
            raise ConfigurationError(
                f"{app!r} has no agents. Call create_evented_agent(agent, app=app) first."
            )
        return found

    def observe(
        self,
        run_id: str,
        *,
        after: Cursor = 0,
        timeout: float | None = None,
        close_on_suspend: bool = True,
    ) -> RunStream:
        """Follow a run from the start, or from a cursor; before, during and after it runs.

        *after* is `chunk.cursor`, a ``Last-Event-ID``, or the last seq seen. *timeout* is how many
        seconds without a chunk raise `TimeoutError`, which leaves the run running.
        With ``close_on_suspend=False`` the stream stays open while people decide.  Raises
        `RunNotFound`, `RunDeleted`, `RunExpired`, and `ValueError` for what is no cursor.
        """
        self._may_block("observe")
        check_readable(self.ledger.send(runs.read(self.keys, run_id)), after)
        return RunStream(
            self, run_id, after=after, timeout=timeout, close_on_suspend=close_on_suspend
        )

    async def aobserve(
        self,
        run_id: str,
        *,
        after: Cursor = 0,
        timeout: float | None = None,
        close_on_suspend: bool = True,
    ) -> AsyncRunStream:
        """`observe` for the running event loop."""
        check_readable(await self.ledger.asend(runs.read(self.keys, run_id)), after)
        return AsyncRunStream(
            self, run_id, after=after, timeout=timeout, close_on_suspend=close_on_suspend
        )
