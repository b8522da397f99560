"""An agent whose runs outlive the process that asked for them: the API both engines share."""

import asyncio
from typing import Any, Unpack

from evented_agent.agents.agent import Agent
from evented_agent.agents.run_options import StreamOptions
from evented_agent.agents.tools.approvals import Pending
from evented_agent.client.deployment import refuse_on_loop
from evented_agent.client.follow import Cursor
from evented_agent.client.listing import RunPage
from evented_agent.client.run_stream import AsyncRunStream, RunStream, Starting
from evented_agent.client.runs import Runs
from evented_agent.client.start import NewRun, prepare, queue_in_thread, sent
from evented_agent.ledger.script import Command
from evented_agent.models.messages import Input, Message
from evented_agent.state.run_info import RunInfo
from evented_agent.state.run_result import BackgroundTask, RunResult


class DurableAgent:
    """An agent together with where its runs are.  Made by `create_durable_agent`."""

    def __init__(self, agent: Agent, runs: Runs) -> None:
        self.agent = agent
        self._runs = runs

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.agent.id!r}>"

    @property
    def client(self) -> Runs:
        """The `Runs` that this agent's runs belong to."""
        return self._runs

    # Starting -------------------------------------------------------------------------------------

    def stream(self, input: Input, **options: Unpack[StreamOptions]) -> RunStream:
        """Start a run and return at once with its stream.

        *input* is a string or a list of messages. On return the run is durable: it goes on
        whatever happens to the caller, to workers or to the broker. Nothing is read before the
        first iteration, so fire-and-forget costs nothing.

        Raises `DeclarationError` for wrong input or options, `TooLarge`, `RunConflict` where the
        *run_id* belongs to another input, `ThreadBusy` with ``when_busy="reject"``, and
        `LedgerUnavailable` when Redis cannot be reached.
        """
        refuse_on_loop("stream", "astream", allowed=self._runs.allow_blocking)
        runs = self._door()
        new = self._creation(runs, input, options)
        runs.agree()
        steps = queue_in_thread(runs.keys, runs.settings, new)
        call: Command[Any] | None = next(steps, None)
        while call is not None:
            [found] = runs.ledger.send_all([call])
            call = sent(steps, found)
        if runs.ledger.send(new.call):
            runs.notifier.notify([new.due])
        close = options.get("close_on_suspend", True)
        return RunStream(runs, new.run_id, close_on_suspend=close)

    def astream(self, input: Input, **options: Unpack[StreamOptions]) -> Starting:
        """`stream` for the running event loop: await it, or ``async with`` it."""

        async def start() -> AsyncRunStream:
            runs = self._door()
            new = self._creation(runs, input, options)
            await runs.aagree()
            steps = queue_in_thread(runs.keys, runs.settings, new)
            call: Command[Any] | None = next(steps, None)
            while call is not None:
                replies = await asyncio.gather(runs.ledger.asend(call), return_exceptions=True)
                call = sent(steps, replies[0])
            if await runs.ledger.asend(new.call):
                # A broker that hangs must not hang the caller's event loop.
                await asyncio.to_thread(runs.notifier.notify, [new.due])
            close = options.get("close_on_suspend", True)
            return AsyncRunStream(runs, new.run_id, close_on_suspend=close)

        return Starting(start)

    def generate(
        self, input: Input, *, timeout: float | None = None, **options: Unpack[StreamOptions]
    ) -> RunResult:
        """Start a run and wait for its result, at most *timeout* seconds.

        Raises what `stream` does, `RunFailed`, `RunAborted`, or `TimeoutError`, which leaves the
        run running.
        """
        refuse_on_loop("generate", "agenerate", allowed=self._runs.allow_blocking)
        return self.stream(input, **options).result(timeout)

    async def agenerate(
        self, input: Input, *, timeout: float | None = None, **options: Unpack[StreamOptions]
    ) -> RunResult:
        """`generate` for the running event loop."""
        run = await self.astream(input, **options)
        return await run.result(timeout)

    # Later ----------------------------------------------------------------------------------------

    def observe(self, run_id: str, *, after: Cursor = 0, **how: Any) -> RunStream:
        """Follow a run from any process; see `Runs.observe`."""
        return self._runs.observe(run_id, after=after, **how)

    async def aobserve(self, run_id: str, *, after: Cursor = 0, **how: Any) -> AsyncRunStream:
        return await self._runs.aobserve(run_id, after=after, **how)

    def get(self, run_id: str) -> RunInfo:
        """The state of a run now; see `Runs.get`."""
        return self._runs.get(run_id)

    async def aget(self, run_id: str) -> RunInfo:
        return await self._runs.aget(run_id)

    def runs(self, **wanted: Any) -> RunPage:
        """The newest runs of this agent; see `Runs.runs`."""
        return self._runs.runs(agent=self.agent.id, **wanted)

    async def aruns(self, **wanted: Any) -> RunPage:
        return await self._runs.aruns(agent=self.agent.id, **wanted)

    def abort(self, run_id: str, *, reason: str | None = None) -> bool:
        """Ask that a run ends; see `Runs.abort`."""
        return self._runs.abort(run_id, reason=reason)

    async def aabort(self, run_id: str, *, reason: str | None = None) -> bool:
        return await self._runs.aabort(run_id, reason=reason)

    def resume(self, run_id: str, data: Any, **which: Any) -> RunStream:
        """Answer a suspended call; see `Runs.resume`."""
        return self._door().resume(run_id, data, **which)

    async def aresume(self, run_id: str, data: Any, **which: Any) -> AsyncRunStream:
        return await self._door().aresume(run_id, data, **which)

    def approve(self, run_id: str, **which: Any) -> RunStream:
        """Approve a call; see `Runs.approve`."""
        return self._door().approve(run_id, **which)

    async def aapprove(self, run_id: str, **which: Any) -> AsyncRunStream:
        return await self._door().aapprove(run_id, **which)

    def decline(self, run_id: str, **which: Any) -> RunStream:
        """Decline a call; see `Runs.decline`."""
        return self._door().decline(run_id, **which)

    async def adecline(self, run_id: str, **which: Any) -> AsyncRunStream:
        return await self._door().adecline(run_id, **which)

    def pending(self, **wanted: Any) -> list[Pending]:
        """The calls of this agent that wait for a person; see `Runs.pending`."""
        return self._runs.pending(agent=self.agent.id, **wanted)

    async def apending(self, **wanted: Any) -> list[Pending]:
        return await self._runs.apending(agent=self.agent.id, **wanted)

    def background_tasks(self, run_id: str) -> list[BackgroundTask]:
        """The background calls of a run; see `Runs.background_tasks`."""
        return self._runs.background_tasks(run_id)

    async def abackground_tasks(self, run_id: str) -> list[BackgroundTask]:
        return await self._runs.abackground_tasks(run_id)

    def background_task(self, task_id: str) -> BackgroundTask | None:
        """One background call; see `Runs.background_task`."""
        return self._runs.background_task(task_id)

    async def abackground_task(self, task_id: str) -> BackgroundTask | None:
        return await self._runs.abackground_task(task_id)

    def cancel(self, task_id: str, **why: Any) -> bool:
        """End a background call; see `Runs.cancel`."""
        return self._runs.cancel(task_id, **why)

    async def acancel(self, task_id: str, **why: Any) -> bool:
        return await self._runs.acancel(task_id, **why)

    def retry(self, run_id: str) -> RunStream:
        """Let a failed run go on where it failed; see `Runs.retry`."""
        return self._door().retry(run_id)

    async def aretry(self, run_id: str) -> AsyncRunStream:
        return await self._door().aretry(run_id)

    def thread(self, thread_id: str, *, resource_id: str | None = None) -> list[Message]:
        """A conversation so far; see `Runs.thread`."""
        return self._runs.thread(thread_id, resource_id=resource_id)

    async def athread(self, thread_id: str, *, resource_id: str | None = None) -> list[Message]:
        return await self._runs.athread(thread_id, resource_id=resource_id)

    def delete(self, run_id: str) -> None:
        """Remove everything of a run; see `Runs.delete`."""
        self._runs.delete(run_id)

    async def adelete(self, run_id: str) -> None:
        await self._runs.adelete(run_id)

    # Creating -------------------------------------------------------------------------------------

    def _door(self) -> Runs:
        """Where runs are created; an engine may have to be started first."""
        return self._runs

    def _creation(self, runs: Runs, given: Input, chosen: StreamOptions) -> NewRun:
        return prepare(self.agent, runs.keys, runs.settings, given, chosen)
