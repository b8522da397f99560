"""What `stream` does, for an agent and for all of a deployment: start a run, return its stream."""

from collections.abc import Coroutine, Generator
from types import TracebackType
from typing import Any

from typing_extensions import override

from evented_agent.agents.agent import Agent
from evented_agent.agents.generics import Out
from evented_agent.agents.run_options import StreamOptions
from evented_agent.client.deployment import Deployment
from evented_agent.client.run_stream import AsyncRunStream, RunStream
from evented_agent.client.start import start_run
from evented_agent.models.messages import Input


def begin_stream(
    at: Deployment, agent: Agent[Any, Out], given: Input, options: StreamOptions
) -> RunStream[Out]:
    """Create the run and return its stream, which has read nothing yet."""
    found = at.drive("stream", start_run(at, agent, given, options))
    closes = options.get("close_on_suspend", True)
    return RunStream(at, found.run_id, after=found.after, close_on_suspend=closes)


async def abegin_stream(
    at: Deployment, agent: Agent[Any, Out], given: Input, options: StreamOptions
) -> AsyncRunStream[Out]:
    """`begin_stream` for the running event loop."""
    found = await at.adrive(start_run(at, agent, given, options))
    closes = options.get("close_on_suspend", True)
    return AsyncRunStream(at, found.run_id, after=found.after, close_on_suspend=closes)


class Starting(Coroutine[Any, Any, AsyncRunStream[Out]]):
    """A run being created: await it, or enter it, for its `AsyncRunStream`.

    Nothing is started before that; Python warns of one that was forgotten, as of any coroutine.
    """

    def __init__(self, start: Coroutine[Any, Any, AsyncRunStream[Out]]) -> None:
        self._start = start
        self._run: AsyncRunStream[Out] | None = None

    @override
    def __await__(self) -> Generator[Any, None, AsyncRunStream[Out]]:
        return self._start.__await__()

    @override
    def send(self, value: Any, /) -> Any:
        """Go on with *value*, as event loops do."""
        return self._start.send(value)

    @override
    def throw(self, *error: Any) -> Any:
        """Go on with an exception, as event loops do."""
        return self._start.throw(*error)

    @override
    def close(self) -> None:
        """Start nothing."""
        self._start.close()

    async def __aenter__(self) -> AsyncRunStream[Out]:
        self._run = await self
        return self._run

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._run is not None:
            await self._run.aclose()
