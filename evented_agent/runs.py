"""The door to all runs of a deployment: create, look, list, follow, abort, delete.

Needs no agent code and no Celery; what it commits is sent by whoever rings the bell, or later by
an alarm.
"""

import asyncio
import logging
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Protocol

from evented_agent.agents import Agent
from evented_agent.decisions import chosen, decide
from evented_agent.embedded import ensure_server
from evented_agent.errors import BlockingCall, ConfigurationError, InvalidDecision
from evented_agent.ledger import fleet, operations
from evented_agent.ledger.call import Call
from evented_agent.ledger.connection import Ledger, safe_url
from evented_agent.ledger.keys import Keys
from evented_agent.ledger.records import FORMAT, Due, Record
from evented_agent.listing import Wanted
from evented_agent.loop import edited_arguments
from evented_agent.readers import Reader
from evented_agent.results import Pending, RunInfo, RunResult, info_of, is_waiting, result_of
from evented_agent.settings import Settings, milliseconds
from evented_agent.stream import AsyncRunStream, RunStream
from evented_agent.tools import InvalidArguments
from evented_agent.topic import Cursor, check_readable

logger = logging.getLogger(__name__)

REDIS_URL_VARIABLE = "EVENTED_AGENT_REDIS_URL"
#: The statuses of runs in which a call may wait for a person.
MAY_WAIT = ("suspended", "running")


class Bell(Protocol):
    """Tells workers that tasks are due.  May fail: an alarm rings again."""

    def ring(self, dues: Sequence[Due], /) -> bool:
        """Send one message for each; False if that was not possible.  Never raises."""
        ...


_Named = dict[str, Any]


class _NoBell:
    def ring(self, _dues: Sequence[Due], /) -> bool:
        return False


class Runs:
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

    def __init__(
        self,
        redis_url: str | Callable[[], str] | None = None,
        *,
        settings: Settings | None = None,
        allow_blocking: bool = False,
    ) -> None:
        self.settings = settings or Settings()
        self.keys = Keys(self.settings.prefix, self.settings.shards)
        self.agents: dict[str, Agent] = {}
        self.bell: Bell = _NoBell()
        self.allow_blocking = allow_blocking
        self._given_url = redis_url
        self._ledger: Ledger | None = None
        self._is_agreed = False

    @classmethod
    def of(cls, app: Any) -> "Runs":
        """The runs of a Celery app; raises `ConfigurationError` before an agent is registered."""
        found = cls._of_app.get(app)
        if found is None:
            raise ConfigurationError(
                f"{app!r} has no agents. Call create_evented_agent(agent, app=app) first."
            )
        return found

    @property
    def ledger(self) -> Ledger:
        if self._ledger is None:
            self._ledger = Ledger(self.redis_url)
        return self._ledger

    @property
    def redis_url(self) -> str:
        given = self._given_url
        if callable(given):
            return given()
        return given or os.environ.get(REDIS_URL_VARIABLE) or ensure_server().url

    def add(self, agent: Agent) -> None:
        """Serve *agent* here; raises `ConfigurationError` where its id is another agent's."""
        known = self.agents.setdefault(agent.id, agent)
        if known is not agent:
            raise ConfigurationError(
                f"Two agents have the id {agent.id!r}. Ids are stored with runs: give one of them "
                "another."
            )

    def check(self) -> fleet.Deployment:
        """Compare with what other processes of this deployment stored; refuse what loses runs.

        Raises `ConfigurationError` with the line to change.
        """
        found = self.ledger.send(fleet.deployment(self.keys))
        self._compare(found)
        where = safe_url(self.redis_url)
        if found.eviction not in ("", "noeviction") and not self.settings.allow_eviction:
            raise ConfigurationError(
                f"Redis at {where} has maxmemory-policy {found.eviction!r} and may drop runs. Set "
                "'maxmemory-policy noeviction' there, or insist with Settings(allow_eviction=True)."
            )
        if not found.has_aof:
            logger.warning(
                "Redis at %s has no append-only file: a restart loses all runs. Set "
                "'appendonly yes' there.",
                where,
            )
        return found

    def agree(self) -> None:
        """Refuse, once per process, to create runs where other processes would not find them.

        Raises `ConfigurationError`.
        """
        if not self._is_agreed:
            self._compare(self.ledger.send(fleet.deployment(self.keys)))

    async def aagree(self) -> None:
        """`agree` for the running event loop."""
        if not self._is_agreed:
            self._compare(await self.ledger.asend(fleet.deployment(self.keys)))

    def _compare(self, found: fleet.Deployment) -> None:
        if found.shards != self.settings.shards:
            raise ConfigurationError(
                f"Settings(shards={self.settings.shards}) does not match "
                f"{safe_url(self.redis_url)}, where runs are spread over {found.shards}. Set "
                f"shards={found.shards} in every process."
            )
        self._is_agreed = True

    # Looking --------------------------------------------------------------------------------------

    def get(self, run_id: str) -> RunInfo:
        """The state of a run now.  Raises `RunNotFound`, `RunDeleted`."""
        self._may_block("get")
        record = self.ledger.send(operations.read(self.keys, run_id))
        if not is_waiting(record):
            return info_of(record)
        return info_of(record, self.ledger.send(fleet.workers(self.keys)))

    async def aget(self, run_id: str) -> RunInfo:
        """`get` for the running event loop."""
        record = await self.ledger.asend(operations.read(self.keys, run_id))
        if not is_waiting(record):
            return info_of(record)
        return info_of(record, await self.ledger.asend(fleet.workers(self.keys)))

    def result(self, run_id: str) -> RunResult:
        """What the run came to, so far.  Raises `RunNotFound`, `RunDeleted`."""
        self._may_block("result")
        record = self.ledger.send(operations.read(self.keys, run_id, journal=True))
        names = _pointers(record.entries)
        blobs = self.keys.of(run_id).blobs
        found = self.ledger.fetch_blobs(blobs, names) if names else []
        return result_of(record, _filled(record.entries, found))

    async def aresult(self, run_id: str) -> RunResult:
        """`result` for the running event loop."""
        record = await self.ledger.asend(operations.read(self.keys, run_id, journal=True))
        names = _pointers(record.entries)
        blobs = self.keys.of(run_id).blobs
        found = await self.ledger.afetch_blobs(blobs, names) if names else []
        return result_of(record, _filled(record.entries, found))

    def runs(
        self,
        *,
        status: str | None = None,
        agent: str | None = None,
        thread_id: str | None = None,
        resource_id: str | None = None,
        since: datetime | None = None,
        limit: int = 50,
    ) -> list[RunInfo]:
        """The newest runs that match all that is given, at most *limit*."""
        self._may_block("runs")
        wanted = Wanted(self.keys, status, agent, thread_id, resource_id, since, limit)
        steps = wanted.steps()
        calls = next(steps)
        while True:
            try:
                calls = steps.send(self.ledger.send_all(calls))
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]

    async def aruns(
        self,
        *,
        status: str | None = None,
        agent: str | None = None,
        thread_id: str | None = None,
        resource_id: str | None = None,
        since: datetime | None = None,
        limit: int = 50,
    ) -> list[RunInfo]:
        """`runs` for the running event loop."""
        wanted = Wanted(self.keys, status, agent, thread_id, resource_id, since, limit)
        steps = wanted.steps()
        calls = next(steps)
        while True:
            sent = (self.ledger.asend(call) for call in calls)
            replies = await asyncio.gather(*sent, return_exceptions=True)
            try:
                calls = steps.send(replies)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]

    def pending(
        self,
        *,
        agent: str | None = None,
        thread_id: str | None = None,
        resource_id: str | None = None,
        limit: int = 50,
    ) -> list[Pending]:
        """The calls that wait for a person, the oldest first; at most of *limit* runs a status."""
        wanted: _Named = {
            "agent": agent,
            "thread_id": thread_id,
            "resource_id": resource_id,
        }
        found = [self.runs(status=each, limit=limit, **wanted) for each in MAY_WAIT]
        return _oldest_first(found)

    async def apending(
        self,
        *,
        agent: str | None = None,
        thread_id: str | None = None,
        resource_id: str | None = None,
        limit: int = 50,
    ) -> list[Pending]:
        """`pending` for the running event loop."""
        wanted: _Named = {
            "agent": agent,
            "thread_id": thread_id,
            "resource_id": resource_id,
        }
        found = [await self.aruns(status=each, limit=limit, **wanted) for each in MAY_WAIT]
        return _oldest_first(found)

    def workers(self) -> Sequence[fleet.LiveWorker]:
        """The workers that were heard of in the last 10 s."""
        self._may_block("workers")
        return self.ledger.send(fleet.workers(self.keys))

    # Following ------------------------------------------------------------------------------------

    def observe(self, run_id: str, *, after: Cursor = 0, timeout: float | None = None) -> RunStream:
        """Follow a run from the start, or from a cursor; before, during and after it runs.

        *after* is `chunk.cursor`, a ``Last-Event-ID``, or the last seq seen. *timeout* is how many
        seconds without a chunk raise `TimeoutError`, which leaves the run running.  Raises
        `RunNotFound`, `RunDeleted`, `RunExpired`, and `ValueError` for what is no cursor.
        """
        self._may_block("observe")
        check_readable(self.ledger.send(operations.read(self.keys, run_id)), after)
        return RunStream(self, run_id, after=after, timeout=timeout)

    async def aobserve(
        self, run_id: str, *, after: Cursor = 0, timeout: float | None = None
    ) -> AsyncRunStream:
        """`observe` for the running event loop."""
        check_readable(await self.ledger.asend(operations.read(self.keys, run_id)), after)
        return AsyncRunStream(self, run_id, after=after, timeout=timeout)

    def reader(self, run_id: str) -> Reader:
        return Reader(self.keys, self.ledger, run_id)

    # Deciding -------------------------------------------------------------------------------------

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
        record = self.ledger.send(operations.read(self.keys, run_id))
        call = self._decision(record, data, tool_call_id, number, by)
        if dues := self.ledger.send(call):
            self.bell.ring(dues)
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
        record = await self.ledger.asend(operations.read(self.keys, run_id))
        call = self._decision(record, data, tool_call_id, number, by)
        if dues := await self.ledger.asend(call):
            await asyncio.to_thread(self.bell.ring, dues)
        return AsyncRunStream(self, run_id, after=record.last_cursor or 0)

    def approve(
        self, run_id: str, *, args: Mapping[str, Any] | None = None, **which: Any
    ) -> RunStream:
        """Approve a call, perhaps with other arguments; see `resume`."""
        return self.resume(run_id, approval(args), **which)

    async def aapprove(
        self, run_id: str, *, args: Mapping[str, Any] | None = None, **which: Any
    ) -> AsyncRunStream:
        """`approve` for the running event loop."""
        return await self.aresume(run_id, approval(args), **which)

    def decline(self, run_id: str, *, reason: str | None = None, **which: Any) -> RunStream:
        """Decline a call; the model is told the *reason*. See `resume`."""
        return self.resume(run_id, denial(reason), **which)

    async def adecline(
        self, run_id: str, *, reason: str | None = None, **which: Any
    ) -> AsyncRunStream:
        """`decline` for the running event loop."""
        return await self.aresume(run_id, denial(reason), **which)

    def _decision(
        self,
        record: Record,
        data: Any,
        tool_call_id: str | None,
        number: int | None,
        by: str | None,
    ) -> Call[Sequence[Due]]:
        pending = chosen(record, tool_call_id, number)
        if pending is not None:
            self._check_arguments(pending, data)
        most = self.settings.max_bytes
        return operations.resume(
            self.keys,
            record.run_id,
            call=tool_call_id or (pending.tool_call_id if pending else ""),
            number=number or (pending.number if pending else 0),
            decision=decide(record, pending, data, by=by, most_bytes=most),
            rings=not isinstance(self.bell, _NoBell),
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

    # Changing -------------------------------------------------------------------------------------

    def abort(self, run_id: str, *, reason: str | None = None) -> bool:
        """Ask that a run ends; durable on return, seen at its next chunk or heartbeat.

        Returns False if it had ended before.  Raises `RunNotFound`, `RunDeleted`.
        """
        self._may_block("abort")
        return self.ledger.send(operations.abort(self.keys, run_id, reason=reason))

    async def aabort(self, run_id: str, *, reason: str | None = None) -> bool:
        """`abort` for the running event loop."""
        return await self.ledger.asend(operations.abort(self.keys, run_id, reason=reason))

    def delete(self, run_id: str) -> None:
        """Remove everything of a run, also of a running one; a tombstone stays.

        Raises `RunNotFound`, `RunDeleted`.
        """
        self._may_block("delete")
        record = self.ledger.send(operations.read(self.keys, run_id))
        self.ledger.send(self._deletion(run_id, record.fields))

    async def adelete(self, run_id: str) -> None:
        """`delete` for the running event loop."""
        record = await self.ledger.asend(operations.read(self.keys, run_id))
        await self.ledger.asend(self._deletion(run_id, record.fields))

    def _deletion(self, run_id: str, fields: Mapping[str, str]) -> Call[None]:
        names = indexes(fields["agent"], fields.get("thread"), fields.get("resource"))
        ttl = milliseconds(self.settings.record_ttl)
        return operations.delete(self.keys, run_id, indexes=names, tombstone_ms=ttl)

    def _may_block(self, method: str) -> None:
        refuse_on_loop(method, f"a{method}", allowed=self.allow_blocking)


def approval(args: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"approved": True} if args is None else {"approved": True, "args": dict(args)}


def denial(reason: str | None) -> dict[str, Any]:
    return {"approved": False} if reason is None else {"approved": False, "reason": reason}


def _oldest_first(found: Sequence[Sequence[RunInfo]]) -> list[Pending]:
    # A run may change from one status to another between the two looks.
    pending = {
        (each.run_id, each.number): each
        for infos in found
        for info in infos
        for each in info.pending
    }
    return sorted(pending.values(), key=lambda each: each.since)


def refuse_on_loop(method: str, twin: str, *, allowed: bool) -> None:
    """Raise `BlockingCall` on the thread of a running event loop, unless *allowed*."""
    if allowed:
        return
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise BlockingCall(method, twin)


def indexes(agent: str, thread: str | None, resource: str | None) -> list[tuple[str, str]]:
    """The indexes that a run is found in, beside that of its status."""
    found = [("all", ""), ("agent", agent)]
    if thread:
        found.append(("thread", thread))
    if resource:
        found.append(("resource", resource))
    return found


def _pointers(entries: Sequence[bytes]) -> list[str]:
    return [entry[1:].decode() for entry in entries if entry[:1] == b"@"]


def _filled(entries: Sequence[bytes], payloads: Sequence[Any]) -> list[bytes]:
    found = iter(payloads)
    return [next(found) if entry[:1] == b"@" else entry for entry in entries]


def record_fields(
    settings: Settings, agent: Agent, *, messages: str, options: str, queue: str
) -> dict[str, str | int]:
    """The fields of a new run's record."""
    return {
        "v": FORMAT,
        "agent": agent.id,
        "agent_version": agent.version,
        "messages": messages,
        "options": options,
        "queue": queue,
        "ttl_topic": milliseconds(settings.topic_ttl),
        "ttl_record": milliseconds(settings.record_ttl),
        "abort_grace": milliseconds(settings.abort_grace),
    }
