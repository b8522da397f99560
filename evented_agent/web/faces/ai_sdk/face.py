"""The face of the AI SDK: its routes, and how it tells failures."""

from collections.abc import Sequence

from evented_agent.web.exchange import PlainReply
from evented_agent.web.faces.ai_sdk.routes import get_ui_stream, post_ui_messages, post_ui_stop
from evented_agent.web.faces.face import Face
from evented_agent.web.failures import HttpFailure
from evented_agent.web.route import Route

_ROUTES: Sequence[Route] = (
    Route("POST", "/ai/{agent}", post_ui_messages, (200, 409, 422, 429)),
    Route("GET", "/ai/{agent}/{reply}/stream", get_ui_stream, (200, 204, 410, 429)),
    Route("POST", "/ai/{agent}/{reply}/stop", post_ui_stop, (202,)),
)


def _failure(failure: HttpFailure) -> PlainReply:
    """A sentence: the client makes an error of whatever the body is."""
    headers = {"content-type": "text/plain; charset=utf-8", "cache-control": "no-store"}
    return PlainReply(failure.status, failure.message.encode(), {**headers, **failure.headers})


#: What `useChat` and the transports of the AI SDK speak.
AI_SDK = Face("/ai", _ROUTES, _failure)
