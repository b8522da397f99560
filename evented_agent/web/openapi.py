"""The OpenAPI document, from the table of routes."""

from collections.abc import Mapping
from typing import Any

from evented_agent.web.route import Route
from evented_agent.web.table import ROUTES

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
        }
    },
}
_ANYWHERE = (400, 401, 403, 404, 408, 413, 431, 503)
_MEANINGS = {
    200: "OK",
    201: "Made",
    202: "Durably accepted; it goes on by itself",
    204: "Done; or, for a stream, there is nothing more to read",
    400: "Something in the request is wrong: the message says what",
    401: "Nobody is signed in, or the token is not valid any more",
    403: "Not allowed",
    404: "There is no such thing, or it is somebody else's",
    408: "The body took too long to arrive",
    409: "It does not fit what was asked or decided before",
    410: "It was there, and has been deleted or has expired",
    413: "Too large",
    422: "The decision does not fit what was asked",
    429: "Too many at a time; see Retry-After",
    431: "The headers are too large",
    503: "Redis is away; see Retry-After",
}


def openapi_document(prefix: str = "") -> dict[str, Any]:
    """The document; *prefix* is where the application is mounted."""
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "evented_agent", "version": "1"},
        "servers": [{"url": prefix or "/"}],
        "paths": paths,
        "components": {
            "schemas": {"Error": _ERROR},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    statuses = sorted({*route.answers, *(() if route.is_open else _ANYWHERE), 503})
    operation: dict[str, Any] = {
        "operationId": f"{'head_' * (route.method == 'HEAD')}{route.handler.__name__}",
        "summary": route.summary,
        "parameters": _parameters(route),
        "responses": {str(status): _response(route, status) for status in statuses},
        "security": [] if route.is_open else [{"bearer": []}],
    }
    if route.body is not None:
        operation["requestBody"] = {
            "required": bool(route.needs),
            "content": {"application/json": {"schema": _body(route)}},
        }
    return operation


def _parameters(route: Route) -> list[Mapping[str, Any]]:
    names = [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
    text = {"type": "string"}
    found: list[Mapping[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": text} for name in names
    ]
    found += [{"name": name, "in": "query", "schema": each} for name, each in route.query.items()]
    if "after" in route.query:
        found.append({"name": "last-event-id", "in": "header", "schema": route.query["after"]})
    if route.method == "POST" and "input" in (route.body or {}):
        key = {"type": "string", "minLength": 1, "maxLength": 255}
        found.append({"name": "idempotency-key", "in": "header", "schema": key})
    return found


def _body(route: Route) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": route.body or {},
        "additionalProperties": False,
    }
    return {**schema, "required": list(route.needs)} if route.needs else schema


def _response(route: Route, status: int) -> dict[str, Any]:
    response: dict[str, Any] = {"description": _MEANINGS[status]}
    if status == 204 or route.method == "HEAD":
        return response
    if status >= 400:
        schema: Mapping[str, Any] = {"$ref": "#/components/schemas/Error"}
        return {**response, "content": {"application/json": {"schema": schema}}}
    kind = "text/event-stream" if route.path.endswith("/stream") else route.media_type
    schema = {"type": "string"} if kind.startswith("text") else {"type": "object"}
    return {**response, "content": {kind: {"schema": schema}}}
