"""Serves the web application on this machine to whoever has the address that was printed.

With the standard library's server: no other one has to be installed to look at runs. It needs the
extra ``web``, so it is imported where it is needed.
"""

import getpass
import hmac
import secrets
import socket
import threading
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from socketserver import ThreadingMixIn
from typing import Any, cast
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from starlette.requests import Request

from evented_agent.client.runs import Runs
from evented_agent.state.run_info import RunInfo
from evented_agent.web import Action, Authorize, Principal, create_wsgi_app
from evented_agent.web.failures import HttpFailure
from evented_agent.web.principal import ACTION_NAMES

_NAMES = ("127.0.0.1", "localhost", "[::1]")
_ENTER = "/console/enter"
_PAGE_HEADERS = [
    ("content-type", "text/html; charset=utf-8"),
    ("cache-control", "no-store"),
    ("referrer-policy", "no-referrer"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
]


class LocalSession:
    """One person's session: a token that works once, and the cookie that it is changed for."""

    def __init__(self) -> None:
        self.token = secrets.token_urlsafe(32)
        self._secret = secrets.token_urlsafe(32)
        self._is_used = False
        self._lock = threading.Lock()
        self._who = Principal(getpass.getuser(), all_resources=True, scopes=frozenset(ACTION_NAMES))

    def cookie(self, port: int) -> str:
        """The cookie; cookies do not tell ports apart, so its name does."""
        return f"{_name(port)}={self._secret}; Path=/; HttpOnly; SameSite=Strict"

    def take(self, token: str) -> bool:
        """Whether *token* is the one, and has not been used before."""
        with self._lock:
            is_right = hmac.compare_digest(token.encode(), self.token.encode())
            is_first, self._is_used = not self._is_used, self._is_used or is_right
            return is_right and is_first

    def authorize(self, request: Request, _: Action, __: RunInfo | None) -> Principal:
        """Whoever has the cookie may do anything.  Raises `HttpFailure` for all others."""
        server = request.scope.get("server") or ("", 0)
        given = request.cookies.get(_name(server[1]), "")
        if hmac.compare_digest(given.encode(), self._secret.encode()):
            return self._who
        raise HttpFailure(
            401, "unauthorized", "Open the address that `evented-agent console` has printed."
        )


class LocalSite:
    """The web application of some runs, on a port of this machine.

    Args:
        runs: The runs.
        host: The address to listen on.
        port: The port; 0 for any that is free.
        authorize: Says who asks; without, it is whoever has the `address`, which works once.
        flower_url: Where Flower is.
    """

    def __init__(
        self,
        runs: Runs,
        *,
        host: str = _NAMES[0],
        port: int = 0,
        authorize: Authorize | None = None,
        flower_url: str | None = None,
    ) -> None:
        self._session = LocalSession() if authorize is None else None
        self._app = create_wsgi_app(
            runs,
            authorize=authorize or cast(LocalSession, self._session).authorize,
            # A foreign name that leads here is a page of somebody else's.
            allowed_hosts=None if authorize else _NAMES,
            flower_url=flower_url,
        )
        kind = _ServerOfSix if ":" in host else _Server
        self._server = kind((host, port), _Handler)
        self._server.set_app(self._answer)
        shown = f"[{host}]" if ":" in host else host
        self._base = f"http://{shown}:{self._server.server_port}"

    @property
    def address(self) -> str:
        """Where it is opened, the token that works once included."""
        token = f"{_ENTER}?token={self._session.token}" if self._session else "/console"
        return f"{self._base}{token}"

    def serve(self) -> None:
        """Answer requests until interrupted, or until `close` is called from another thread."""
        with self._server:
            self._server.serve_forever(poll_interval=0.2)

    def close(self) -> None:
        self._server.shutdown()

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/" and environ["REQUEST_METHOD"] == "GET":
            start_response("303 See Other", [("location", "/console")])
            return []
        if path == _ENTER and self._session is not None:
            return self._enter(self._session, environ, start_response)
        return self._app(environ, start_response)

    def _enter(
        self, session: LocalSession, environ: dict[str, Any], start_response: Any
    ) -> Iterable[bytes]:
        given = parse_qs(environ.get("QUERY_STRING", "")).get("token", [""])[0]
        if _has_cookie(environ, session, self._server.server_port):
            start_response("303 See Other", [("location", "/console")])
            return []
        if environ["REQUEST_METHOD"] != "GET" or not session.take(given):
            start_response("403 Forbidden", list(_PAGE_HEADERS))
            return [_page("This address has been used, or is none of this console. Start another.")]
        # A page and no redirect: the browser takes the next request for one of its own page, and
        # sends the cookie, wherever the address was clicked.
        cookie = session.cookie(self._server.server_port)
        start_response("200 OK", [*_PAGE_HEADERS, ("set-cookie", cookie)])
        onward = '<meta http-equiv="refresh" content="0;url=/console">'
        return [_page('Welcome. <a href="/console">Open the console</a>', onward)]


class _Server(ThreadingMixIn, WSGIServer):
    """The standard library's server, a thread for each request."""

    daemon_threads = True
    # Streams last as long as their readers do.
    block_on_close = False
    request_queue_size = 64


class _ServerOfSix(_Server):
    """The same for an address of IPv6."""

    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    """One request."""

    #: Seconds that a reader may take nothing, and a request may take to arrive.
    timeout = 60

    def get_environ(self) -> dict[str, Any]:
        # A slash inside of an id is one only in the encoded form.
        return {**super().get_environ(), "RAW_URI": self.path}

    def address_string(self) -> str:
        return str(self.client_address[0])

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the first address holds a token."""


def _has_cookie(environ: dict[str, Any], session: LocalSession, port: int) -> bool:
    try:
        jar = SimpleCookie(environ.get("HTTP_COOKIE", ""))
    except CookieError:
        return False
    given = jar.get(_name(port))
    ours = session.cookie(port).partition(";")[0].partition("=")[2]
    return given is not None and hmac.compare_digest(given.value.encode(), ours.encode())


def _name(port: int) -> str:
    return f"evented_agent_console_{port}"


def _page(said: str, more: str = "") -> bytes:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Console</title>{more}'
        f"<p>{said}</p>"
    ).encode()
