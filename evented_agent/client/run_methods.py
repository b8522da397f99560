"""Everything that can be done with runs, each as a pair: for threads, and for event loops."""

from collections.abc import Mapping
from typing import Any, Unpack, overload

from evented_agent.agents.agent import Agent
from evented_agent.client.commands import (
    CANCELLED,
    DecisionOptions,
    cancel_call,
    decide_call,
    request_abort,
    retry_from_failure,
)
from evented_agent.client.decisions import approval_data, denial_data
from evented_agent.client.deployment import Deployment
from evented_agent.client.erasure import erase_resource, erase_run
from evented_agent.client.follow import Cursor
from evented_agent.client.inbox import NO_INPUT, send_message
from evented_agent.client.look_methods import LookMethods
from evented_agent.client.owner import for_owner, run_of
from evented_agent.client.queries import (
    check_readable_run,
)
from evented_agent.client.run_stream import AsyncRunStream, RunStream
from evented_agent.client.sending import SendOptions
from evented_agent.models.messages import Input
from evented_agent.state.receipt import Receipt

#: Not None: a handler that has no run id must not delete all that its user has.
_NOT_GIVEN: Any = object()


class RunMethods(LookMethods):
    """What a caller does with runs: look, list, follow, decide, retry, abort, delete.

    Each method has a twin with the prefix ``a`` to await on an event loop; it asks the same of
    Redis and raises the same. The plain one raises `BlockingCall` where an event loop runs.

    With a *resource_id*, methods about one run take it for one of that resource only: another's
    is `RunNotFound`, as is one that was deleted.
    """

    @property
    def _own_agent(self) -> Agent | None:
        """The agent whose runs these are; None for those of all agents."""
        return None

    def _started(self) -> Deployment:
        """The same, once whatever executes runs in this process is up."""
        return self._deployment

    # Follow ---------------------------------------------------------------------------------------

    def observe(
        self,
        run_id: str,
        *,
        after: Cursor = 0,
        timeout: float | None = None,
        close_on_suspend: bool = True,
        resource_id: str | None = None,
    ) -> RunStream:
        """Follow a run from the start, or from a cursor; before, during and after it runs.

        *after* is `chunk.cursor`, a ``Last-Event-ID``, or the last seq seen. *timeout* is how many
        seconds without a chunk raise `TimeoutError`, which leaves the run running.
        With ``close_on_suspend=False`` the stream stays open while people decide.  Raises
        `RunNotFound`, `RunDeleted`, `RunExpired`, `InvalidCursor`.
        """
        at = self._deployment
        plan = for_owner(at, run_id, resource_id, check_readable_run(at, run_id, after))
        at.drive("observe", plan)
        return RunStream(
            at, run_id, after=after, timeout=timeout, close_on_suspend=close_on_suspend
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
        at = self._deployment
        await at.adrive(for_owner(at, run_id, resource_id, check_readable_run(at, run_id, after)))
        return AsyncRunStream(
            at, run_id, after=after, timeout=timeout, close_on_suspend=close_on_suspend
        )

    # Decide ---------------------------------------------------------------------------------------

    def resume(self, run_id: str, data: Any, **which: Unpack[DecisionOptions]) -> RunStream:
        """Answer a suspended call, from any process; durable on return, with what follows to read.

        *data* is JSON: ``{"approved": bool, "reason": …, "args": …}`` for an approval, the tool's
        answer for a suspension, ``{"action": "rerun" | "fail" | "result", …}`` for a call whose
        worker is gone. *which* call is meant is needed where several are pending. The same
        decision again changes nothing.

        Raises `NotSuspended`, `SuspensionExpired`, `RunConflict` where it was decided otherwise,
        `InvalidDecision` for data that does not fit, `RunNotFound`, `RunDeleted`.
        """
        at = self._started()
        after = at.drive("resume", decide_call(at, run_id, data, which))
        return RunStream(at, run_id, after=after)

    async def aresume(
        self, run_id: str, data: Any, **which: Unpack[DecisionOptions]
    ) -> AsyncRunStream:
        """`resume` for the running event loop."""
        at = self._started()
        after = await at.adrive(decide_call(at, run_id, data, which))
        return AsyncRunStream(at, run_id, after=after)

    def approve(
        self,
        run_id: str,
        *,
        arguments: Mapping[str, Any] | None = None,
        **which: Unpack[DecisionOptions],
    ) -> RunStream:
        """Approve a call, perhaps with other *arguments* than the model's; see `resume`."""
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
        """Decline a call; the model is told the *reason*. See `resume`."""
        return self.resume(run_id, denial_data(reason), **which)

    async def adecline(
        self, run_id: str, *, reason: str | None = None, **which: Unpack[DecisionOptions]
    ) -> AsyncRunStream:
        """`decline` for the running event loop."""
        return await self.aresume(run_id, denial_data(reason), **which)

    # Send ---------------------------------------------------------------------------------------

    def send(
        self,
        run_id: str | None = None,
        input: Input = NO_INPUT,
        *,
        thread_id: str | None = None,
        **options: Unpack[SendOptions],
    ) -> Receipt:
        """Send a message to a run that is under way, or to a conversation; durable on return.

        The run answers it with its next model call, while it waits for a person or for calls in
        the background too. Each message is part of exactly one completed model call, in the order
        of the calls of `send`; a run does not finish over it. *thread_id* sends to the run that has
        the turn there. A run that has ended does not take it: the message begins the next run of
        the conversation. A run that fails or is aborted before says so (`message-dropped`); after
        a failure the next run of the conversation answers. A conversation without a run begins
        with one of the option *agent*, or of the agent whose method this is.

        Raises `RunEnded` where there is no conversation, `InboxFull` where 1,000 messages wait,
        `RunConflict` where the *message_id* belongs to another message, `DeclarationError`,
        `TooLarge`, `RunNotFound`, `RunDeleted`, `ThreadNotFound`, `UnknownAgent`.
        """
        at = self._started()
        plan = send_message(at, run_id, thread_id, input, options, self._own_agent)
        return at.drive("send", plan)

    async def asend(
        self,
        run_id: str | None = None,
        input: Input = NO_INPUT,
        *,
        thread_id: str | None = None,
        **options: Unpack[SendOptions],
    ) -> Receipt:
        """`send` for the running event loop."""
        at = self._started()
        plan = send_message(at, run_id, thread_id, input, options, self._own_agent)
        return await at.adrive(plan)

    # Change ---------------------------------------------------------------------------------------

    def cancel(
        self, task_id: str, *, reason: str = CANCELLED, resource_id: str | None = None
    ) -> bool:
        """End a background call, ``<run id>:<tool call id>``; the model is told. Durable on return.

        Returns False if it had ended before.  Raises `RunNotFound`, `RunDeleted`.
        """
        at = self._deployment
        plan = cancel_call(at, task_id, reason=reason)
        return at.drive("cancel", for_owner(at, run_of(task_id), resource_id, plan))

    async def acancel(
        self, task_id: str, *, reason: str = CANCELLED, resource_id: str | None = None
    ) -> bool:
        """`cancel` for the running event loop."""
        at = self._deployment
        plan = cancel_call(at, task_id, reason=reason)
        return await at.adrive(for_owner(at, run_of(task_id), resource_id, plan))

    def retry(self, run_id: str, *, resource_id: str | None = None) -> RunStream:
        """Let a failed run go on where it failed, with what was completed; durable on return.

        What the failed attempt said is withdrawn, its end taken back: readers that have seen it
        start over. Returns what follows to read.  Raises `NotFailed`, `RunNotFound`, `RunDeleted`,
        and `RunConflict` while its hooks are still being called.
        """
        at = self._started()
        at.drive("retry", for_owner(at, run_id, resource_id, retry_from_failure(at, run_id)))
        return RunStream(at, run_id)

    async def aretry(self, run_id: str, *, resource_id: str | None = None) -> AsyncRunStream:
        """`retry` for the running event loop."""
        at = self._started()
        await at.adrive(for_owner(at, run_id, resource_id, retry_from_failure(at, run_id)))
        return AsyncRunStream(at, run_id)

    def abort(
        self, run_id: str, *, reason: str | None = None, resource_id: str | None = None
    ) -> bool:
        """Ask that a run ends; durable on return, seen at its next chunk or heartbeat.

        Returns False if it had ended before.  Raises `RunNotFound`, `RunDeleted`.
        """
        at = self._deployment
        plan = request_abort(at, run_id, reason=reason)
        return at.drive("abort", for_owner(at, run_id, resource_id, plan))

    async def aabort(
        self, run_id: str, *, reason: str | None = None, resource_id: str | None = None
    ) -> bool:
        """`abort` for the running event loop."""
        at = self._deployment
        plan = request_abort(at, run_id, reason=reason)
        return await at.adrive(for_owner(at, run_id, resource_id, plan))

    @overload
    def delete(self, run_id: str, *, resource_id: str | None = None) -> None: ...

    @overload
    def delete(self, *, resource_id: str) -> int: ...

    def delete(self, run_id: str = _NOT_GIVEN, *, resource_id: str | None = None) -> int | None:
        """Remove all of a run, also of a running one; a tombstone stays.

        Its words go from its record, its chunks, its thread and the indexes, and so does the copy
        in Celery's result backend, where this process knows the app. With a *resource_id* alone,
        all runs of that resource go so, and all its conversations; returns how many runs there
        were. A call that was interrupted may be repeated.

        Not removed is what is kept elsewhere: by an agent's own `Memory`, by hooks and tools, in
        logs, Flower or Sentry, at the model's provider. Of a resource, runs are found that were
        started within 100 days of its newest one.

        Raises `RunNotFound`, `RunDeleted` for a *run_id*, and whatever the result backend raises,
        before the run is removed.
        """
        if run_id is _NOT_GIVEN:
            plan = erase_resource(self._deployment, resource_id)
            return self._deployment.drive("delete", plan)
        self._deployment.drive("delete", erase_run(self._deployment, run_id, resource_id))
        return None

    @overload
    async def adelete(self, run_id: str, *, resource_id: str | None = None) -> None: ...

    @overload
    async def adelete(self, *, resource_id: str) -> int: ...

    async def adelete(
        self, run_id: str = _NOT_GIVEN, *, resource_id: str | None = None
    ) -> int | None:
        """`delete` for the running event loop."""
        if run_id is _NOT_GIVEN:
            return await self._deployment.adrive(erase_resource(self._deployment, resource_id))
        await self._deployment.adrive(erase_run(self._deployment, run_id, resource_id))
        return None
