"""From a request to the handler that serves it: what ASGI and WSGI have in common."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.requests import Request

from evented_agent.web.exchange import Exchange, PlainReply, object_reply
from evented_agent.web.failures import HttpFailure
from evented_agent.web.openapi import openapi_document
from evented_agent.web.route import Route
from evented_agent.web.site import Site
from evented_agent.web.table import match_routes
from evented_agent.web.tokens import take_token

_EVERYWHERE = {"referrer-policy": "no-referrer", "x-content-type-options": "nosniff"}
_OPENAPI = "/openapi.json"

#: Headers of a stream: so that proxies neither hold it back nor keep it.
STREAM_HEADERS = {
    "content-type": "text/event-stream",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}

#: The first bytes of a stream, at once, so that whoever is in between passes the headers on.
OPENING = ": hb\n\n"


@dataclass(frozen=True, slots=True)
class Match:
    """The route of a request, with what its path says and the token that came with it."""

    route: Route
    path: Mapping[str, str]
    token: str | None

    def exchange(self, request: Request, body: bytes) -> Exchange:
        return Exchange(request, self.path, body, self.token, self.route.method == "HEAD")


def check_head(site: Site, request: Request) -> None:
    """Refuse what can be refused before the body is read.

    A stream token is taken out of the query string, so that access logs do not have it.
    """
    size = sum(len(name) + len(value) for name, value in request.scope["headers"])
    if size > site.limits.headers:
        raise HttpFailure(431, "headers_too_large", f"The headers have {size:,} bytes; send fewer.")
    length = request.headers.get("content-length", "0")
    if length.isascii() and length.isdigit() and int(length[:18]) > site.limits.body:
        raise too_large(site)
    site.origins.check(request)


def too_large(site: Site) -> HttpFailure:
    return HttpFailure(
        413, "too_large", f"The body has more than the {site.limits.body:,} bytes that are allowed."
    )


def matched(site: Site, request: Request, path: str) -> Match | PlainReply:
    """The route of a request, or the answer where no handler is needed.

    Raises `HttpFailure`.
    """
    token, request.scope["query_string"] = take_token(request.scope.get("query_string", b""))
    check_head(site, request)
    values, routes = match_routes(path)
    if path == _OPENAPI and request.method == "GET":
        return object_reply(openapi_document(request.scope.get("root_path", "")))
    if not routes:
        raise HttpFailure(404, "not_found", "There is nothing here; see /openapi.json.")
    if request.method == "OPTIONS":
        return _preflight(site, request, list(routes))
    route = routes.get(request.method)
    if route is None:
        allowed = ", ".join(sorted(routes))
        raise HttpFailure(405, "method_not_allowed", f"Use {allowed}.", {"allow": allowed})
    return Match(route, values, token)


def headers_for(site: Site, request: Request, own: Mapping[str, str]) -> list[tuple[str, str]]:
    """The headers of an answer, with those that every answer has."""
    return [*{**_EVERYWHERE, **site.origins.cors(request), **own}.items()]


def _preflight(site: Site, request: Request, methods: Sequence[str]) -> PlainReply:
    headers = site.origins.preflight(request, methods)
    return PlainReply(204, headers={"allow": ", ".join([*methods, "OPTIONS"]), **headers})
