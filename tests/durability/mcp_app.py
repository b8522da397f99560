"""Agents with tools of an MCP server."""

from evented_agent import Agent
from evented_agent.models.protocol import ModelRequest
from evented_agent.testing import ScriptedModel
from tests.mcp.servers import shop
from tests.support.agents import SHARED, each_tool, tell
from tests.support.deployment import MARKS, make_app, serve


def names(request: ModelRequest) -> str:
    """Say which tools there are."""
    return " ".join(spec.name for spec in request.tools)


patient = {"slow_read": {"retries": 1}}
customer = Agent(id="customer", model=ScriptedModel([each_tool, tell]), tools=[shop(MARKS)])
retrying = Agent(
    id="retrying",
    model=ScriptedModel([each_tool, tell]),
    tools=[shop(MARKS, policies=patient)],
)
lister = Agent(id="lister", model=ScriptedModel([names]), tools=[shop(MARKS)])
app = make_app("tests.durability.mcp_app")
evented = serve(app, *SHARED, customer, retrying, lister)
