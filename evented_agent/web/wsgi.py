"""The WSGI application: the same routes, driven from the thread of each request."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote, unquote

from starlette.requests import Request

from evented_agent.client.run_stream import RunStream
from evented_agent.logs import logger_of
from evented_agent.web.exchange import (
    AsgiReply,
    EventReply,
    LateReply,
    PlainReply,
    StreamBroken,
    WebReply,
)
from evented_agent.web.failures import HttpFailure, failure_of
from evented_agent.web.serve import (
    OPENING,
    STREAM_HEADERS,
    headers_for,
    matched,
    too_large,
)
from evented_agent.web.site import Site, drive
from evented_agent.web.table import failure_reply

logger = logger_of(__name__)

_NEEDS_ASGI = HttpFailure(501, "needs_asgi", "This is served under ASGI alone: use create_app.")

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], object]


class WsgiApp:
    """Serves runs over HTTP under WSGI; each stream holds a thread.  Made by `create_wsgi_app`."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        request = Request(_scope_of(environ))
        try:
            reply = self._reply(request, environ)
            if isinstance(reply, LateReply):
                with self._site.streams.one_of(reply.counted_by, "answer"):
                    reply = reply.waiting.wait()
        except Exception as error:  # noqa: BLE001 - each has its status
            reply = failure_reply(_path_of(request), failure_of(error))
        if isinstance(reply, AsgiReply):
            reply = failure_reply(_path_of(request), _NEEDS_ASGI)
        if isinstance(reply, EventReply):
            return self._stream(request, reply, start_response)
        return self._whole(request, reply, start_response)

    def _reply(self, request: Request, environ: Environ) -> WebReply:
        match = matched(self._site, request, _path_of(request))
        environ["QUERY_STRING"] = request.scope["query_string"].decode("latin-1")
        if isinstance(match, PlainReply):
            return match
        exchange = match.exchange(request, self._body(environ))
        return cast(WebReply, drive(self._site, match.route.handler(self._site, exchange)))

    def _body(self, environ: Environ) -> bytes:
        length = environ.get("CONTENT_LENGTH") or "0"
        if not (length.isascii() and length.isdigit()):
            raise HttpFailure(400, "invalid_request", "Content-Length is no number.")
        if int(length) > self._site.limits.body:
            raise too_large(self._site)
        return cast(bytes, environ["wsgi.input"].read(int(length)))

    def _whole(
        self, request: Request, reply: PlainReply, start_response: StartResponse
    ) -> Iterable[bytes]:
        own = dict(reply.headers)
        if reply.status != 204 and request.method != "HEAD":
            own["content-length"] = str(len(reply.body))
        start_response(_status(reply.status), headers_for(self._site, request, own))
        return [] if request.method == "HEAD" else [reply.body]

    def _stream(
        self, request: Request, reply: EventReply, start_response: StartResponse
    ) -> Iterable[bytes]:
        stack = ExitStack()
        try:
            stack.enter_context(self._site.streams.one_of(reply.counted_by, reply.reading))
        except HttpFailure as failure:
            return self._whole(request, failure_reply(_path_of(request), failure), start_response)
        own = {**STREAM_HEADERS, **reply.headers}
        start_response(_status(200), headers_for(self._site, request, own))
        stack.callback(cast(RunStream, reply.run).close)
        return _Body(cast(Iterator[str], reply.events), stack)


class _Body:
    """What a server iterates, and closes when the reader has gone."""

    def __init__(self, events: Iterator[str], stack: ExitStack) -> None:
        self._events = events
        self._stack = stack

    def __iter__(self) -> Iterator[bytes]:
        yield OPENING.encode()
        try:
            for event in self._events:
                yield event.encode()
        except StreamBroken:
            raise
        except Exception:
            # A stream that broke off is told by its missing end; its reader asks again.
            logger.exception("A stream broke off")
            raise

    def close(self) -> None:
        self._stack.close()


def _scope_of(environ: Environ) -> dict[str, Any]:
    """The environ as an ASGI scope, so that `authorize` sees the same under both."""
    headers = [
        (name[5:].replace("_", "-").lower().encode(), value.encode("latin-1"))
        for name, value in environ.items()
        if name.startswith("HTTP_")
    ]
    headers += [
        (name.replace("_", "-").lower().encode(), environ[name].encode("latin-1"))
        for name in ("CONTENT_TYPE", "CONTENT_LENGTH")
        if environ.get(name)
    ]
    client = environ.get("REMOTE_ADDR")
    return {
        "type": "http",
        "method": environ["REQUEST_METHOD"],
        "path": environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace"),
        "root_path": environ.get("SCRIPT_NAME", ""),
        "query_string": environ.get("QUERY_STRING", "").encode("latin-1"),
        "headers": headers,
        "scheme": environ.get("wsgi.url_scheme", "http"),
        "server": (environ.get("SERVER_NAME", ""), int(environ.get("SERVER_PORT") or 0)),
        "client": (client, 0) if client else None,
        "wsgi.environ": environ,
    }


def _path_of(request: Request) -> str:
    """The path below where this is mounted, percent-encoded."""
    path, environ = str(request.scope["path"]), request.scope["wsgi.environ"]
    # A slash inside of an id is one only in the encoded form, which some servers pass on.
    raw = str(environ.get("RAW_URI") or environ.get("REQUEST_URI") or "").partition("?")[0]
    root = str(request.scope["root_path"])
    if raw.startswith("/") and unquote(raw) == f"{root}{path}":
        return "/" + "/".join(raw.split("/")[root.count("/") + 1 :])
    return quote(path)


def _status(number: int) -> str:
    return f"{number} {HTTPStatus(number).phrase}"
