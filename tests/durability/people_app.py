"""An agent whose calls wait for people, but not for ever."""

import asyncio

from evented_agent import Agent, ToolContext, tool
from evented_agent.testing import ScriptedModel
from tests.support.agents import SHARED, each_tool, tell
from tests.support.deployment import make_app, mark, serve


@tool(requires_approval=True, expiry=1)
def hurried(what: str) -> str:
    """Be declined, unless somebody agrees at once."""
    mark("hurried", what)
    return what


@tool(requires_approval=True, expiry=1, on_expiry="fail")
def urgent(what: str) -> str:
    """Be the end of the run, unless somebody agrees at once."""
    mark("hurried", what)
    return what


@tool(on_crash="ask")
async def transfer(ctx: ToolContext, seconds: float) -> str:
    """Nobody knows what an interrupted transfer has done."""
    mark("transfer", f"{ctx.idempotency_key} {ctx.attempt}")
    await asyncio.sleep(seconds)
    return f"transferred in attempt {ctx.attempt}"


clerk = Agent(
    id="clerk",
    model=ScriptedModel([each_tool, tell]),
    tools=[hurried, urgent, transfer],
)
app = make_app("tests.durability.people_app")
evented = serve(app, *SHARED, clerk)
