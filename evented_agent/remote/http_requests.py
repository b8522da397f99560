"""Requests to the HTTP API as values, how they are sent, and what their failures mean here."""

import asyncio
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import quote

import pydantic_core

from evented_agent.chunks.json_values import NotJson, as_json
from evented_agent.client.deployment import refuse_on_loop
from evented_agent.errors import (
    AccessDenied,
    ChildRun,
    ConfigurationError,
    DeclarationError,
    EventedAgentError,
    InboxFull,
    InvalidDecision,
    LedgerUnavailable,
    LimitReached,
    NotFailed,
    NotSuspended,
    RunConflict,
    RunDeleted,
    RunEnded,
    RunError,
    RunExpired,
    RunNotFound,
    SuspensionExpired,
    ThreadBusy,
)

if TYPE_CHECKING:
    import httpx

_T = TypeVar("_T")

#: Levels of a request around a value in it: the body, the list of messages, a message, a call.
_AROUND = 5
#: Seconds between two tries of a request.
_PAUSE = 0.2
#: Statuses of servers and proxies that will answer soon.
AWAY = (502, 503, 504)

_RUN_ERRORS: Mapping[str, type[RunError]] = {
    "run_conflict": RunConflict,
    "thread_busy": ThreadBusy,
    "not_suspended": NotSuspended,
    "not_failed": NotFailed,
    "suspension_expired": SuspensionExpired,
    "invalid_decision": InvalidDecision,
    "inbox_full": InboxFull,
}


def _child_run(run_id: str) -> ChildRun:
    return ChildRun(run_id, run_id.partition("~")[0])


_FIXED_ERRORS: Mapping[str, Callable[[str], RunError]] = {
    "run_not_found": RunNotFound,
    "run_deleted": RunDeleted,
    "child_run": _child_run,
    "run_expired": RunExpired,
}


@dataclass(frozen=True, slots=True)
class Outgoing(Generic[_T]):
    """One request.

    Attributes:
        method: The HTTP method.
        path: Below the URL of the API.
        parse: Makes the result from the body.
        query: The query parameters; those that are None are left out.
        body: The JSON body.
        run_id: The run that it is about, for errors.
        headers: More headers.
        is_repeatable: Whether it may be sent again after a lost connection.
        failures: What to raise for codes of its own.
    """

    method: str
    path: str
    parse: Callable[[bytes], _T]
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    run_id: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    is_repeatable: bool = True
    failures: Mapping[str, Callable[[], Exception]] = field(default_factory=dict)


def quoted_id(id_: str) -> str:
    """An id as a segment of a path; its dots encoded where it would be taken for a step."""
    segment = quote(id_, safe="")
    return segment.replace(".", "%2E") if segment in (".", "..") else segment


def nothing_in(_: bytes) -> None:
    """What a request has for its result whose status says it all."""


class HttpSender:
    """Sends requests from a thread, or from an event loop; connects at first use."""

    def __init__(
        self,
        url: str,
        *,
        token: str | Callable[[], str] | None,
        timeout: float,
        retry_for: float,
        allow_blocking: bool,
    ) -> None:
        self._httpx = _import_httpx()
        self.url: str = url.rstrip("/")
        self._token = token
        self._timeout = timeout
        self._retry_for = retry_for
        self._allow_blocking = allow_blocking
        self._client: httpx.Client | None = None
        self._clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = (
            weakref.WeakKeyDictionary()
        )

    def send(self, verb: str, request: Outgoing[_T]) -> _T:
        refuse_on_loop(verb, f"a{verb}", allowed=self._allow_blocking)
        ends = time.monotonic() + self._retry_for
        while True:
            try:
                reply = self.client().request(**self._arguments(request))
            except self._httpx.TransportError as error:
                self._check_again(request, ends, error)
            else:
                if self._is_answer(request, reply, ends):
                    return _result(request, reply)
            time.sleep(_PAUSE)

    async def asend(self, request: Outgoing[_T]) -> _T:
        ends = time.monotonic() + self._retry_for
        while True:
            try:
                reply = await self.aclient().request(**self._arguments(request))
            except self._httpx.TransportError as error:
                self._check_again(request, ends, error)
            else:
                if self._is_answer(request, reply, ends):
                    return _result(request, reply)
            await asyncio.sleep(_PAUSE)

    def client(self) -> "httpx.Client":
        if self._client is None:
            # A stream holds a connection for as long as it lasts.
            limits = self._httpx.Limits(max_connections=None)
            self._client = self._httpx.Client(timeout=self._timeout, limits=limits)
        return self._client

    def aclient(self) -> "httpx.AsyncClient":
        loop = asyncio.get_running_loop()
        found = self._clients.get(loop)
        if found is None:
            limits = self._httpx.Limits(max_connections=None)
            found = self._httpx.AsyncClient(timeout=self._timeout, limits=limits)
            self._clients[loop] = found
        return found

    def stream_arguments(self, path: str, query: Mapping[str, Any], wait: float) -> dict[str, Any]:
        """What httpx needs to open a stream; *wait* is how long it may be silent."""
        return {
            "method": "GET",
            "url": f"{self.url}{path}",
            "params": query,
            "headers": {**self._headers(), "accept": "text/event-stream"},
            "timeout": self._httpx.Timeout(self._timeout, read=wait),
        }

    @property
    def lost(self) -> type[Exception]:
        """What is raised where a connection broke, or is silent."""
        found: type[Exception] = self._httpx.TransportError
        return found

    def unavailable(self, why: object) -> LedgerUnavailable:
        return LedgerUnavailable(
            f"{self.url} could not be reached ({why!r}). What was asked for may have been done; "
            "ask again later."
        )

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    async def aclose(self) -> None:
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()

    def _arguments(self, request: Outgoing[Any]) -> dict[str, Any]:
        return {
            "method": request.method,
            "url": f"{self.url}{request.path}",
            "params": {name: each for name, each in request.query.items() if each is not None},
            "json": None if request.body is None else _plain(request.body),
            "headers": {**self._headers(), **request.headers},
        }

    def _headers(self) -> dict[str, str]:
        token = self._token() if callable(self._token) else self._token
        return {} if token is None else {"authorization": f"Bearer {token}"}

    def _is_answer(self, request: Outgoing[Any], reply: "httpx.Response", ends: float) -> bool:
        """Whether to take a reply; False to ask again, which what is not repeatable never is."""
        if reply.status_code not in AWAY:
            return True
        if not request.is_repeatable:
            raise self.unavailable(f"HTTP {reply.status_code}")
        return time.monotonic() > ends

    def _check_again(self, request: Outgoing[Any], ends: float, error: Exception) -> None:
        never_sent = isinstance(error, self._httpx.ConnectError)
        if time.monotonic() > ends or not (request.is_repeatable or never_sent):
            raise self.unavailable(error) from None


def _plain(body: Mapping[str, Any]) -> Any:
    """A body as JSON, made as `Runs` makes it of what is stored; the server looks at the rest."""
    try:
        return as_json(body, wrapped=_AROUND)
    except NotJson as error:
        raise DeclarationError(f"This cannot be sent as JSON: {error}.") from error.__cause__


def failure_in(status: int, body: bytes, headers: Mapping[str, str], run_id: str) -> Exception:
    """The exception that a refusal of the server means."""
    code, message = _code_and_message(body, status)
    if code in _FIXED_ERRORS:
        return _FIXED_ERRORS[code](run_id)
    if code == "run_ended":
        return RunEnded(run_id, message)
    if code in _RUN_ERRORS:
        found = _RUN_ERRORS[code].__new__(_RUN_ERRORS[code])
        RunError.__init__(found, run_id, message)
        return found
    return _by_status(status, code, message, headers)


def _by_status(status: int, code: str, message: str, headers: Mapping[str, str]) -> Exception:
    said = f"The server answered HTTP {status}: {message}"
    if status == 429:
        after = headers.get("retry-after", "")
        return LimitReached(message, retry_after=float(after) if after.isdecimal() else None)
    if status >= 500:
        return LedgerUnavailable(said)
    if code == "invalid_cursor":
        return EventedAgentError(message)
    if status in (401, 403):
        return AccessDenied(said)
    is_declared = status in (400, 413, 422) or code == "unknown_agent"
    return DeclarationError(message) if is_declared else EventedAgentError(said)


def _result(request: Outgoing[_T], reply: "httpx.Response") -> _T:
    if not reply.is_success:
        code, _ = _code_and_message(reply.content, reply.status_code)
        if (failure := request.failures.get(code)) is not None:
            raise failure()
        raise failure_in(reply.status_code, reply.content, reply.headers, request.run_id)
    try:
        return request.parse(reply.content)
    except (ValueError, TypeError, KeyError) as error:
        what = reply.headers.get("content-type") or "no content type"
        raise no_answer(reply.status_code, what) from error


def no_answer(status: int, what: str) -> EventedAgentError:
    """The error for a success that is none of this API's: the page of a proxy, for example."""
    return EventedAgentError(
        f"The server answered HTTP {status} with {what}, which is no answer of this API. Check the "
        "URL, and what stands in front of the server."
    )


def _code_and_message(body: bytes, status: int) -> tuple[str, str]:
    try:
        error = pydantic_core.from_json(body)["error"]
        return str(error["code"]), str(error["message"])
    except (ValueError, TypeError, KeyError):
        # A proxy, or something else altogether.
        return "", f"no answer of this API (HTTP {status})"


def _import_httpx() -> Any:
    try:
        import httpx
    except ImportError:
        raise ConfigurationError(
            'HttpRuns needs httpx. Run: pip install "evented-agent[http]"'
        ) from None
    return httpx
