"""The connection of one process to one MCP server: opened at first use, and again after an end."""

import asyncio
import contextlib
import importlib.metadata
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import mcp_types
import pydantic
from mcp import Client, MCPError
from mcp.client import ClientRequestContext
from mcp.client.session import IncomingMessage

from evented_agent.agents.tools.mcp_server import MCPServer
from evented_agent.chunks.json_values import error_text
from evented_agent.errors import DeclarationError
from evented_agent.execution.mcp.cleaning import Cleaner, secrets_of
from evented_agent.execution.mcp.definitions import Definition, definitions_of, tool_digest
from evented_agent.execution.mcp.failures import (
    MCPServerUnavailable,
    MCPToolFailed,
    MCPToolRefused,
)
from evented_agent.execution.mcp.http import http_streams
from evented_agent.execution.mcp.questions import question_of
from evented_agent.execution.mcp.request import ToolRequest
from evented_agent.execution.mcp.results import value_of
from evented_agent.execution.mcp.stdio import stdio_streams

#: Seconds for which a list of tools counts as what the server offers now.
_FRESH = 30.0
#: Most pages, and tools, of such a list.
_MOST_PAGES, _MOST_LISTED = 50, 2_000
#: Most rounds in which a server wants to be asked again at once, and seconds before each.
_MOST_ROUNDS, _ROUND = 10, 0.2
#: How the SDK says that the server, or its session, is gone; servers use its codes for others.
_GONE = ("Connection closed", "Session terminated")
#: How it says that it cannot read an answer over HTTP; what follows is not for models.
_UNREADABLE = ("Failed to parse JSON response", "Failed to parse SSE message")
#: Those by which it refuses a call, which would be refused again.
_REFUSALS = (
    mcp_types.METHOD_NOT_FOUND,
    mcp_types.INVALID_PARAMS,
    mcp_types.INVALID_REQUEST,
    mcp_types.HEADER_MISMATCH,
    mcp_types.MISSING_REQUIRED_CLIENT_CAPABILITY,
    mcp_types.URL_ELICITATION_REQUIRED,
)
#: Most characters of an error's text.
_MOST_ERROR = 2_000


@dataclass(slots=True)
class _Session:
    """An open connection, and what is known through it."""

    secrets: set[str] = field(default_factory=set)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    has_ended: bool = False
    #: The tools in the protocol's form, by the server's names, as of when.
    listed: Mapping[str, dict[str, Any]] | None = None
    listed_at: float = 0.0
    #: Calls that run on it.
    calls: int = 0
    _client: Client | None = None

    @property
    def client(self) -> Client:
        assert self._client is not None
        return self._client

    def opened(self, client: Client) -> None:
        # Schemas for results may compute for long while nothing else of the process can run.
        vars(client.session)["validate_tool_result"] = _accept
        self._client = client

    async def hear(self, message: IncomingMessage) -> None:
        if isinstance(message, mcp_types.ToolListChangedNotification):
            self.listed = None

    @contextlib.contextmanager
    def calling(self) -> Iterator[None]:
        self.calls += 1
        try:
            yield
        finally:
            self.calls -= 1

    def end(self) -> None:
        self.has_ended = True
        self.stop.set()


class MCPConnection:
    """Connects to one server when it is needed, on one event loop."""

    def __init__(self, server: MCPServer) -> None:
        self._server = server
        self._session: _Session | None = None
        self._opening = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def definitions(self) -> list[Definition]:
        """What the server offers now, as far as the declaration allows it.

        Raises `MCPServerUnavailable`.
        """
        session, listed = await self._now(fresh=0)
        allowed = [tool for name, tool in listed.items() if self._server.offers(name)]
        return definitions_of(self._server.name, allowed, Cleaner(session.secrets))

    async def call(self, request: ToolRequest) -> Any:
        """Call a tool; returns its result as JSON data.

        Raises `MCPServerUnavailable`, `MCPToolFailed`, `MCPToolRefused`, and `PersonAsked` where
        the server asks a person.
        """
        session = await self._with(request)
        result = await self._answer(session, request)
        dumped = result.model_dump(mode="json", by_alias=True, exclude_none=True)
        cleaner = Cleaner(session.secrets)
        if isinstance(result, mcp_types.InputRequiredResult):
            requests = dumped.get("inputRequests") or {}
            raise question_of(self._server.name, requests, result.request_state, cleaner)
        return value_of(dumped, cleaner)

    async def close(self) -> None:
        """Close what is open, and wait until the server's program has ended."""
        if self._session is not None:
            self._session.end()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _with(self, request: ToolRequest) -> _Session:
        """An open session in which the tool still is what the run knows."""
        session, listed = await self._now(fresh=_FRESH)
        found = listed.get(request.tool)
        if found is None or tool_digest(found) != request.digest:
            became = "is no more" if found is None else "has changed"
            raise MCPToolRefused(
                f"The tool {became} on the MCP server {self._server.name!r} since this run began. "
                "It cannot be called in this run."
            )
        return session

    async def _now(self, *, fresh: float) -> tuple[_Session, Mapping[str, dict[str, Any]]]:
        """An open session, and what the server has, no older than *fresh* seconds."""
        session = await self._opened()
        try:
            return session, await self._listed(session, fresh=fresh)
        except MCPServerUnavailable:
            if not session.has_ended:
                raise
            # It may have been started anew since; nothing was called yet.
            session = await self._opened()
            return session, await self._listed(session, fresh=fresh)

    async def _answer(
        self, session: _Session, request: ToolRequest
    ) -> mcp_types.CallToolResult | mcp_types.InputRequiredResult:
        answers, state = _responses(request.answers), request.state
        about: Any = {"evented-agent/idempotency-key": request.key}
        for _ in range(_MOST_ROUNDS):
            with self._failures(session), session.calling():
                result = await session.client.session.call_tool(
                    request.tool,
                    dict(request.arguments),
                    input_responses=answers,
                    request_state=state,
                    meta=about,
                    allow_input_required=True,
                )
            if not isinstance(result, mcp_types.InputRequiredResult) or result.input_requests:
                return result
            # It only wants to be asked again.
            answers, state = None, result.request_state
            await asyncio.sleep(_ROUND)
        raise MCPToolRefused(f"The MCP server {self._server.name!r} gave no result in 10 rounds.")

    async def _listed(self, session: _Session, *, fresh: float) -> Mapping[str, dict[str, Any]]:
        if session.listed is not None and time.monotonic() - session.listed_at < fresh:
            return session.listed
        found: dict[str, dict[str, Any]] = {}
        cursor: str | None = None
        at = time.monotonic()
        with self._failures(session):
            async with self._in_time(session):
                for _ in range(_MOST_PAGES):
                    params = mcp_types.PaginatedRequestParams(cursor=cursor) if cursor else None
                    page = await session.client.session.list_tools(params=params)
                    for tool in page.tools:
                        dumped = tool.model_dump(mode="json", by_alias=True, exclude_none=True)
                        found[tool.name] = dumped
                    cursor = page.next_cursor
                    if not cursor or len(found) > _MOST_LISTED:
                        break
        session.listed, session.listed_at = found, at
        return found

    @contextlib.asynccontextmanager
    async def _in_time(self, session: _Session) -> AsyncIterator[None]:
        """Give up after the time to connect; calls under way, which may take long, go on."""
        try:
            async with asyncio.timeout(self._server.connect_timeout):
                yield
        except TimeoutError:
            if not session.calls:
                session.end()
            raise self._no_answer() from None

    def _no_answer(self) -> MCPServerUnavailable:
        why = f"it did not answer in {self._server.connect_timeout:g} s"
        return MCPServerUnavailable.because(self._server.name, why)

    @contextlib.contextmanager
    def _failures(self, session: _Session) -> Iterator[None]:
        """Turn what the SDK raises into our errors; nothing of it is passed on but checked text."""
        server = self._server.name
        try:
            yield
        except MCPServerUnavailable:
            raise
        except MCPError as error:
            text = Cleaner(session.secrets).text(error_text(error), _MOST_ERROR)
            if text in _GONE:
                session.end()
                raise MCPServerUnavailable.because(server, "the connection ended") from None
            if text.startswith(_UNREADABLE):
                raise self._strange() from None
            if error.code in _REFUSALS:
                raise MCPToolRefused(
                    f"The MCP server {server!r} refused the call: {text}"
                ) from None
            raise MCPToolFailed(f"The MCP server {server!r} failed: {text}") from None
        except pydantic.ValidationError:
            raise self._strange() from None
        except Exception as error:  # noqa: BLE001 - its text may hold what was sent
            session.end()
            raise MCPServerUnavailable.because(server, _why(error)) from None

    def _strange(self) -> MCPToolRefused:
        """A call was made: it must not be made again for what came back."""
        name = self._server.name
        return MCPToolRefused(f"The MCP server {name!r} gave an answer that is not the protocol's.")

    async def _opened(self) -> _Session:
        async with self._opening:
            if self._session is None or self._session.has_ended:
                self._session = await self._open()
            return self._session

    async def _open(self) -> _Session:
        session = _Session()
        is_open: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._hold(session, is_open))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            async with asyncio.timeout(self._server.connect_timeout):
                await is_open
        except TimeoutError:
            task.cancel()
            raise self._no_answer() from None
        except asyncio.CancelledError:
            task.cancel()
            raise
        except DeclarationError:
            raise
        except Exception as error:  # noqa: BLE001 - its text may hold what was sent
            raise MCPServerUnavailable.because(self._server.name, self._why_closed(error)) from None
        return session

    async def _hold(self, session: _Session, is_open: "asyncio.Future[None]") -> None:
        """Keep the connection open; it must be closed by the task that opened it."""
        try:
            async with self._connected(session) as client:
                session.opened(client)
                if not is_open.done():
                    is_open.set_result(None)
                await session.stop.wait()
        except Exception as error:  # noqa: BLE001 - passed on, or the end of what nobody needs
            if not is_open.done():
                is_open.set_exception(error)
        finally:
            session.end()

    @contextlib.asynccontextmanager
    async def _connected(self, session: _Session) -> AsyncIterator[Client]:
        streams: Any
        if self._server.command is not None:
            added = await asyncio.to_thread(self._server.environment)
            session.secrets.update(secrets_of(added))
            streams = stdio_streams(self._server, added, session.end)
        else:
            streams = http_streams(self._server, session.secrets)
        version = importlib.metadata.version("evented-agent")
        async with Client(
            streams,
            client_info=mcp_types.Implementation(name="evented-agent", version=version),
            elicitation_callback=_not_now,
            message_handler=session.hear,
            cache=None,
        ) as client:
            yield client

    def _why_closed(self, error: Exception) -> str:
        if self._server.command is not None and isinstance(_innermost(error), MCPError):
            return "its program ended before it answered. Does its command work in a shell"
        return _why(error)


def _why(error: BaseException) -> str:
    """What kind of error it is: its text may hold a URL, a header or an argument."""
    return type(_innermost(error)).__name__


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _responses(answers: Mapping[str, Any] | None) -> mcp_types.InputResponses | None:
    if answers is None:
        return None
    return {key: mcp_types.ElicitResult(**answer) for key, answer in answers.items()}


async def _accept(*_: object) -> None:
    """Results are checked by what they are, not by the server's own schema."""


async def _not_now(
    context: ClientRequestContext,  # noqa: ARG001
    params: mcp_types.ElicitRequestParams,  # noqa: ARG001
) -> mcp_types.ErrorData:
    """Before the revision 2026-07-28 a server asks while the call is open: nobody is there."""
    return mcp_types.ErrorData(
        code=mcp_types.INVALID_REQUEST, message="Nobody can be asked while a call is open."
    )
