"""Changing runs from outside: decisions of people, aborts, retries, deletions."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from evented_agent.agents.tools.approvals import Pending
from evented_agent.agents.tools.tool import InvalidArguments
from evented_agent.client.decisions import (
    approval_data,
    chosen_suspension,
    decision_of,
    denial_data,
)
from evented_agent.client.deployment import NullNotifier
from evented_agent.client.queries import Looking
from evented_agent.client.reader import Reader
from evented_agent.client.run_stream import AsyncRunStream, RunStream
from evented_agent.errors import InvalidDecision
from evented_agent.ledger import runs, threads
from evented_agent.ledger.indexes import indexes_of
from evented_agent.ledger.keys import thread_name
from evented_agent.ledger.records import Due, Record
from evented_agent.ledger.script import Command
from evented_agent.ledger.settings import milliseconds
from evented_agent.state.journal import edited_arguments


class Deciding(Looking):
    """What a door changes."""

    def reader(self, run_id: str) -> Reader:
        return Reader(self.keys, self.ledger, run_id)

    def resume(
        self,
        run_id: str,
        data: Any,
        *,
        tool_call_id: str | None = None,
        number: int | None = None,
        by: str | None = None,
    ) -> RunStream:
        """Answer a suspended call, from any process; durable on return, with what follows to read.

        *data* is JSON: ``{"approved": bool, "reason": …, "args": …}`` for an approval, the tool's
        answer for a suspension, ``{"action": "rerun" | "fail" | "result", …}`` for a call whose
        worker is gone. *tool_call_id*, or *number*, is needed where several calls are pending.
        The same decision again changes nothing. *by* is journalled.

        Raises `NotSuspended`, `SuspensionExpired`, `RunConflict` where it was decided otherwise,
        `InvalidDecision` for data that does not fit, `RunNotFound`, `RunDeleted`.
        """
        self._may_block("resume")
        record = self.ledger.send(runs.read(self.keys, run_id))
        call = self._decision(record, data, tool_call_id, number, by)
        if dues := self.ledger.send(call):
            self.notifier.notify(dues)
        return RunStream(self, run_id, after=record.last_cursor or 0)

    async def aresume(
        self,
        run_id: str,
        data: Any,
        *,
        tool_call_id: str | None = None,
        number: int | None = None,
        by: str | None = None,
    ) -> AsyncRunStream:
        """`resume` for the running event loop."""
        record = await self.ledger.asend(runs.read(self.keys, run_id))
        call = self._decision(record, data, tool_call_id, number, by)
        if dues := await self.ledger.asend(call):
            await asyncio.to_thread(self.notifier.notify, dues)
        return AsyncRunStream(self, run_id, after=record.last_cursor or 0)

    def approve(
        self, run_id: str, *, args: Mapping[str, Any] | None = None, **which: Any
    ) -> RunStream:
        """Approve a call, perhaps with other arguments; see `resume`."""
        return self.resume(run_id, approval_data(args), **which)

    async def aapprove(
        self, run_id: str, *, args: Mapping[str, Any] | None = None, **which: Any
    ) -> AsyncRunStream:
        """`approve` for the running event loop."""
        return await self.aresume(run_id, approval_data(args), **which)

    def decline(self, run_id: str, *, reason: str | None = None, **which: Any) -> RunStream:
        """Decline a call; the model is told the *reason*. See `resume`."""
        return self.resume(run_id, denial_data(reason), **which)

    async def adecline(
        self, run_id: str, *, reason: str | None = None, **which: Any
    ) -> AsyncRunStream:
        """`decline` for the running event loop."""
        return await self.aresume(run_id, denial_data(reason), **which)

    def _decision(
        self,
        record: Record,
        data: Any,
        tool_call_id: str | None,
        number: int | None,
        by: str | None,
    ) -> Command[Sequence[Due]]:
        pending = chosen_suspension(record, tool_call_id, number)
        if pending is not None:
            self._check_arguments(pending, data)
        most = self.settings.max_bytes
        return runs.resume(
            self.keys,
            record.run_id,
            call=tool_call_id or (pending.tool_call_id if pending else ""),
            number=number or (pending.number if pending else 0),
            decision=decision_of(record, pending, data, by=by, most_bytes=most),
            notifies=self._notifies,
        )

    def _check_arguments(self, pending: Pending, data: Any) -> None:
        """Refuse edited arguments that do not fit, where this process has the agent's code."""
        agent = self.agents.get(pending.agent)
        tool = agent.tool_named(pending.tool_name) if agent else None
        edited = edited_arguments(data) if pending.kind == "approval" else None
        if tool is None or edited is None:
            return
        try:
            tool.validate(edited)
        except InvalidArguments as error:
            raise InvalidDecision(pending.run_id, str(error)) from None

    def cancel(self, task_id: str, *, reason: str = "Somebody cancelled it.") -> bool:
        """End a background call, ``<run id>:<tool call id>``; the model is told. Durable on return.

        Returns False if it had ended before.  Raises `RunNotFound`, `RunDeleted`.
        """
        self._may_block("cancel")
        run_id, _, call = task_id.partition(":")
        return self.ledger.send(runs.cancel(self.keys, run_id, call=call, reason=reason))

    async def acancel(self, task_id: str, *, reason: str = "Somebody cancelled it.") -> bool:
        """`cancel` for the running event loop."""
        run_id, _, call = task_id.partition(":")
        return await self.ledger.asend(runs.cancel(self.keys, run_id, call=call, reason=reason))

    def retry(self, run_id: str) -> RunStream:
        """Let a failed run go on where it failed, with what was completed; durable on return.

        What the failed attempt said is withdrawn, its end taken back: readers that have seen it
        start over. Returns what follows to read.  Raises `NotFailed`, `RunNotFound`, `RunDeleted`,
        and `RunConflict` while its hooks are still being told of the failure.
        """
        self._may_block("retry")
        if dues := self.ledger.send(runs.retry_failed(self.keys, run_id, notifies=self._notifies)):
            self.notifier.notify(dues)
        return RunStream(self, run_id)

    async def aretry(self, run_id: str) -> AsyncRunStream:
        """`retry` for the running event loop."""
        if dues := await self.ledger.asend(
            runs.retry_failed(self.keys, run_id, notifies=self._notifies)
        ):
            await asyncio.to_thread(self.notifier.notify, dues)
        return AsyncRunStream(self, run_id)

    def abort(self, run_id: str, *, reason: str | None = None) -> bool:
        """Ask that a run ends; durable on return, seen at its next chunk or heartbeat.

        Returns False if it had ended before.  Raises `RunNotFound`, `RunDeleted`.
        """
        self._may_block("abort")
        return self.ledger.send(runs.abort(self.keys, run_id, reason=reason))

    async def aabort(self, run_id: str, *, reason: str | None = None) -> bool:
        """`abort` for the running event loop."""
        return await self.ledger.asend(runs.abort(self.keys, run_id, reason=reason))

    def delete(self, run_id: str) -> None:
        """Remove everything of a run, also of a running one; a tombstone stays.

        Raises `RunNotFound`, `RunDeleted`.
        """
        self._may_block("delete")
        record = self.ledger.send(runs.read(self.keys, run_id))
        self.ledger.send(self._deletion(run_id, record.fields))

    async def adelete(self, run_id: str) -> None:
        """`delete` for the running event loop."""
        record = await self.ledger.asend(runs.read(self.keys, run_id))
        await self.ledger.asend(self._deletion(run_id, record.fields))

    def _deletion(self, run_id: str, fields: Mapping[str, str]) -> Command[None]:
        names = indexes_of(fields["agent"], fields.get("thread"), fields.get("resource"))
        ttl = milliseconds(self.settings.record_ttl)
        return runs.delete(self.keys, run_id, indexes=names, tombstone_ms=ttl)

    def delete_thread(self, thread_id: str, *, resource_id: str | None = None) -> None:
        """Forget a conversation; its runs stay."""
        self._may_block("delete_thread")
        self.ledger.send(threads.drop(self.keys, thread_name(thread_id, resource_id)))

    async def adelete_thread(self, thread_id: str, *, resource_id: str | None = None) -> None:
        """`delete_thread` for the running event loop."""
        await self.ledger.asend(threads.drop(self.keys, thread_name(thread_id, resource_id)))

    @property
    def _notifies(self) -> bool:
        return not isinstance(self.notifier, NullNotifier)
