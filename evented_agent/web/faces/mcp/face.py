"""The route of MCP: authorised as all others, then answered by the official server."""

import asyncio
import importlib
import importlib.util

from starlette.types import Receive, Scope, Send

from evented_agent.web.access import nobody
from evented_agent.web.exchange import AsgiReply, Exchange, PlainReply, object_reply
from evented_agent.web.faces.face import Face
from evented_agent.web.failures import HttpFailure
from evented_agent.web.principal import Action
from evented_agent.web.route import Route
from evented_agent.web.site import Consult, Site, WebSteps

MCP_PATH = "/mcp"
#: What imports the SDK.
_ENDPOINT = "evented_agent.web.faces.mcp.endpoint"


def post_mcp(site: Site, exchange: Exchange) -> WebSteps[AsgiReply]:
    """Answer a message of a client of MCP."""
    # Each tool asks for what it does; here only whether somebody asks at all.
    if (yield Consult(exchange, Action("list"))) is None:
        raise nobody()
    if importlib.util.find_spec("mcp") is None:
        raise HttpFailure(501, "not_installed", "The server lacks the extra: evented-agent[mcp].")

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        # A second, the first time.
        endpoint = await asyncio.to_thread(importlib.import_module, _ENDPOINT)
        await endpoint.serve_mcp(site, scope, receive, send)

    return AsgiReply(serve, exchange.body)


def _failure(failure: HttpFailure) -> PlainReply:
    return object_reply(failure.json(), failure.status, failure.headers)


MCP = Face(MCP_PATH, (Route("POST", MCP_PATH, post_mcp),), _failure)
