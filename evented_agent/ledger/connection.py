"""Sends calls to Redis, from threads and from event loops.  Knows no run, only scripts.

Scripts are idempotent, so a call whose reply was lost is sent again until *patience* (seconds) is
used up.  redis-py's own retries are off: they would hide a reconnect, and wait for minutes.
"""

import asyncio
import os
import random
import threading
import time
import weakref
from collections.abc import AsyncGenerator
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import (
    BusyLoadingError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.retry import Retry

from evented_agent.errors import LedgerUnavailable
from evented_agent.ledger.script import Command

_T = TypeVar("_T")

#: Seconds for one round trip; a server that is slower counts as unreachable.
SOCKET_TIMEOUT = 5.0
CONNECT_TIMEOUT = 1.0
#: A blocking read waits at most `BLOCK_MS`; a reply that is much later means a dead peer.
BLOCK_MS = 5_000
READ_TIMEOUT = 10.0

#: What a server says while it restarts, fails over or is out of memory: worth another try.
TRANSIENT = (
    redis.ConnectionError,
    redis.TimeoutError,
    BusyLoadingError,
    ReadOnlyError,
    TryAgainError,
    OutOfMemoryError,
    OSError,
)


def sync_client(url: str, *, timeout: float | None = SOCKET_TIMEOUT) -> "redis.Redis":
    """A client that neither retries nor hides a lost connection."""
    return redis.Redis.from_url(
        url,
        socket_timeout=timeout,
        socket_connect_timeout=CONNECT_TIMEOUT,
        **_keepalive(url),
        retry=Retry(NoBackoff(), 0),
        protocol=2,
    )


def async_client(url: str, *, timeout: float | None = SOCKET_TIMEOUT) -> "redis.asyncio.Redis":
    """The same for the event loop that first uses it."""
    return redis.asyncio.Redis.from_url(
        url,
        socket_timeout=timeout,
        socket_connect_timeout=CONNECT_TIMEOUT,
        **_keepalive(url),
        retry=AsyncRetry(NoBackoff(), 0),
        protocol=2,
    )


def safe_url(url: str) -> str:
    """*url* without its password, for messages."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{host}{port}{parts.path}"


class _Clients:
    """One client per event loop; it closes with its loop, as `asyncio.run` ends one."""

    def __init__(self, url: str, timeout: float) -> None:
        self._url = url
        self._timeout = timeout
        self._lock = threading.Lock()
        self._held: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Held]
        self._held = weakref.WeakKeyDictionary()

    async def get(self) -> "redis.asyncio.Redis":
        loop = asyncio.get_running_loop()
        with self._lock:
            held = self._held.get(loop)
            if held is None:
                client = async_client(self._url, timeout=self._timeout)
                self._held[loop] = _Held(client, _keep(client))
        if held is None:
            # Begun on this loop, the generator is closed by its `shutdown_asyncgens`.
            await anext(self._held[loop].keeper)
        return self._held[loop].client

    async def aclose(self) -> None:
        with self._lock:
            held = self._held.pop(asyncio.get_running_loop(), None)
        if held is not None:
            await held.keeper.aclose()


class _Held(NamedTuple):
    client: "redis.asyncio.Redis"
    keeper: AsyncGenerator[None, None]


async def _keep(client: "redis.asyncio.Redis") -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await client.aclose()


class Ledger:
    """Sends calls from any thread and, awaited, from any event loop of this process.

    Connections are made at first use and never shared with a forked child.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._lock = threading.Lock()
        self._pid = 0
        self._sync: redis.Redis | None = None
        self._reader: redis.Redis | None = None
        self._make_async_clients()

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

    def send(self, call: Command[_T], *, retry_for: float = 2.0) -> _T:
        """Send *call*; raises `LedgerUnavailable` when *patience* seconds brought no answer."""
        gives_up_at = time.monotonic() + retry_for
        for wait in _waits():
            client = self.client()
            try:
                return call.parse(self._evaluate(client, call))
            except TRANSIENT as error:
                if time.monotonic() + wait > gives_up_at:
                    raise self._unavailable(error) from None
                time.sleep(wait)
            except RedisError as error:
                raise self._refused(error) from None
        raise AssertionError("waits are endless")

    async def asend(self, call: Command[_T], *, retry_for: float = 2.0) -> _T:
        """`send` for the running event loop."""
        gives_up_at = time.monotonic() + retry_for
        for wait in _waits():
            client = await self.async_client()
            try:
                return call.parse(await self._aevaluate(client, call))
            except TRANSIENT as error:
                if time.monotonic() + wait > gives_up_at:
                    raise self._unavailable(error) from None
                await asyncio.sleep(wait)
            except RedisError as error:
                raise self._refused(error) from None
        raise AssertionError("waits are endless")

    async def afetch_blobs(self, key: str, names: list[str]) -> list[bytes]:
        """Fetch large payloads; they are written before whatever points to them."""
        for wait in _waits():
            try:
                client = await self.async_client()
                found: list[Any] = await client.hmget(key, names)
                return [bytes(payload) if payload else b"" for payload in found]
            except TRANSIENT as error:
                if wait > 0.5:
                    raise self._unavailable(error) from None
                await asyncio.sleep(wait)
        raise AssertionError("waits are endless")

    def fetch_blobs(self, key: str, names: list[str]) -> list[bytes]:
        """Fetch large payloads; they are written before whatever points to them."""
        try:
            found: list[Any] = self.client().hmget(key, names)
        except RedisError as error:
            raise self._unavailable(error) from None
        return [bytes(payload) if payload else b"" for payload in found]

    def send_all(self, calls: list[Command[Any]]) -> list[Any]:
        """Send many calls in one round trip, once; an answer may be an exception."""
        client = self.client()
        try:
            return self._pipeline(client, calls)
        except TRANSIENT as error:
            raise self._unavailable(error) from None

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
        self._async = _Clients(self.url, SOCKET_TIMEOUT)
        self._async_readers = _Clients(self.url, READ_TIMEOUT)

    @staticmethod
    def _evaluate(client: "redis.Redis", call: Command[Any]) -> Any:
        args = (*call.keys, *call.args)
        try:
            return client.evalsha(call.script.sha, len(call.keys), *args)
        except NoScriptError:
            return client.eval(call.script.source, len(call.keys), *args)

    @staticmethod
    async def _aevaluate(client: "redis.asyncio.Redis", call: Command[Any]) -> Any:
        args = (*call.keys, *call.args)
        try:
            return await client.evalsha(call.script.sha, len(call.keys), *args)
        except NoScriptError:
            return await client.eval(call.script.source, len(call.keys), *args)

    @staticmethod
    def _pipeline(client: "redis.Redis", calls: list[Command[Any]]) -> list[Any]:
        def ask() -> list[Any]:
            with client.pipeline(transaction=False) as pipeline:
                for call in calls:
                    pipeline.evalsha(call.script.sha, len(call.keys), *call.keys, *call.args)
                return pipeline.execute(raise_on_error=False)

        replies = ask()
        if any(isinstance(reply, NoScriptError) for reply in replies):
            for script in {call.script.sha: call.script for call in calls}.values():
                client.script_load(script.source)
            replies = ask()
        return [_parse(call, reply) for call, reply in zip(calls, replies, strict=True)]

    def _refused(self, error: RedisError) -> LedgerUnavailable:
        return LedgerUnavailable(
            f"Redis at {safe_url(self.url)} refused: {error}. Check the user's permissions and the "
            "server's log."
        )

    def _unavailable(self, error: BaseException) -> LedgerUnavailable:
        # An answer that says no (out of memory, a replica), or none at all.
        how = "refuses writes" if isinstance(error, ResponseError) else "could not be reached"
        return LedgerUnavailable(
            f"Redis at {safe_url(self.url)} {how} ({type(error).__name__}: {error}). Whether the "
            "last write happened is not known; the call may be repeated with the same run id."
        )


def _parse(call: Command[Any], reply: Any) -> Any:
    if isinstance(reply, RedisError):
        return reply
    try:
        return call.parse(reply)
    except Exception as error:  # noqa: BLE001 - one call's refusal must not hide the others
        return error


def _waits() -> Any:
    wait = 0.05
    while True:
        yield wait * random.uniform(0.8, 1.2)
        wait = min(wait * 2, 1.0)


def _keepalive(url: str) -> dict[str, Any]:
    # Connections to a unix socket do not know the option.
    return {} if url.startswith("unix:") else {"socket_keepalive": True}
