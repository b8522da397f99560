"""Every route in one table: what serves it, and what the OpenAPI document says of it."""

import re
from collections.abc import Mapping, Sequence
from urllib.parse import unquote

from evented_agent.web.console.face import CONSOLE
from evented_agent.web.exchange import PlainReply, object_reply
from evented_agent.web.faces.ai_sdk.face import AI_SDK
from evented_agent.web.faces.face import Face
from evented_agent.web.faces.mcp.face import MCP
from evented_agent.web.faces.openai.face import OPENAI
from evented_agent.web.failures import HttpFailure
from evented_agent.web.route import Route
from evented_agent.web.routes import change, conversations, look, messages, start, stream
from evented_agent.web.segments import id_in

_TEXT = {"type": "string"}
_FLAG = {"type": "string", "enum": ["true", "false"]}
_COUNT = {"type": "integer", "minimum": 1, "maximum": 200}
_TIME = {"type": "string", "format": "date-time"}
_STATUS = {
    "type": "string",
    "enum": ["queued", "running", "suspended", "finished", "failed", "aborted"],
}
_RESOURCE = {"resource_id": _TEXT}
_CALL = {"tool_call_id": _TEXT, "number": {"type": "integer", "minimum": 1}}
_CURSOR = {"type": "string", "pattern": "^[0-9]{1,19}(-[0-9]{1,19})?$"}
_PLACE = {"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,128}:[0-9]{1,19}(-[0-9]{1,19})?$"}
_MAY = {"may": {"type": "string", "enum": ["read", "act"]}}
_FOLLOW = {"after": _CURSOR, "close_on_suspend": _FLAG}
_FOLLOW_THREAD = {"after": _PLACE, "agent": _TEXT, **_RESOURCE}
_INPUT = {"anyOf": [_TEXT, {"type": "array", "items": {"type": "object"}, "minItems": 1}]}
_BOOLEAN = {"type": "boolean"}
_MESSAGE = {
    "input": _INPUT,
    "message_id": {"type": "string", "minLength": 1, "maxLength": 256},
    **dict.fromkeys(("interrupt", "hold", "decline"), _BOOLEAN),
}
_START = {
    "agent": _TEXT,
    "input": _INPUT,
    "run_id": {"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,128}$"},
    "thread_id": {"type": "string", "minLength": 1, "maxLength": 256},
    "resource_id": {"type": "string", "minLength": 1, "maxLength": 256},
    "when_busy": {"type": "string", "enum": ["queue", "reject", "interrupt", "steer", "parallel"]},
    "when_waiting": {"type": "string", "enum": ["steer", "parallel", "queue"]},
    "until_idle": {"type": ["boolean", "number"]},
    "deadline": {"type": "number", "exclusiveMinimum": 0},
    "metadata": {"type": "object"},
}
_RUN = "/runs/{run_id}"
_THREAD = "/threads/{thread_id}"

#: The native routes.
ROUTES: Sequence[Route] = (
    Route("POST", "/runs", start.post_run, (202, 409, 429), body=_START, needs=["input"]),
    Route(
        "GET",
        "/runs",
        look.get_runs,
        query={
            "status": _STATUS,
            "agent": _TEXT,
            "thread_id": _TEXT,
            "since": _TIME,
            "limit": _COUNT,
            "page": _TEXT,
            **_RESOURCE,
        },
    ),
    Route("GET", _RUN, look.get_run, (200, 410)),
    Route("DELETE", _RUN, change.remove_run, (204, 410)),
    Route("GET", f"{_RUN}/result", look.get_result, (200, 410)),
    Route("GET", f"{_RUN}/stream", stream.get_stream, (200, 204, 410, 429), query=_FOLLOW),
    Route("HEAD", f"{_RUN}/stream", stream.get_stream, (200, 204, 410, 429), query=_FOLLOW),
    Route("POST", f"{_RUN}/token", stream.post_token, (201, 410), body=_MAY),
    Route(
        "POST",
        f"{_RUN}/approve",
        change.post_approve,
        (200, 409, 410, 422),
        body={**_CALL, "arguments": {"type": "object"}},
    ),
    Route(
        "POST",
        f"{_RUN}/decline",
        change.post_decline,
        (200, 409, 410, 422),
        body={**_CALL, "reason": _TEXT},
    ),
    Route(
        "POST",
        f"{_RUN}/resume",
        change.post_resume,
        (200, 409, 410, 422),
        body={**_CALL, "data": {}},
        needs=["data"],
    ),
    Route(
        "POST",
        f"{_RUN}/messages",
        messages.post_message,
        (202, 409, 410, 429),
        body=_MESSAGE,
        needs=["input"],
    ),
    Route("POST", f"{_RUN}/abort", change.post_abort, (202, 410), body={"reason": _TEXT}),
    Route("POST", f"{_RUN}/retry", change.post_retry, (202, 409, 410), body={}),
    Route("GET", f"{_RUN}/background", look.get_background, (200, 410)),
    Route("GET", f"{_RUN}/attempts", look.get_attempts, (200, 410)),
    Route(
        "POST",
        f"{_RUN}/background/{{call_id}}/cancel",
        change.post_cancel,
        (200, 410),
        body={"reason": _TEXT},
    ),
    Route(
        "GET",
        "/cost",
        look.get_cost,
        query={
            "agent": _TEXT,
            "thread_id": _TEXT,
            "since": _TIME,
            "limit": _COUNT,
            "page": _TEXT,
            **_RESOURCE,
        },
    ),
    Route(
        "GET",
        "/pending",
        look.get_pending,
        query={"agent": _TEXT, "thread_id": _TEXT, "since": _TIME, "limit": _COUNT, **_RESOURCE},
    ),
    Route(
        "GET",
        "/threads",
        conversations.get_threads,
        query={"since": _TIME, "limit": _COUNT, "page": _TEXT, **_RESOURCE},
    ),
    Route("GET", _THREAD, conversations.get_thread, query={"without_messages": _FLAG, **_RESOURCE}),
    Route(
        "PATCH",
        _THREAD,
        conversations.patch_thread,
        (204,),
        query=_RESOURCE,
        body={"title": {"type": ["string", "null"], "maxLength": 200}},
        needs=["title"],
    ),
    Route("DELETE", _THREAD, conversations.remove_thread, (204,), query=_RESOURCE),
    Route(
        "POST",
        f"{_THREAD}/messages",
        messages.post_thread_message,
        (202, 409, 429),
        query=_RESOURCE,
        body={**_MESSAGE, "agent": _TEXT},
        needs=["input"],
    ),
    Route("GET", f"{_THREAD}/stream", stream.get_thread_stream, (200, 429), query=_FOLLOW_THREAD),
    Route("HEAD", f"{_THREAD}/stream", stream.get_thread_stream, (200, 429), query=_FOLLOW_THREAD),
    Route("POST", f"{_THREAD}/token", stream.post_thread_token, (201,), _RESOURCE, body=_MAY),
    Route("GET", "/workers", look.get_workers),
    Route("GET", "/metrics", look.get_metrics, media_type="text/plain"),
    Route("GET", "/metrics.json", look.get_metrics_json),
    Route("GET", "/health", look.get_health, is_open=True),
    Route("GET", "/ready", look.get_ready, is_open=True),
)

#: The protocols of clients that exist; the console's is that of browsers.
FACES: Sequence[Face] = (AI_SDK, OPENAI, MCP, CONSOLE)


def _pattern(path: str) -> re.Pattern[str]:
    # The ids of a child's calls have a slash, which some proxies and servers decode.
    path = path.replace("{call_id}", "(?P<call_id>.+)")
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path) + r"\Z")


_ALL = (*ROUTES, *(route for face in FACES for route in face.routes))
_PATTERNS = [(_pattern(route.path), route) for route in _ALL]


def _value(path: str, name: str, segment: str) -> str:
    """What a placeholder stands for; no run's own id begins with the mark of `segment_of`."""
    is_marked = name == "run_id" or path.startswith(f"{CONSOLE.prefix}/")
    return id_in(segment) if is_marked else unquote(segment)


def match_routes(path: str) -> tuple[Mapping[str, str], Mapping[str, Route]]:
    """What the placeholders of an encoded *path* stand for, and its routes by method."""
    values: Mapping[str, str] = {}
    routes: dict[str, Route] = {}
    for pattern, route in _PATTERNS:
        if (found := pattern.match(path)) is not None:
            values = {name: _value(path, name, found[name]) for name in found.groupdict()}
            routes[route.method] = route
    return values, routes


def failure_reply(path: str, failure: HttpFailure) -> PlainReply:
    """How a failure is told to the clients of *path*."""
    for face in FACES:
        if path == face.prefix or path.startswith(f"{face.prefix}/"):
            return face.failure(failure)
    return object_reply(failure.json(), failure.status, failure.headers)
