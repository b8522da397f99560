"""Agents that call each other, as the plan that they are given says."""

import json
from typing import Any

from evented_agent import Agent, ToolContext, tool
from evented_agent.models.messages import ToolMessage, UserMessage
from evented_agent.models.protocol import ModelRequest
from evented_agent.testing import Say, ScriptedModel, tool_call
from tests.support.agents import SHARED
from tests.support.deployment import make_app, mark, serve


@tool
def look(ctx: ToolContext, at: str) -> str:
    """Look at something."""
    mark("look", f"{ctx.idempotency_key} {ctx.attempt}")
    return f"saw {at}"


@tool(requires_approval=True)
def erase(ctx: ToolContext, name: str) -> str:
    """Erase something, once somebody has agreed."""
    mark("erase", f"{ctx.idempotency_key} {ctx.attempt}")
    return f"erased {name}"


@tool(requires_approval=True, expiry=1.5, on_expiry="fail")
def sign(name: str) -> str:
    """Sign something at once, or the run fails."""
    return f"signed {name}"


def planned(request: ModelRequest) -> Any:
    """Make the calls of the plan, a JSON list of them; then say what they came to."""
    if isinstance(request.messages[-1], ToolMessage):
        results = [str(each.result) for each in request.messages if isinstance(each, ToolMessage)]
        return f"I have: {'; '.join(results)}."
    [asked] = [each for each in request.messages if isinstance(each, UserMessage)]
    calls = [tool_call(name, **arguments) for name, arguments in json.loads(str(asked.content))]
    return Say("Let me see.", calls)


_model = ScriptedModel([planned], pause=0.01)
scout = Agent(id="scout", description="Looks.", model=_model, tools=[look, erase])
lead = Agent(
    id="lead", description="Sends scouts.", model=_model, tools=[scout.as_tool(), look, erase]
)
boss = Agent(
    id="boss",
    model=_model,
    tools=[lead.as_tool(), scout.as_tool(), look, erase, sign],
    max_steps=8,
)
front = Agent(id="front", model=_model, handoffs=[scout])
AGENTS = (boss, lead, scout, front)
app = make_app("tests.durability.tree_app")
evented = serve(app, *SHARED, *AGENTS)
