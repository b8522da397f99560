"""Sends commands to Redis, from threads and from event loops.

Scripts are idempotent, so a command whose reply was lost, or was "not now", is sent again for
*retry_for* seconds; `error_replies` says which replies are.  redis-py's own retries are off: they
would hide a reconnect, and wait for minutes.
"""

import asyncio
import contextlib
import os
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import redis
import redis.asyncio
from redis.exceptions import NoPermissionError, NoScriptError, ReadOnlyError, RedisError

from evented_agent.errors import LedgerUnavailable
from evented_agent.ledger.error_replies import CONNECTION_FAILURES, Refusal, refusal_of
from evented_agent.ledger.plan import CallBeside, Plan, PlanRequest, ReadBlobs, SendMessages
from evented_agent.ledger.redis_clients import (
    READ_TIMEOUT,
    SOCKET_TIMEOUT,
    AsyncClients,
    safe_url,
    sync_client,
)
from evented_agent.ledger.script import Command

_T = TypeVar("_T")

#: Seconds between two questions whether the server is still the master.
CHECKED_FOR = 5.0


class Ledger:
    """Sends commands from any thread and, awaited, from any event loop of this process.

    Connections are made at first use and never shared with a forked child. Whoever does not say for
    how many seconds to try tries for *retry_for*.
    """

    def __init__(self, url: str, *, retry_for: float = 2.0) -> None:
        self.url = url
        self.retry_for = retry_for
        self._lock = threading.Lock()
        self._pid = 0
        self._sync: redis.Redis | None = None
        self._reader: redis.Redis | None = None
        self._make_async_clients()
        self._sync_check, self._async_check = _Check(), _Check()

    def reading_client(self) -> "redis.Redis":
        """A client for blocking reads: its replies may take as long as `READ_TIMEOUT`."""
        with self._lock:
            self._forget_after_fork()
            if self._reader is None:
                self._reader = sync_client(self.url, timeout=READ_TIMEOUT)
            return self._reader

    async def async_reading_client(self) -> "redis.asyncio.Redis":
        """The same for the running event loop."""
        with self._lock:
            self._forget_after_fork()
        return await self._async_readers.get()

    def client(self) -> "redis.Redis":
        with self._lock:
            self._forget_after_fork()
            if self._sync is None:
                self._sync = sync_client(self.url)
            return self._sync

    async def async_client(self) -> "redis.asyncio.Redis":
        with self._lock:
            self._forget_after_fork()
        return await self._async.get()

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
        return command.parse(self._try(lambda client: _evaluate(client, command), retry_for))

    async def asend(self, command: Command[_T], *, retry_for: float | None = None) -> _T:
        """`send` for the running event loop."""
        return command.parse(await self._atry(lambda each: _aevaluate(each, command), retry_for))

    def fetch_blobs(
        self, key: str, names: Sequence[str], *, retry_for: float | None = None
    ) -> list[bytes]:
        """Fetch large payloads; they are written before whatever points to them."""
        return _payloads(self._try(lambda client: client.hmget(key, list(names)), retry_for))

    async def afetch_blobs(
        self, key: str, names: Sequence[str], *, retry_for: float | None = None
    ) -> list[bytes]:
        """`fetch_blobs` for the running event loop."""
        return _payloads(await self._atry(lambda each: each.hmget(key, list(names)), retry_for))

    def send_all(self, commands: Sequence[Command[Any]], *, retry_for: float = 0) -> list[Any]:
        """Send commands in one round trip; an answer may be the error that its reply means."""

        def ask(client: "redis.Redis") -> list[Any]:
            replies = _pipeline(client, commands)
            return _raise_if_not_now(replies) if retry_for else replies

        replies = self._try(ask, retry_for)
        if (error := _elsewhere(replies)) is not None:
            self.recover(error)
        return self._values(commands, replies)

    async def asend_all(
        self, commands: Sequence[Command[Any]], *, retry_for: float = 0
    ) -> list[Any]:
        """`send_all` for the running event loop."""

        async def ask(client: "redis.asyncio.Redis") -> list[Any]:
            replies = await _apipeline(client, commands)
            return _raise_if_not_now(replies) if retry_for else replies

        replies = await self._atry(ask, retry_for)
        if (error := _elsewhere(replies)) is not None:
            await self.arecover(error)
        return self._values(commands, replies)

    def scan(self, pattern: str, cursor: int) -> tuple[int, list[str]]:
        """Go on with a scan for keys: the next cursor, 0 at the end, and what was found."""
        following, found = self._try(lambda each: each.scan(cursor, pattern, count=1000), 0)
        return int(following), [key.decode() for key in found]

    def _try(self, ask: Callable[["redis.Redis"], Any], retry_for: float | None) -> Any:
        """Ask until there is an answer, for *retry_for* seconds."""
        tries = _Tries(self.retry_for if retry_for is None else retry_for)
        while True:
            try:
                client = self.client()
                if self._sync_check.is_due():
                    self.check_in_charge(client)
                return ask(client)
            except CONNECTION_FAILURES as error:
                self.recover(error)
                if (wait := tries.wait()) is None:
                    raise self._error(error) from None
                time.sleep(wait)

    async def _atry(
        self, ask: Callable[["redis.asyncio.Redis"], Any], retry_for: float | None
    ) -> Any:
        """`_try` for the running event loop."""
        tries = _Tries(self.retry_for if retry_for is None else retry_for)
        cancellations = Cancellations()
        while True:
            try:
                client = await self.async_client()
                if self._async_check.is_due():
                    await self.acheck_in_charge(client)
                answer = await ask(client)
                cancellations.check()
                return answer
            except CONNECTION_FAILURES as error:
                await self.arecover(error)
                cancellations.check()
                if (wait := tries.wait()) is None:
                    raise self._error(error) from None
                await asyncio.sleep(wait)

    def recover(self, error: BaseException) -> None:
        """Make another try possible after a connection failure, or a `LedgerUnavailable`.

        Raises `LedgerUnavailable` where none can help. Drops the connections of a server that is
        no longer, or not yet, in charge: behind one address, new ones may lead to another.
        """
        if self._is_elsewhere(error):
            with self._lock:
                clients = (self._sync, self._reader) if self._pid == os.getpid() else ()
            for client in clients:
                if client is not None:
                    # Those in use belong to other threads, which hear the same and do the same.
                    client.connection_pool.disconnect(inuse_connections=False)

    async def arecover(self, error: BaseException) -> None:
        """`recover` for the running event loop."""
        if self._is_elsewhere(error):
            for clients in (self._async, self._async_readers):
                await clients.drop_idle()

    def check_in_charge(self, client: "redis.Redis") -> None:
        """Raise one of `CONNECTION_FAILURES` where a replica answers.

        It answers reads, but may have been cut off from what is written elsewhere.
        """
        with contextlib.suppress(NoPermissionError):
            _refuse_replica(client.info("replication"))

    async def acheck_in_charge(self, client: "redis.asyncio.Redis") -> None:
        """`check_in_charge` for the running event loop."""
        with contextlib.suppress(NoPermissionError):
            _refuse_replica(await client.info("replication"))

    def _is_elsewhere(self, error: BaseException) -> bool:
        if isinstance(error, LedgerUnavailable):
            if not error.retryable:
                raise error
            return False
        refusal = refusal_of(error)
        if not refusal.passes:
            raise self._refused(refusal) from None
        return refusal.reconnects

    def _values(self, commands: Sequence[Command[Any]], replies: Sequence[Any]) -> list[Any]:
        return [
            self._error(reply) if isinstance(reply, RedisError) else _parsed(command, reply)
            for command, reply in zip(commands, replies, strict=True)
        ]

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        await self._async.aclose()
        await self._async_readers.aclose()

    def close(self) -> None:
        """Close the connections that threads used."""
        with self._lock:
            clients = (self._sync, self._reader) if self._pid == os.getpid() else ()
            self._sync = self._reader = None
        for client in clients:
            if client is not None:
                client.close()

    def _forget_after_fork(self) -> None:
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._sync = self._reader = None
            self._make_async_clients()

    def _make_async_clients(self) -> None:
        self._async = AsyncClients(self.url, SOCKET_TIMEOUT)
        self._async_readers = AsyncClients(self.url, READ_TIMEOUT)

    def _error(self, error: BaseException) -> LedgerUnavailable:
        refusal = refusal_of(error)
        if not refusal.passes:
            return self._refused(refusal)
        where = f"Redis at {safe_url(self.url)}"
        if refusal.word:
            how = f"{where} says not now ({refusal.text}): {refusal.meaning}."
        else:
            how = f"{where} could not be reached ({refusal.text})."
        return LedgerUnavailable(
            f"{how} Whether the last write happened is not known; the call may be repeated with "
            "the same run id."
        )

    def _refused(self, refusal: Refusal) -> LedgerUnavailable:
        return LedgerUnavailable(
            f"Redis at {safe_url(self.url)} refused ({refusal.text}). {refusal.meaning}",
            retryable=False,
        )


class _Tries:
    """When to ask again: after 50 ms, then twice as long each time, at most a second."""

    def __init__(self, retry_for: float) -> None:
        self._gives_up_at = time.monotonic() + retry_for
        self._wait = 0.05

    def wait(self) -> float | None:
        """Seconds to wait before the next try; None where there is none."""
        wait = self._wait * random.uniform(0.8, 1.2)
        self._wait = min(self._wait * 2, 1.0)
        return None if time.monotonic() + wait > self._gives_up_at else wait


class _Check:
    """When to ask again whether the server is in charge: one that was demoted answers reads."""

    def __init__(self) -> None:
        self._again_at = time.monotonic() + CHECKED_FOR

    def is_due(self) -> bool:
        """Whether it is time; who is told so asks."""
        now = time.monotonic()
        if now < self._again_at:
            return False
        self._again_at = now + CHECKED_FOR
        return True


class Cancellations:
    """Notices that the running task was cancelled while it awaited redis-py, which hid it.

    redis-py sends with `asyncio.wait_for`, which before Python 3.12 returns what is awaited if that
    is done by the time of the cancellation: a loop would go on for ever.
    """

    def __init__(self) -> None:
        self._task = asyncio.current_task()
        self._before = self._asked()

    def check(self) -> None:
        """Raise the `asyncio.CancelledError` that was hidden."""
        if self._asked() > self._before:
            raise asyncio.CancelledError

    def _asked(self) -> int:
        return 0 if self._task is None else self._task.cancelling()


def _refuse_replica(info: Mapping[str, Any]) -> None:
    """Raise for what a replica says of itself in its INFO about replication."""
    if info.get("role") == "slave":
        raise ReadOnlyError("A replica answered.")


def _evaluate(client: "redis.Redis", command: Command[Any]) -> Any:
    args = (*command.keys, *command.args)
    try:
        return client.evalsha(command.script.sha, len(command.keys), *args)
    except NoScriptError:
        return client.eval(command.script.source, len(command.keys), *args)


async def _aevaluate(client: "redis.asyncio.Redis", command: Command[Any]) -> Any:
    args = (*command.keys, *command.args)
    try:
        return await client.evalsha(command.script.sha, len(command.keys), *args)
    except NoScriptError:
        return await client.eval(command.script.source, len(command.keys), *args)


def _pipeline(client: "redis.Redis", commands: Sequence[Command[Any]]) -> list[Any]:
    def ask() -> list[Any]:
        with client.pipeline(transaction=False) as pipeline:
            for each in commands:
                pipeline.evalsha(each.script.sha, len(each.keys), *each.keys, *each.args)
            return pipeline.execute(raise_on_error=False)

    replies = ask()
    if any(isinstance(reply, NoScriptError) for reply in replies):
        for script in {each.script for each in commands}:
            client.script_load(script.source)
        replies = ask()
    return replies


async def _apipeline(client: "redis.asyncio.Redis", commands: Sequence[Command[Any]]) -> list[Any]:
    async def ask() -> list[Any]:
        async with client.pipeline(transaction=False) as made:
            # Its methods queue; the annotations say that they are to be awaited.
            pipeline: Any = made
            for each in commands:
                pipeline.evalsha(each.script.sha, len(each.keys), *each.keys, *each.args)
            queued: list[Any] = await pipeline.execute(raise_on_error=False)
            return queued

    replies = await ask()
    if any(isinstance(reply, NoScriptError) for reply in replies):
        for script in {each.script for each in commands}:
            await client.script_load(script.source)
        replies = await ask()
    return replies


def _parsed(command: Command[Any], reply: Any) -> Any:
    try:
        return command.parse(reply)
    except Exception as error:  # noqa: BLE001 - one command's refusal must not hide the others
        return error


def _raise_if_not_now(replies: list[Any]) -> list[Any]:
    """Raise what is worth another try: the scripts may be sent again, all of them."""
    for reply in replies:
        if isinstance(reply, RedisError) and refusal_of(reply).passes:
            raise reply
    return replies


def _elsewhere(replies: Sequence[Any]) -> RedisError | None:
    """The reply of a server that is no longer, or not yet, in charge."""
    for reply in replies:
        if isinstance(reply, RedisError) and refusal_of(reply).reconnects:
            return reply
    return None


def _payloads(found: Sequence[Any]) -> list[bytes]:
    return [bytes(payload) if payload else b"" for payload in found]
