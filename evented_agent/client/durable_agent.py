"""An agent whose runs outlive the process that asked for them: what both engines share."""

from typing import Any, Generic, Unpack

from evented_agent.agents.agent import Agent
from evented_agent.agents.generics import Out
from evented_agent.agents.run_options import StreamOptions
from evented_agent.client.begin import Starting, abegin_stream, begin_stream
from evented_agent.client.deployment import Deployment, refuse_on_loop
from evented_agent.client.run_methods import RunMethods
from evented_agent.client.run_stream import AsyncRunStream, RunStream
from evented_agent.client.runs import Runs
from evented_agent.errors import DeclarationError
from evented_agent.given import wait_of
from evented_agent.models.messages import Input
from evented_agent.state.run_result import RunResult


class DurableAgent(RunMethods, Generic[Out]):
    """An agent together with where its runs are.  Made by `create_durable_agent`."""

    def __init__(self, agent: Agent[Any, Out], runs: Runs) -> None:
        self.agent = agent
        self._runs = runs

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.agent.id!r}>"

    @property
    def client(self) -> Runs:
        """The `Runs` that this agent's runs belong to."""
        return self._runs

    @property
    def _deployment(self) -> Deployment:
        return self._runs

    @property
    def _own_agent(self) -> Agent[Any, Out]:
        return self.agent

    def _agent_scope(self, agent: str | None) -> str | None:
        if agent not in (None, self.agent.id):
            raise DeclarationError(
                f"agent={agent!r}: this is agent {self.agent.id!r}, which lists its own runs. Use "
                "Runs for those of other agents."
            )
        return self.agent.id

    def stream(self, input: Input, **options: Unpack[StreamOptions]) -> RunStream[Out]:
        """Start a run and return at once with its stream.

        *input* is a string or a list of messages. On return the run is durable: it goes on
        whatever happens to the caller, to workers or to the broker. Nothing is read before the
        first iteration, so fire-and-forget costs nothing.

        Raises `DeclarationError` for wrong input or options, `TooLarge`, `RunConflict` where the
        *run_id* belongs to another input, `ThreadBusy` with ``when_busy="reject"``, and
        `LedgerUnavailable` when Redis cannot be reached.
        """
        return begin_stream(self._started(), self.agent, input, options)

    def astream(self, input: Input, **options: Unpack[StreamOptions]) -> Starting[Out]:
        """`stream` for the running event loop: await it, or ``async with`` it."""

        async def start() -> AsyncRunStream[Out]:
            return await abegin_stream(self._started(), self.agent, input, options)

        # What Python's warning about a forgotten await names.
        start.__qualname__ = f"{type(self).__qualname__}.astream"
        return Starting(start())

    def generate(
        self, input: Input, *, timeout: float | None = None, **options: Unpack[StreamOptions]
    ) -> RunResult[Out]:
        """Start a run and wait for its result, at most *timeout* seconds.

        Raises what `stream` does, `RunFailed`, `RunAborted`, or `TimeoutError`, which leaves the
        run running.
        """
        refuse_on_loop("generate", "agenerate", allowed=self._runs.allow_blocking)
        self._runs.check_wait("generate")
        timeout = wait_of("timeout", timeout)
        return self.stream(input, **options).result(timeout)

    async def agenerate(
        self, input: Input, *, timeout: float | None = None, **options: Unpack[StreamOptions]
    ) -> RunResult[Out]:
        """`generate` for the running event loop."""
        self._runs.check_wait("agenerate")
        timeout = wait_of("timeout", timeout)
        run = await self.astream(input, **options)
        return await run.result(timeout)
