"""`HttpRuns`: what `Runs` does, for services that must not reach Redis."""

import builtins
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Unpack

from evented_agent.agents.run_options import StreamOptions
from evented_agent.agents.tools.approvals import Pending
from evented_agent.client.begin import Starting
from evented_agent.client.commands import CANCELLED, DecisionOptions
from evented_agent.client.decisions import approval_data, denial_data
from evented_agent.client.follow import Cursor, start_of
from evented_agent.client.inbox import NO_INPUT
from evented_agent.client.listing import RunPage
from evented_agent.client.metrics import Metrics
from evented_agent.client.run_stream import AsyncRunStream, RunStream
from evented_agent.client.sending import SendOptions
from evented_agent.ledger.workers import LiveWorker
from evented_agent.models.cost import RunsCost
from evented_agent.models.messages import Input
from evented_agent.remote.http_calls import (
    abort_request,
    attempts_request,
    background_request,
    cancel_request,
    cost_request,
    decision_request,
    delete_request,
    info_request,
    list_request,
    metrics_request,
    pending_request,
    result_request,
    retry_request,
    send_request,
    start_request,
    workers_request,
)
from evented_agent.remote.http_requests import HttpSender
from evented_agent.remote.http_streams import HttpAsyncRunStream, HttpRunStream
from evented_agent.remote.http_threads import HttpThreadMethods
from evented_agent.state.receipt import Receipt
from evented_agent.state.run_info import RunInfo, Status
from evented_agent.state.run_result import BackgroundTask, RunResult
from evented_agent.state.task_attempt import AttemptList


class HttpRuns(HttpThreadMethods):
    """The runs that a server of `evented_agent.web` serves, with the verbs of `Runs`.

    Streams go on by themselves after drops, where they were. What the server lets the caller do
    depends on the *token*; *resource_id* narrows what a service sees that sees all. Who decided,
    or sent a message, is known by the token, so *by* has no effect.

    Args:
        url: Where the application is mounted: ``https://shop.example/agents``.
        token: Sent as ``Authorization: Bearer …``; a function is called for each request.
        timeout: Seconds to wait for a connection, or for an answer.
        retry_for: Seconds to try again while the server cannot be reached; then
            `LedgerUnavailable`.
        allow_blocking: Let synchronous methods block a running event loop (in a notebook).

    Needs the extra ``http``; raises `ConfigurationError` without. Nothing connects before the first
    call. All methods raise what those of `Runs` raise, and `AccessDenied` and `LimitReached`.

    Example:
        >>> runs = HttpRuns("https://shop.example/agents", token=token)
        >>> for chunk in runs.stream("assistant", "Hello"): ...
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | Callable[[], str] | None = None,
        timeout: float = 10.0,
        retry_for: float = 2.0,
        allow_blocking: bool = False,
    ) -> None:
        self._sender = HttpSender(
            url, token=token, timeout=timeout, retry_for=retry_for, allow_blocking=allow_blocking
        )

    def __repr__(self) -> str:
        return f"<HttpRuns {self._sender.url}>"

    def stream(self, agent_id: str, input: Input, **options: Unpack[StreamOptions]) -> RunStream:
        """Start a run and return at once with its stream; see `Runs.stream`."""
        found = self._sender.send("stream", start_request(agent_id, input, options))
        close = options.get("close_on_suspend", True)
        return HttpRunStream(self._sender, found.run_id, after=found.after, close_on_suspend=close)

    def astream(self, agent_id: str, input: Input, **options: Unpack[StreamOptions]) -> Starting:
        """`stream` for the running event loop: await it, or ``async with`` it."""

        async def start() -> AsyncRunStream:
            found = await self._sender.asend(start_request(agent_id, input, options))
            close = options.get("close_on_suspend", True)
            return HttpAsyncRunStream(
                self._sender, found.run_id, after=found.after, close_on_suspend=close
            )

        return Starting(start())

    def get(self, run_id: str, *, resource_id: str | None = None) -> RunInfo:
        """The state of a run now; see `Runs.get`."""
        return self._sender.send("get", info_request(run_id, resource_id))

    async def aget(self, run_id: str, *, resource_id: str | None = None) -> RunInfo:
        """`get` for the running event loop."""
        return await self._sender.asend(info_request(run_id, resource_id))

    def result(self, run_id: str, *, resource_id: str | None = None) -> RunResult:
        """What the run came to, so far; its output is plain JSON. See `Runs.result`."""
        return self._sender.send("result", result_request(run_id, resource_id))

    async def aresult(self, run_id: str, *, resource_id: str | None = None) -> RunResult:
        """`result` for the running event loop."""
        return await self._sender.asend(result_request(run_id, resource_id))

    def list(
        self,
        *,
        status: Status | None = None,
        agent: str | None = None,
        thread_id: str | None = None,
        resource_id: str | None = None,
        since: datetime | None = None,
        limit: int = 50,
        page: str | None = None,
    ) -> RunPage:
        """The newest runs that match all that is given, at most *limit* (200); see `Runs.list`."""
        found = list_request(status, agent, thread_id, resource_id, since, limit, page)
        return self._sender.send("list", found)

    async def alist(
        self,
        *,
        status: Status | None = None,
        agent: str | None = None,
        thread_id: str | None = None,
        resource_id: str | None = None,
        since: datetime | None = None,
        limit: int = 50,
        page: str | None = None,
    ) -> RunPage:
        """`list` for the running event loop."""
        found = list_request(status, agent, thread_id, resource_id, since, limit, page)
        return await self._sender.asend(found)

    def cost(
        self,
        *,
        agent: str | None = None,
        thread_id: str | None = None,
        resource_id: str | None = None,
        since: datetime | None = None,
        limit: int = 200,
        page: str | None = None,
    ) -> RunsCost:
        """What the runs of a conversation, of a resource, or of all, cost together.

        At most *limit* runs (200) at a time; see `Runs.cost`.
        """
        found = cost_request(agent, thread_id, resource_id, since, limit, page)
        return self._sender.send("cost", found)

    async def acost(
        self,
        *,
        agent: str | None = None,
        thread_id: str | None = None,
        resource_id: str | None = None,
        since: datetime | None = None,
        limit: int = 200,
        page: str | None = None,
    ) -> RunsCost:
        """`cost` for the running event loop."""
        found = cost_request(agent, thread_id, resource_id, since, limit, page)
        return await self._sender.asend(found)

    def pending(
        self,
        *,
        agent: str | None = None,
        thread_id: str | None = None,
        resource_id: str | None = None,
        since: datetime | None = None,
        limit: int = 50,
    ) -> builtins.list[Pending]:
        """The calls that wait for a person, the oldest first; see `Runs.pending`."""
        found = pending_request(agent, thread_id, resource_id, since, limit)
        return self._sender.send("pending", found)

    async def apending(
        self,
        *,
        agent: str | None = None,
        thread_id: str | None = None,
        resource_id: str | None = None,
        since: datetime | None = None,
        limit: int = 50,
    ) -> builtins.list[Pending]:
        """`pending` for the running event loop."""
        found = pending_request(agent, thread_id, resource_id, since, limit)
        return await self._sender.asend(found)

    def background_tasks(
        self, run_id: str, *, resource_id: str | None = None
    ) -> builtins.list[BackgroundTask]:
        """The background calls of a run, in the model's order."""
        return self._sender.send("background_tasks", background_request(run_id, resource_id))

    async def abackground_tasks(
        self, run_id: str, *, resource_id: str | None = None
    ) -> builtins.list[BackgroundTask]:
        """`background_tasks` for the running event loop."""
        return await self._sender.asend(background_request(run_id, resource_id))

    def background_task(
        self, task_id: str, *, resource_id: str | None = None
    ) -> BackgroundTask | None:
        """One background call, ``<run id>:<tool call id>``; None where there is none."""
        run_id = task_id.partition(":")[0]
        found = self._sender.send("background_task", background_request(run_id, resource_id))
        return next((task for task in found if task.task_id == task_id), None)

    async def abackground_task(
        self, task_id: str, *, resource_id: str | None = None
    ) -> BackgroundTask | None:
        """`background_task` for the running event loop."""
        found = await self._sender.asend(background_request(task_id.partition(":")[0], resource_id))
        return next((task for task in found if task.task_id == task_id), None)

    def attempts(self, run_id: str, *, resource_id: str | None = None) -> AttemptList:
        """The attempts of the run's tasks; who may not operate is not told who ran them, and why.

        See `Runs.attempts`.
        """
        return self._sender.send("attempts", attempts_request(run_id, resource_id))

    async def aattempts(self, run_id: str, *, resource_id: str | None = None) -> AttemptList:
        """`attempts` for the running event loop."""
        return await self._sender.asend(attempts_request(run_id, resource_id))

    def observe(
        self,
        run_id: str,
        *,
        after: Cursor = 0,
        timeout: float | None = None,
        close_on_suspend: bool = True,
        resource_id: str | None = None,
    ) -> RunStream:
        """Follow a run from the start, or from a cursor; see `Runs.observe`."""
        start_of(after)
        self.get(run_id, resource_id=resource_id)
        return HttpRunStream(
            self._sender, run_id, after=after, timeout=timeout, close_on_suspend=close_on_suspend
        )

    async def aobserve(
        self,
        run_id: str,
        *,
        after: Cursor = 0,
        timeout: float | None = None,
        close_on_suspend: bool = True,
        resource_id: str | None = None,
    ) -> AsyncRunStream:
        """`observe` for the running event loop."""
        start_of(after)
        await self.aget(run_id, resource_id=resource_id)
        return HttpAsyncRunStream(
            self._sender, run_id, after=after, timeout=timeout, close_on_suspend=close_on_suspend
        )

    def resume(self, run_id: str, data: Any, **which: Unpack[DecisionOptions]) -> RunStream:
        """Answer a suspended call; see `Runs.resume`."""
        after = self._sender.send("resume", decision_request(run_id, data, **which))
        return HttpRunStream(self._sender, run_id, after=after)

    async def aresume(
        self, run_id: str, data: Any, **which: Unpack[DecisionOptions]
    ) -> AsyncRunStream:
        """`resume` for the running event loop."""
        after = await self._sender.asend(decision_request(run_id, data, **which))
        return HttpAsyncRunStream(self._sender, run_id, after=after)

    def approve(
        self,
        run_id: str,
        *,
        arguments: Mapping[str, Any] | None = None,
        **which: Unpack[DecisionOptions],
    ) -> RunStream:
        """Approve a call, perhaps with other *arguments* than the model's."""
        return self.resume(run_id, approval_data(arguments), **which)

    async def aapprove(
        self,
        run_id: str,
        *,
        arguments: Mapping[str, Any] | None = None,
        **which: Unpack[DecisionOptions],
    ) -> AsyncRunStream:
        """`approve` for the running event loop."""
        return await self.aresume(run_id, approval_data(arguments), **which)

    def decline(
        self, run_id: str, *, reason: str | None = None, **which: Unpack[DecisionOptions]
    ) -> RunStream:
        """Decline a call; the model is told the *reason*."""
        return self.resume(run_id, denial_data(reason), **which)

    async def adecline(
        self, run_id: str, *, reason: str | None = None, **which: Unpack[DecisionOptions]
    ) -> AsyncRunStream:
        """`decline` for the running event loop."""
        return await self.aresume(run_id, denial_data(reason), **which)

    def send(
        self,
        run_id: str | None = None,
        input: Input = NO_INPUT,
        *,
        thread_id: str | None = None,
        **options: Unpack[SendOptions],
    ) -> Receipt:
        """Send a message to a run that is under way, or to a conversation; see `Runs.send`."""
        return self._sender.send("send", send_request(run_id, thread_id, input, options))

    async def asend(
        self,
        run_id: str | None = None,
        input: Input = NO_INPUT,
        *,
        thread_id: str | None = None,
        **options: Unpack[SendOptions],
    ) -> Receipt:
        """`send` for the running event loop."""
        return await self._sender.asend(send_request(run_id, thread_id, input, options))

    def cancel(
        self, task_id: str, *, reason: str = CANCELLED, resource_id: str | None = None
    ) -> bool:
        """End a background call, ``<run id>:<tool call id>``; False if it had ended before."""
        return self._sender.send("cancel", cancel_request(task_id, reason, resource_id))

    async def acancel(
        self, task_id: str, *, reason: str = CANCELLED, resource_id: str | None = None
    ) -> bool:
        """`cancel` for the running event loop."""
        return await self._sender.asend(cancel_request(task_id, reason, resource_id))

    def retry(self, run_id: str, *, resource_id: str | None = None) -> RunStream:
        """Let a failed run go on where it failed; see `Runs.retry`."""
        self._sender.send("retry", retry_request(run_id, resource_id))
        return HttpRunStream(self._sender, run_id)

    async def aretry(self, run_id: str, *, resource_id: str | None = None) -> AsyncRunStream:
        """`retry` for the running event loop."""
        await self._sender.asend(retry_request(run_id, resource_id))
        return HttpAsyncRunStream(self._sender, run_id)

    def abort(
        self, run_id: str, *, reason: str | None = None, resource_id: str | None = None
    ) -> bool:
        """Ask that a run ends; False if it had ended before."""
        return self._sender.send("abort", abort_request(run_id, reason, resource_id))

    async def aabort(
        self, run_id: str, *, reason: str | None = None, resource_id: str | None = None
    ) -> bool:
        """`abort` for the running event loop."""
        return await self._sender.asend(abort_request(run_id, reason, resource_id))

    def delete(self, run_id: str, *, resource_id: str | None = None) -> None:
        """Remove all of a run, also of a running one."""
        self._sender.send("delete", delete_request(run_id, resource_id))

    async def adelete(self, run_id: str, *, resource_id: str | None = None) -> None:
        """`delete` for the running event loop."""
        await self._sender.asend(delete_request(run_id, resource_id))

    def workers(self) -> Sequence[LiveWorker]:
        """The workers that were heard of in the last 10 s; for who may operate."""
        return self._sender.send("workers", workers_request())

    async def aworkers(self) -> Sequence[LiveWorker]:
        """`workers` for the running event loop."""
        return await self._sender.asend(workers_request())

    def metrics(self) -> Metrics:
        """What is going on in the deployment, and what its workers have done; see `Runs.metrics`.

        For who may operate.
        """
        return self._sender.send("metrics", metrics_request())

    async def ametrics(self) -> Metrics:
        """`metrics` for the running event loop."""
        return await self._sender.asend(metrics_request())

    def close(self) -> None:
        """Close the connections that threads have used; the next call connects anew."""
        self._sender.close()

    async def aclose(self) -> None:
        """Close the connections of the running event loop; the next call connects anew."""
        await self._sender.aclose()
