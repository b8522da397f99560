"""Sends commands to Redis, from threads and from event loops.

Scripts are idempotent, so a command whose reply was lost, or was "not now", is sent again for
*retry_for* seconds; `error_replies` says which replies are.  redis-py's own retries are off: they
would hide a reconnect, and wait for minutes.  Only here is known whether there is one server, a
master that Sentinels name, or a cluster.
"""

import asyncio
import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import redis
import redis.asyncio
from redis.exceptions import MovedError

from evented_agent.ledger.address import Kind, parse_address, safe_url
from evented_agent.ledger.asking import (
    aevaluate,
    aevaluate_all,
    afetch,
    evaluate,
    evaluate_all,
    fetch,
)
from evented_agent.ledger.batch import Batch, Cancellations, RoleCheck, Tries
from evented_agent.ledger.connection_limit import ConnectionLimit
from evented_agent.ledger.error_replies import CONNECTION_FAILURES
from evented_agent.ledger.failures import Failures
from evented_agent.ledger.plan import CallBeside, Plan, PlanRequest, ReadBlobs, SendMessages
from evented_agent.ledger.redis_clients import (
    CONNECT_TIMEOUT,
    READ_TIMEOUT,
    SOCKET_TIMEOUT,
    AsyncClients,
    Clients,
    about,
    arefuse_replica,
    refuse_replica,
)
from evented_agent.ledger.script import Command
from evented_agent.ledger.slots import SlotMap

_T = TypeVar("_T")


class Ledger:
    """Sends commands from any thread and, awaited, from any event loop of this process.

    Connections are made at first use and never shared with a forked child. Whoever does not say for
    how many seconds to try tries for *retry_for*.
    """

    def __init__(self, url: str, *, retry_for: float = 2.0) -> None:
        """Read *url* without connecting; raises `ConfigurationError` where it cannot be used."""
        self.url = url
        self.retry_for = retry_for
        self._sync_check, self._async_check = RoleCheck(), RoleCheck()
        self._address = parse_address(url)
        self._is_cluster = self._address.kind == "cluster"
        self._lock = threading.Lock()
        self._of_parents: list[object] = []
        self._begin()

    def client(self, key: str = "") -> "redis.Redis":
        """A client for the server that has *key*."""
        self._forget_after_fork()
        return self._sync.for_key(key)

    async def async_client(self, key: str = "") -> "redis.asyncio.Redis":
        """The same for the running event loop."""
        self._forget_after_fork()
        return await self._async.for_key(key)

    def reading_client(self, key: str = "") -> "redis.Redis":
        """A client for blocking reads of *key*, and of what has its slot.

        Its replies may take as long as `READ_TIMEOUT`; who uses it bounds its connections. After
        each of `CONNECTION_FAILURES`, which `recover` is to be told, another client may be in
        charge: ask again.
        """
        self._forget_after_fork()
        return self._readers.for_key(key)

    @property
    def kind(self) -> Kind:
        """What the URL leads to: one server, Sentinels that name it, or a cluster."""
        return self._address.kind

    def masters(self) -> list[tuple[str, Mapping[str, Any] | None]]:
        """Each server that takes writes: its name for messages, and what it says of itself.

        None where this user may not ask. Raises `LedgerUnavailable` where one does not answer.
        """
        self._forget_after_fork()
        try:
            return [
                (safe_url(self.url) if node is None else str(node), about(client))
                for node, client in self._sync.masters()
            ]
        except CONNECTION_FAILURES as error:
            self.recover(error)
            raise self._failures.as_error(error) from None

    def run(self, plan: Plan[_T]) -> _T:
        """Drive *plan* from this thread: answer what it asks, throw it the errors; its value."""
        with contextlib.closing(plan):
            try:
                request = next(plan)
                while True:
                    try:
                        answer = self._answer(request)
                    except Exception as error:  # noqa: BLE001 - the plan's to handle
                        request = plan.throw(error)
                    else:
                        request = plan.send(answer)
            except StopIteration as stop:
                value: _T = stop.value
                return value

    async def arun(self, plan: Plan[_T]) -> _T:
        """`run` for the running event loop."""
        with contextlib.closing(plan):
            try:
                request = next(plan)
                while True:
                    try:
                        answer = await self._aanswer(request)
                    except Exception as error:  # noqa: BLE001 - the plan's to handle
                        request = plan.throw(error)
                    else:
                        request = plan.send(answer)
            except StopIteration as stop:
                value: _T = stop.value
                return value

    def _answer(self, request: PlanRequest) -> Any:
        match request:
            case Command():
                return self.send(request)
            case ReadBlobs(key, names):
                return self.fetch_blobs(key, names)
            case SendMessages(notifier, dues):
                return notifier.notify(dues)
            case CallBeside(function):
                return function()
            case _:
                return self.send_all(request, retry_for=self.retry_for)

    async def _aanswer(self, request: PlanRequest) -> Any:
        match request:
            case Command():
                return await self.asend(request)
            case ReadBlobs(key, names):
                return await self.afetch_blobs(key, names)
            case SendMessages(notifier, dues):
                # A broker that hangs must not hang the caller's event loop.
                return await asyncio.to_thread(notifier.notify, dues)
            case CallBeside(function):
                return await asyncio.to_thread(function)
            case _:
                return await self.asend_all(request, retry_for=self.retry_for)

    def send(self, command: Command[_T], *, retry_for: float | None = None) -> _T:
        """Send *command*; `LedgerUnavailable` when *retry_for* seconds brought no answer."""

        def ask(client: "redis.Redis", asking: bool) -> Any:
            return evaluate(client, command, asking=asking)

        return command.parse(self._try(ask, _key(command), retry_for))

    async def asend(self, command: Command[_T], *, retry_for: float | None = None) -> _T:
        """`send` for the running event loop."""

        async def ask(client: "redis.asyncio.Redis", asking: bool) -> Any:
            return await aevaluate(client, command, asking=asking)

        return command.parse(await self._atry(ask, _key(command), retry_for))

    def fetch_blobs(
        self, key: str, names: Sequence[str], *, retry_for: float | None = None
    ) -> list[bytes]:
        """Fetch large payloads; they are written before whatever points to them."""

        def ask(client: "redis.Redis", asking: bool) -> Any:
            return fetch(client, key, names, asking=asking)

        return _payloads(self._try(ask, key, retry_for))

    async def afetch_blobs(
        self, key: str, names: Sequence[str], *, retry_for: float | None = None
    ) -> list[bytes]:
        """`fetch_blobs` for the running event loop."""

        async def ask(client: "redis.asyncio.Redis", asking: bool) -> Any:
            return await afetch(client, key, names, asking=asking)

        return _payloads(await self._atry(ask, key, retry_for))

    def send_all(self, commands: Sequence[Command[Any]], *, retry_for: float = 0) -> list[Any]:
        """Send commands in one round trip to each server that is concerned.

        An answer may be the error that its reply means. With *retry_for*, those that were not
        answered are sent again, and the last of their errors is raised.
        """
        batch, tries = Batch(commands), Tries(retry_for)
        self._forget_after_fork()
        # Who asks once has no time to lose with one master of several that does not answer.
        clients = self._sync if retry_for or not self._is_cluster else self._urgent
        while True:
            groups: dict[redis.Redis, list[int]] = {}
            for at in batch.open:
                try:
                    groups.setdefault(clients.for_key(_key(commands[at])), []).append(at)
                except CONNECTION_FAILURES as error:
                    batch.lost([at], error)
            for client, some in groups.items():
                try:
                    with self._limit(client):
                        replies = evaluate_all(client, [commands[at] for at in some])
                    batch.answered(some, replies)
                except CONNECTION_FAILURES as error:
                    batch.lost(some, error)
            wait = self._again(batch, tries)
            for each in batch.errors():
                self._recover(each)
            if wait is None:
                return self._results(batch, must_answer=retry_for > 0)
            time.sleep(wait)

    async def asend_all(
        self, commands: Sequence[Command[Any]], *, retry_for: float = 0
    ) -> list[Any]:
        """`send_all` for the running event loop."""
        batch, tries = Batch(commands), Tries(retry_for)
        while True:
            groups: dict[redis.asyncio.Redis, list[int]] = {}
            for at in batch.open:
                try:
                    client = await self.async_client(_key(commands[at]))
                    groups.setdefault(client, []).append(at)
                except CONNECTION_FAILURES as error:
                    batch.lost([at], error)
            for client, some in groups.items():
                try:
                    async with self._limit(client):
                        replies = await aevaluate_all(client, [commands[at] for at in some])
                    batch.answered(some, replies)
                except CONNECTION_FAILURES as error:
                    batch.lost(some, error)
            wait = self._again(batch, tries)
            for each in batch.errors():
                await self._arecover(each)
            if wait is None:
                return self._results(batch, must_answer=retry_for > 0)
            await asyncio.sleep(wait)

    def scan(self, pattern: str, cursor: int) -> tuple[int, list[str]]:
        """Go on with a scan for keys: the next cursor, 0 at the end, and what was found.

        In a cluster only the server that has the slot of *pattern* is asked.
        """

        def ask(client: "redis.Redis", _asking: bool) -> Any:
            return client.scan(cursor, pattern, count=1000)

        following, found = self._try(ask, pattern, 0)
        return int(following), [key.decode() for key in found]

    def _try(
        self, ask: Callable[["redis.Redis", bool], Any], key: str, retry_for: float | None
    ) -> Any:
        """Ask whoever has *key* until there is an answer, for *retry_for* seconds."""
        tries, asked = Tries(self.retry_for if retry_for is None else retry_for), None
        while True:
            try:
                client = self.client(key) if asked is None else self._sync.at(asked)
                with self._limit(client):
                    if self._sync_check.is_due():
                        self.check_in_charge(client)
                    return ask(client, asked is not None)
            except CONNECTION_FAILURES as error:
                self.recover(error)
                asked = self._failures.next_node(error)
                if (wait := tries.wait(redirected=self._failures.is_redirect(error))) is None:
                    raise self._failures.as_error(error) from None
                time.sleep(wait)

    async def _atry(
        self, ask: Callable[["redis.asyncio.Redis", bool], Any], key: str, retry_for: float | None
    ) -> Any:
        """`_try` for the running event loop."""
        tries, asked = Tries(self.retry_for if retry_for is None else retry_for), None
        cancellations = Cancellations()
        while True:
            try:
                client = await (self.async_client(key) if asked is None else self._async.at(asked))
                async with self._limit(client):
                    if self._async_check.is_due():
                        await self.acheck_in_charge(client)
                    answer = await ask(client, asked is not None)
                cancellations.check()
                return answer
            except CONNECTION_FAILURES as error:
                await self.arecover(error)
                cancellations.check()
                asked = self._failures.next_node(error)
                if (wait := tries.wait(redirected=self._failures.is_redirect(error))) is None:
                    raise self._failures.as_error(error) from None
                await asyncio.sleep(wait)

    def recover(self, error: BaseException) -> None:
        """Make another try possible after a connection failure, or a `LedgerUnavailable`.

        Raises `LedgerUnavailable` where none can help. Drops the connections of a server that is
        no longer, or not yet, in charge: behind one address, new ones may lead to another. In a
        cluster, who has which slot is asked anew.
        """
        self._failures.refuse_what_stays(error)
        self._recover(error)

    async def arecover(self, error: BaseException) -> None:
        """`recover` for the running event loop."""
        self._failures.refuse_what_stays(error)
        await self._arecover(error)

    def _limit(self, client: object) -> ConnectionLimit:
        """Of each server: one that hangs must not keep commands from the others."""
        limit = self._limits.get(client)
        if limit is None:
            limit = self._limits.setdefault(client, ConnectionLimit(self.url))
        return limit

    def drop_idle(self) -> None:
        """Close the connections that no thread uses at the moment."""
        if self._pid == os.getpid():
            for clients in (self._sync, self._urgent, self._readers):
                clients.drop_idle()

    def _recover(self, error: BaseException) -> None:
        if self._failures.is_elsewhere(error):
            self.drop_idle()

    async def _arecover(self, error: BaseException) -> None:
        if self._failures.is_elsewhere(error):
            await self._async.drop_idle()

    def _again(self, batch: Batch, tries: Tries) -> float | None:
        """Seconds until the next try of what is open in *batch*; None where there is none."""
        batch.keep_open(self._failures.passes)
        if not batch.open:
            return None
        return tries.wait(redirected=all(isinstance(e, MovedError) for e in batch.errors()))

    def _results(self, batch: Batch, *, must_answer: bool) -> list[Any]:
        if must_answer and (left := batch.errors()):
            raise self._failures.as_error(left[0])
        if batch.is_lost:
            raise self._failures.as_error(batch.replies[0])
        return [
            self._failures.as_error(reply)
            if isinstance(reply, CONNECTION_FAILURES)
            else _parsed(each, reply)
            for each, reply in zip(batch.commands, batch.replies, strict=True)
        ]

    def check_in_charge(self, client: "redis.Redis") -> None:
        """Raise one of `CONNECTION_FAILURES` where a replica answers.

        It answers reads, but may have been cut off from what is written elsewhere. Those of a
        cluster do not answer.
        """
        if not self._is_cluster:
            refuse_replica(client)

    async def acheck_in_charge(self, client: "redis.asyncio.Redis") -> None:
        """`check_in_charge` for the running event loop."""
        if not self._is_cluster:
            await arefuse_replica(client)

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        await self._async.aclose()

    def close(self) -> None:
        """Close the connections that threads used."""
        if self._pid == os.getpid():
            for clients in (self._sync, self._urgent, self._readers):
                clients.close()

    def _forget_after_fork(self) -> None:
        with self._lock:
            if self._pid != os.getpid():
                # Kept, since redis-py would close them with locks that nobody will ever release.
                self._of_parents.append((self._sync, self._urgent, self._readers, self._async))
                self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        address, slots = self._address, SlotMap(self._address.nodes)
        self._failures = Failures(self.url, slots if self._is_cluster else None)
        self._sync = Clients(address, slots, SOCKET_TIMEOUT)
        self._urgent = Clients(address, slots, CONNECT_TIMEOUT)
        self._readers = Clients(address, slots, READ_TIMEOUT)
        self._async = AsyncClients(address, slots, SOCKET_TIMEOUT)
        self._limits: weakref.WeakKeyDictionary[object, ConnectionLimit]
        self._limits = weakref.WeakKeyDictionary()


def _parsed(command: Command[Any], reply: Any) -> Any:
    try:
        return command.parse(reply)
    except Exception as error:  # noqa: BLE001 - one command's refusal must not hide the others
        return error


def _key(command: Command[Any]) -> str:
    """All keys of a command are in one slot, so any of them tells where to send it."""
    return command.keys[0]


def _payloads(found: Sequence[Any]) -> list[bytes]:
    return [bytes(payload) if payload else b"" for payload in found]
