"""Where a request comes from: the host it was sent to, and the page that sent it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.requests import Request

from evented_agent.web.failures import HttpFailure

_SAFE = ("GET", "HEAD", "OPTIONS")
_LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")
_PORTS = {"http": "80", "https": "443"}
_ALLOWED_HEADERS = "authorization, content-type, idempotency-key, last-event-id"
_EXPOSED_HEADERS = (
    "location, content-location, retry-after, x-run-id, "
    "x-workflow-run-id, x-workflow-stream-tail-index"
)
#: Names of headers, as a browser asks for them.
_NAMES = re.compile(r"[A-Za-z0-9_-]+(, ?[A-Za-z0-9_-]+){0,99}")


@dataclass(frozen=True, slots=True)
class Origins:
    """Which hosts this is served as, and which pages of other origins may use it.

    Attributes:
        hosts: Names in ``Host`` that are served, ``*.`` in front for all below; None for any.
        pages: Origins, such as ``https://shop.example``, whose pages may use it from a browser.
    """

    hosts: Sequence[str] | None
    pages: Sequence[str]

    def check(self, request: Request) -> None:
        """Refuse another host, and a change that a page of another origin asks for.

        A browser sends cookies whoever asks, so a change with cookies must say where it comes from.
        """
        if not self._is_host_known(request):
            raise HttpFailure(400, "invalid_host", "This host is not served here.")
        if request.method not in _SAFE and not self._is_from_here(request):
            raise HttpFailure(
                403, "foreign_origin", "Pages of another origin may not change anything here."
            )

    def cors(self, request: Request) -> Mapping[str, str]:
        """The headers by which the browser lets a page of another origin read the answer."""
        origin = request.headers.get("origin")
        if not self.pages:
            return {}
        if origin is None or origin not in self.pages:
            return {"vary": "Origin"}
        return {
            "vary": "Origin",
            "access-control-allow-origin": origin,
            "access-control-allow-credentials": "true",
            "access-control-expose-headers": _EXPOSED_HEADERS,
        }

    def preflight(self, request: Request, methods: Sequence[str]) -> Mapping[str, str]:
        """What a page of another origin may ask for; nothing for one that is not allowed."""
        allowed = self.cors(request)
        if "access-control-allow-origin" not in allowed:
            return allowed
        # Official clients send many headers of their own; a page that is allowed may send any.
        asked = request.headers.get("access-control-request-headers", "")
        return {
            **allowed,
            "access-control-allow-methods": ", ".join(methods),
            "access-control-allow-headers": asked if _NAMES.fullmatch(asked) else _ALLOWED_HEADERS,
            "access-control-max-age": "600",
        }

    def _is_host_known(self, request: Request) -> bool:
        if self.hosts is None:
            return True
        host = _hostname(request.headers.get("host", ""))
        return any(
            host == each or (each.startswith("*.") and host.endswith(each[1:]))
            for each in self.hosts
        )

    def _is_from_here(self, request: Request) -> bool:
        origin = request.headers.get("origin")
        if origin is not None:
            return origin in self.pages or _is_same(origin, request.headers.get("host", ""))
        site = request.headers.get("sec-fetch-site")
        if site is not None:
            return site in ("same-origin", "none")
        # No browser of these days; an old one sends cookies without saying who asks.
        return "cookie" not in request.headers or "authorization" in request.headers


def is_loopback(request: Request) -> bool:
    """Whether a request comes from this machine, and was sent to it by that name."""
    host = _hostname(request.headers.get("host", ""))
    return host in _LOOPBACK and (request.client is None or request.client.host in _LOOPBACK)


def _is_same(origin: str, host: str) -> bool:
    """Whether a page's origin is the host that the request was sent to, whatever the scheme.

    A proxy in front may speak https where this server speaks http.
    """
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    if parts.scheme not in _PORTS or not parts.netloc:
        return False
    port = _PORTS[parts.scheme]
    return parts.netloc.removesuffix(f":{port}").lower() == host.removesuffix(f":{port}").lower()


def _hostname(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0].lower() + "]"
    return host.partition(":")[0].lower()
