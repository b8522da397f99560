"""All connections of a process to MCP servers, on one event loop in a thread of their own.

What a server sends is read there, and not on the loop that renews leases.
"""

import asyncio
import atexit
import contextlib
import os
import threading
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

from evented_agent.agents.tools.mcp_server import MCPServer
from evented_agent.execution.event_loop import run_loop
from evented_agent.execution.mcp.connection import MCPConnection
from evented_agent.execution.mcp.definitions import Definition
from evented_agent.execution.mcp.request import ToolRequest

_T = TypeVar("_T")

#: Seconds that closing may take when the process ends; the guards do the rest.
_CLOSING = 5.0


class MCPHub:
    """The connections of one process, one for each server that was declared."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._connections: dict[MCPServer, MCPConnection] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=run_loop, args=(self._loop,), name="evented-agent-mcp", daemon=True
        )
        self._thread.start()

    async def definitions(self, server: MCPServer) -> list[Definition]:
        """What *server* offers; for any event loop."""
        return await self._on_loop(lambda: self._connection(server).definitions())

    async def call(self, server: MCPServer, request: ToolRequest) -> Any:
        """Call a tool of *server*; for any event loop."""
        return await self._on_loop(lambda: self._connection(server).call(request))

    def disconnect(self, servers: Iterable[MCPServer]) -> None:
        """End the connections to *servers*, and their programs; a later call connects anew."""
        closing = asyncio.run_coroutine_threadsafe(self._disconnect(servers), self._loop)
        with contextlib.suppress(TimeoutError):
            closing.result(_CLOSING)

    def close(self) -> None:
        """End all connections; not in a forked child."""
        if self.pid == os.getpid():
            self.disconnect(list(self._connections))
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_CLOSING)

    async def _disconnect(self, servers: Iterable[MCPServer]) -> None:
        found = [self._connections.pop(each, None) for each in servers]
        await asyncio.gather(*(each.close() for each in found if each is not None))

    async def _on_loop(self, make: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        async def made() -> _T:
            return await make()

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(made(), self._loop))

    def _connection(self, server: MCPServer) -> MCPConnection:
        return self._connections.setdefault(server, MCPConnection(server))


class _OfProcess:
    """The hub of this process; one that was forked with its parent is left alone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hub: MCPHub | None = None

    def get(self) -> MCPHub:
        with self._lock:
            if self._hub is None:
                self._hub = MCPHub()
                atexit.register(self._hub.close)
            return self._hub


_of_process = _OfProcess()
os.register_at_fork(after_in_child=_of_process.__init__)  # type: ignore[misc]


def mcp_hub() -> MCPHub:
    """The hub of this process, made at first use; a forked child makes its own."""
    return _of_process.get()
