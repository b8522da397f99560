"""Requests to a server with a URL: headers asked for anew, answers bounded, one host."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator

import httpx2
from mcp.client.streamable_http import streamable_http_client

from evented_agent.agents.tools.mcp_server import MCPServer
from evented_agent.execution.mcp.cleaning import secrets_of
from evented_agent.execution.mcp.stdio import MOST_MESSAGE

#: Values of headers that are kept, to be taken out of what the server says.
_MOST_SECRETS = 64


class _WithoutErrors(logging.Filter):
    """Takes the error out of a log record: its text shows a part of what could not be read."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.exc_info = None
        return True


# A part of a secret is not found by looking for the whole.
logging.getLogger("mcp.client.streamable_http").addFilter(_WithoutErrors())


class _Headers(httpx2.Auth):
    """Asks for the headers at each request: a token may have been renewed."""

    def __init__(self, server: MCPServer, secrets: set[str]) -> None:
        self._server = server
        self._secrets = secrets

    async def async_auth_flow(
        self, request: httpx2.Request
    ) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        headers = await asyncio.to_thread(self._server.headers)
        if len(self._secrets) > _MOST_SECRETS:
            # Those of tokens that were renewed long ago.
            self._secrets.clear()
        self._secrets.update(secrets_of(headers))
        request.headers.update(headers)
        yield request


class _Bounded(httpx2.AsyncBaseTransport):
    """Cuts off an answer that is larger than a message may be."""

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._inner.handle_async_request(request)
        is_stream = "text/event-stream" in response.headers.get("content-type", "")
        # A stream of events has no end; each of its events is bounded by the SDK.
        if not is_stream:
            response.stream = _BoundedStream(response.stream)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class _BoundedStream(httpx2.AsyncByteStream):
    def __init__(self, inner: object) -> None:
        assert isinstance(inner, httpx2.AsyncByteStream)
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = MOST_MESSAGE
        async for piece in self._inner:
            left -= len(piece)
            if left < 0:
                raise httpx2.ReadError("The answer is too large.")
            yield piece

    async def aclose(self) -> None:
        await self._inner.aclose()


@contextlib.asynccontextmanager
async def http_streams(server: MCPServer, secrets: set[str]) -> AsyncIterator[object]:
    """Streams of messages to and from the server; what is sent as headers is put into *secrets*.

    Redirects within the server's origin are followed, by the SDK; none to another host is.
    """
    assert server.url is not None
    # How long an answer may take is for the policy of each tool.
    timeout = httpx2.Timeout(server.connect_timeout, read=None)
    transport = _Bounded(httpx2.AsyncHTTPTransport(limits=httpx2.Limits(max_connections=100)))
    async with (
        httpx2.AsyncClient(
            auth=_Headers(server, secrets),
            timeout=timeout,
            transport=transport,
            follow_redirects=False,
        ) as client,
        streamable_http_client(
            server.url, http_client=client, max_sse_event_size=MOST_MESSAGE
        ) as streams,
    ):
        yield streams
