"""Client for all runs of a deployment; needs neither the agents' code nor Celery, starts apart."""

import weakref
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Unpack

from evented_agent.agents.run_options import StreamOptions
from evented_agent.client.begin import Starting, abegin_stream, begin_stream
from evented_agent.client.deployment import Deployment
from evented_agent.client.metrics import Metrics, read_metrics
from evented_agent.client.metrics_series import MetricsSeries, SeriesSpan, read_metrics_series
from evented_agent.client.queries import read_workers
from evented_agent.client.run_methods import RunMethods
from evented_agent.client.run_stream import AsyncRunStream, RunStream
from evented_agent.errors import ConfigurationError
from evented_agent.ledger.settings import Settings
from evented_agent.ledger.workers import LiveWorker
from evented_agent.models.messages import Input


class Runs(Deployment, RunMethods):
    """Client for all runs of a deployment, from any process.

    What it changes is durable at once; a process without a broker leaves the messages that follow
    to the next watchdog, half a second later.

    Args:
        redis_url: Where the runs are; by default ``EVENTED_AGENT_REDIS_URL``, else the embedded
            server of this project, if it runs: looking starts nothing. A function is called at
            first use.
        settings: The deployment's settings; the same in every process.
        allow_blocking: Let synchronous methods block a running event loop (in a notebook).

    Nothing connects before the first call that needs it.

    Example:
        >>> runs = Runs("redis://127.0.0.1:6379/0")
        >>> for run in runs.list(status="running"): ...
    """

    _of_app: ClassVar[weakref.WeakKeyDictionary[Any, "Runs"]] = weakref.WeakKeyDictionary()

    def __init__(
        self,
        redis_url: str | Callable[[], str | None] | None = None,
        *,
        settings: Settings | None = None,
        allow_blocking: bool = False,
    ) -> None:
        super().__init__(redis_url, settings=settings, allow_blocking=allow_blocking)

    @classmethod
    def of(cls, app: Any) -> "Runs":
        """The runs of a Celery app; raises `ConfigurationError` before an agent is registered."""
        found = cls.registered(app)
        if found is None:
            raise ConfigurationError(
                f"{app!r} has no agents. Call create_evented_agent(agent, app=app) first."
            )
        return found

    @classmethod
    def registered(cls, app: Any) -> "Runs | None":
        """The runs of a Celery app; None before an agent is registered."""
        return cls._of_app.get(app)

    @property
    def _deployment(self) -> Deployment:
        return self

    def _started(self) -> Deployment:
        if self.start_engine is not None:
            self.start_engine()
        return self

    def stream(self, agent_id: str, input: Input, **options: Unpack[StreamOptions]) -> RunStream:
        """Start a run of an agent that this process serves, and return at once with its stream.

        As the agent's own `stream`; where only its id is known, in a web handler for example.
        Raises `UnknownAgent` where this process does not have the agent's code.
        """
        agent = self.agent_named(agent_id)
        return begin_stream(self._started(), agent, input, options)

    def astream(self, agent_id: str, input: Input, **options: Unpack[StreamOptions]) -> Starting:
        """`stream` for the running event loop: await it, or ``async with`` it."""

        async def start() -> AsyncRunStream:
            agent = self.agent_named(agent_id)
            return await abegin_stream(self._started(), agent, input, options)

        return Starting(start())

    def workers(self) -> Sequence[LiveWorker]:
        """The workers that were heard of in the last 10 s."""
        return self.drive("workers", read_workers(self))

    async def aworkers(self) -> Sequence[LiveWorker]:
        """`workers` for the running event loop."""
        return await self.adrive(read_workers(self))

    def metrics(self) -> Metrics:
        """How many runs and workers there are now, and what workers have done so far."""
        return self.drive("metrics", read_metrics(self))

    async def ametrics(self) -> Metrics:
        """`metrics` for the running event loop."""
        return await self.adrive(read_metrics(self))

    def metrics_series(self, span: SeriesSpan = "hour") -> MetricsSeries:
        """What workers have done in each minute of the last hour, or half hour of the last day."""
        return self.drive("metrics_series", read_metrics_series(self, span))

    async def ametrics_series(self, span: SeriesSpan = "hour") -> MetricsSeries:
        """`metrics_series` for the running event loop."""
        return await self.adrive(read_metrics_series(self, span))

    def close(self) -> None:
        """Close the connections that threads have used; the next call connects anew."""
        self.ledger.close()

    async def aclose(self) -> None:
        """Close the connections of the running event loop; the next call connects anew."""
        await self.ledger.aclose()
