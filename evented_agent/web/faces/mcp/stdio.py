"""The agents' tools over stdin and stdout, for the one program that started this process."""

import importlib.metadata

from mcp.server.stdio import stdio_server
from starlette.requests import Request

from evented_agent.client.runs import Runs
from evented_agent.web.faces.mcp.agent_tools import AgentTools
from evented_agent.web.limits import Limits, OpenStreams
from evented_agent.web.origins import Origins
from evented_agent.web.principal import Principal
from evented_agent.web.routes.start import CLIENT_OPTIONS
from evented_agent.web.site import Site
from evented_agent.web.tokens import StreamTokens


async def serve_stdio(runs: Runs, resource_id: str | None) -> None:
    """Serve until the input ends; what was started runs on.

    Whoever can start this process may do what it may: see the runs of *resource_id*, or of all.
    """
    who = Principal("mcp", resource_id, all_resources=resource_id is None)
    limits = Limits()
    site = Site(
        runs=runs,
        agent=None,
        authorize=lambda *_: who,
        origins=Origins(None, ()),
        tokens=StreamTokens(()),
        limits=limits,
        streams=OpenStreams(limits.streams),
        options=CLIENT_OPTIONS,
    )
    scope = {"type": "http", "method": "POST", "path": "/mcp", "query_string": b"", "headers": []}
    request = Request(scope)
    version = importlib.metadata.version("evented-agent")
    server = AgentTools(site, lambda _: request).server(version)
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())
    await runs.aclose()
