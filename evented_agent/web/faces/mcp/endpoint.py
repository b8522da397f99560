"""`POST /mcp`: the official server in front of the agents' tools, a request at a time.

Nothing is kept between two requests, so any process may answer any of them.
"""

import importlib.metadata
import logging
from typing import Any, cast

from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from evented_agent.web.faces.mcp.agent_tools import AgentTools
from evented_agent.web.site import Site

# It tells of each request that it starts and ends.
logging.getLogger("mcp.server.streamable_http_manager").setLevel(logging.WARNING)
#: Hosts and origins are checked before, as for all routes.
_CHECKED = TransportSecuritySettings(enable_dns_rebinding_protection=False)


async def serve_mcp(site: Site, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request of a client, of any revision of the protocol."""
    tools = AgentTools(site, lambda ctx: cast(Request, ctx.request))
    server: Any = tools.server(importlib.metadata.version("evented-agent"))
    manager = StreamableHTTPSessionManager(
        server,
        stateless=True,
        security_settings=_CHECKED,
        max_request_body_size=site.limits.body,
    )
    async with manager.run():
        await manager.handle_request(scope, receive, send)
