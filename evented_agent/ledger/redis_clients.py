"""The redis-py clients that the ledger uses: without retries of their own, one for each master.

Which of them has a key is known here: the only server, the master that Sentinels name, or a
master of a cluster.
"""

import asyncio
import contextlib
import threading
import weakref
from collections.abc import AsyncGenerator, Mapping
from typing import Any, NamedTuple

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import MasterNotFoundError as AsyncMasterNotFoundError
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.asyncio.sentinel import SentinelConnectionPool as AsyncSentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ClusterDownError, NoPermissionError, ReadOnlyError, RedisError
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool

from evented_agent.ledger.address import Node, RedisAddress
from evented_agent.ledger.slots import SlotMap

#: Seconds for one round trip; a server that is slower counts as unreachable.
SOCKET_TIMEOUT = 5.0
CONNECT_TIMEOUT = 1.0
#: A blocking read waits at most `BLOCK_MS`; a reply that is much later means a dead peer.
BLOCK_MS = 5_000
READ_TIMEOUT = 10.0
#: Connections that a pool may have; never reached.
MOST_OF_A_POOL = 1_000


def sync_client(address: RedisAddress, node: Node | None, timeout: float) -> "redis.Redis":
    """A client that neither retries nor hides a lost connection; *node* is one of a cluster."""
    options = {**_options(address, timeout), "retry": Retry(NoBackoff(), 0)}
    if address.kind == "sentinel":
        make: Any = Sentinel
        asked = {**_sentinel_options(address), "retry": Retry(NoBackoff(), 0)}
        sentinel = make(address.nodes, address.least_sentinels, sentinel_kwargs=asked)
        master: redis.Redis = sentinel.master_for(address.master, **options)
        return master
    return redis.Redis(**_place(address, node), **options)


def async_client(address: RedisAddress, node: Node | None, timeout: float) -> "redis.asyncio.Redis":
    """The same for the event loop that first uses it."""
    options = {**_options(address, timeout), "retry": AsyncRetry(NoBackoff(), 0)}
    if address.kind == "sentinel":
        make: Any = AsyncSentinel
        asked = {**_sentinel_options(address), "retry": AsyncRetry(NoBackoff(), 0)}
        sentinel = make(address.nodes, address.least_sentinels, sentinel_kwargs=asked)
        master: redis.asyncio.Redis = sentinel.master_for(address.master, **options)
        return master
    return redis.asyncio.Redis(**_place(address, node), **options)


def about(client: "redis.Redis") -> Mapping[str, Any] | None:
    """What a server says of itself; None where this user may not ask."""
    try:
        return client.info()
    except NoPermissionError:
        return None


def refuse_replica(client: "redis.Redis") -> None:
    """Raise `ReadOnlyError` where a replica answers.

    Drops the idle connections where Sentinels name another master by now.
    """
    if isinstance(client.connection_pool, SentinelConnectionPool):
        pool: Any = client.connection_pool
        with contextlib.suppress(MasterNotFoundError):
            pool.get_master_address()
    with contextlib.suppress(NoPermissionError):
        _check_role(client.info("replication"))


async def arefuse_replica(client: "redis.asyncio.Redis") -> None:
    """`refuse_replica` for the running event loop."""
    if isinstance(client.connection_pool, AsyncSentinelConnectionPool):
        pool: Any = client.connection_pool
        with contextlib.suppress(AsyncMasterNotFoundError):
            await pool.get_master_address()
    with contextlib.suppress(NoPermissionError):
        _check_role(await client.info("replication"))


class Clients:
    """The clients of all threads, each made at its first use."""

    def __init__(self, address: RedisAddress, slots: SlotMap, timeout: float) -> None:
        self._address = address
        self._slots = slots
        self._timeout = timeout
        self._lock = threading.Lock()
        self._looking = threading.Lock()
        self._held: dict[Node | None, redis.Redis] = {}

    def for_key(self, key: str) -> "redis.Redis":
        """The client of the master that has *key*."""
        if self._address.kind != "cluster":
            return self.at(None)
        self._look()
        return self.at(self._slots.owner(key))

    def masters(self) -> "list[tuple[Node | None, redis.Redis]]":
        """A client for each master."""
        if self._address.kind != "cluster":
            return [(None, self.at(None))]
        self._look()
        return [(node, self.at(node)) for node in self._slots.masters()]

    def at(self, node: Node | None) -> "redis.Redis":
        with self._lock:
            if node not in self._held:
                self._held[node] = sync_client(self._address, node, self._timeout)
            return self._held[node]

    def drop_idle(self) -> None:
        """Close the connections that nobody uses at the moment."""
        for client in self._all():
            # Those in use belong to other threads, which hear the same and do the same.
            client.connection_pool.disconnect(inuse_connections=False)

    def close(self) -> None:
        clients = self._all()
        with self._lock:
            self._held.clear()
        for client in clients:
            client.close()
            if isinstance(client.connection_pool, SentinelConnectionPool):
                # Whoever made the client is to close those that it asked.
                for asked in client.connection_pool.sentinel_manager.sentinels:
                    asked.close()

    def _all(self) -> "list[redis.Redis]":
        with self._lock:
            return list(self._held.values())

    def _look(self) -> None:
        """Ask who has which slot, once for all threads that want to know."""
        with self._looking:
            if not self._slots.is_stale:
                return
            failed: BaseException = ClusterDownError("CLUSTERDOWN No node is known")
            for node in self._slots.candidates():
                client: Any = sync_client(self._address, node, CONNECT_TIMEOUT)
                try:
                    self._slots.learn(client.execute_command("CLUSTER", "SLOTS"), node)
                except (RedisError, OSError) as error:
                    failed = error
                else:
                    return
                finally:
                    client.close()
            raise failed


class AsyncClients:
    """The clients of each event loop; they close with their loop, as `asyncio.run` ends one."""

    def __init__(self, address: RedisAddress, slots: SlotMap, timeout: float) -> None:
        self._address = address
        self._slots = slots
        self._timeout = timeout
        self._lock = threading.Lock()
        self._held: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Held]
        self._held = weakref.WeakKeyDictionary()

    async def for_key(self, key: str) -> "redis.asyncio.Redis":
        """The client of the master that has *key*."""
        if self._address.kind != "cluster":
            return await self.at(None)
        await self._look()
        return await self.at(self._slots.owner(key))

    async def at(self, node: Node | None) -> "redis.asyncio.Redis":
        held = await self._own()
        if node not in held.clients:
            held.clients[node] = async_client(self._address, node, self._timeout)
        return held.clients[node]

    async def drop_idle(self) -> None:
        """Close the connections that nobody uses at the moment."""
        for client in list((await self._own()).clients.values()):
            await client.connection_pool.disconnect(inuse_connections=False)

    async def aclose(self) -> None:
        with self._lock:
            held = self._held.pop(asyncio.get_running_loop(), None)
        if held is not None:
            await held.keeper.aclose()

    async def _own(self) -> "_Held":
        """What the running loop has."""
        loop = asyncio.get_running_loop()
        with self._lock:
            held = self._held.get(loop)
            if is_new := held is None:
                clients: dict[Node | None, redis.asyncio.Redis] = {}
                held = self._held[loop] = _Held(clients, _keep(clients), asyncio.Lock())
        if is_new:
            # Begun on this loop, the generator is closed by its `shutdown_asyncgens`.
            await anext(held.keeper)
        return held

    async def _look(self) -> None:
        """Ask who has which slot, once for all tasks of this loop that want to know."""
        if not self._slots.is_stale:
            return
        async with (await self._own()).looking:
            # Another task may have asked meanwhile.
            if self._slots.is_known:
                return
            failed: BaseException = ClusterDownError("CLUSTERDOWN No node is known")
            for node in self._slots.candidates():
                client: Any = async_client(self._address, node, CONNECT_TIMEOUT)
                try:
                    self._slots.learn(await client.execute_command("CLUSTER", "SLOTS"), node)
                except (RedisError, OSError) as error:
                    failed = error
                else:
                    return
                finally:
                    await client.aclose()
            raise failed


class _Held(NamedTuple):
    clients: "dict[Node | None, redis.asyncio.Redis]"
    keeper: AsyncGenerator[None, None]
    looking: asyncio.Lock


async def _keep(clients: "dict[Node | None, redis.asyncio.Redis]") -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        for client in list(clients.values()):
            await client.aclose()
            if isinstance(client.connection_pool, AsyncSentinelConnectionPool):
                for asked in client.connection_pool.sentinel_manager.sentinels:
                    await asked.aclose()


def _check_role(info: Mapping[str, Any]) -> None:
    if info.get("role") == "slave":
        raise ReadOnlyError("A replica answered.")


def _options(address: RedisAddress, timeout: float) -> dict[str, Any]:
    """What every connection gets; the URL may ask for longer timeouts, but for none never."""
    given = {name: value for name, value in address.options.items() if name != "path"}
    longer = given.pop("socket_timeout", None) or 0.0
    found = {
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "socket_keepalive": True,
        **given,
        # Bounded by whoever asks, who waits for a free one; redis-py's pool would refuse.
        "max_connections": MOST_OF_A_POOL,
        "socket_timeout": max(timeout, longer),
        "protocol": 2,
    }
    if address.kind == "cluster":
        found.pop("db", None)
    return found


def _sentinel_options(address: RedisAddress) -> dict[str, Any]:
    return {
        "socket_timeout": CONNECT_TIMEOUT,
        "socket_connect_timeout": CONNECT_TIMEOUT,
        **address.sentinel_options,
        "protocol": 2,
    }


def _place(address: RedisAddress, node: Node | None) -> dict[str, Any]:
    if path := address.options.get("path"):
        return {"unix_socket_path": path}
    host, port = node or address.nodes[0]
    return {"host": host, "port": port}
