"""The redis-py clients that the ledger uses: without retries of their own."""

import asyncio
import threading
import weakref
from collections.abc import AsyncGenerator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

#: Seconds for one round trip; a server that is slower counts as unreachable.
SOCKET_TIMEOUT = 5.0
CONNECT_TIMEOUT = 1.0
#: A blocking read waits at most `BLOCK_MS`; a reply that is much later means a dead peer.
BLOCK_MS = 5_000
READ_TIMEOUT = 10.0


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


class AsyncClients:
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

    async def drop_idle(self) -> None:
        """Close the connections that nobody uses at the moment."""
        with self._lock:
            held = self._held.get(asyncio.get_running_loop())
        if held is not None:
            await held.client.connection_pool.disconnect(inuse_connections=False)

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


def _keepalive(url: str) -> dict[str, Any]:
    # Connections to a unix socket do not know the option.
    return {} if url.startswith("unix:") else {"socket_keepalive": True}
