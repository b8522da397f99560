"""Agents whose tools run beside the chat."""

import asyncio
import time

from evented_agent import Agent, ToolContext, tool
from evented_agent.models.messages import SystemMessage
from evented_agent.models.protocol import ModelRequest
from evented_agent.testing import ScriptedModel
from tests.support.agents import SHARED, each_tool, results_of
from tests.support.deployment import make_app, mark, serve


@tool(background=True)
async def report(ctx: ToolContext, seconds: float) -> str:
    """Write a report beside the chat."""
    mark("report", str(ctx.attempt))
    await asyncio.sleep(seconds)
    return f"written in attempt {ctx.attempt}"


@tool(background=True)
def block_apart(ctx: ToolContext, seconds: float) -> str:
    """Work on in a thread, whatever becomes of the run."""
    mark("block_apart", "begun")
    # The tool is what takes its time; its tests wait for the marks.
    time.sleep(seconds)
    mark("block_apart", "ended")
    return "blocked"


@tool(background=True)
async def crowd(n: int) -> int:
    """Be one of many."""
    mark("crowd", f"in {n}")
    await asyncio.sleep(0.05)
    mark("crowd", f"out {n}")
    return n


def _chat(request: ModelRequest) -> str:
    if isinstance(request.messages[-1], SystemMessage):
        return f"The report: {results_of(request)[0].result}."
    return "It is being written."


AGENTS = (
    Agent(id="writer", model=ScriptedModel([each_tool, _chat]), tools=[report, block_apart]),
    Agent(
        id="crowd",
        model=ScriptedModel([each_tool, _chat]),
        tools=[crowd],
        background_concurrency=100,
    ),
)
app = make_app("tests.durability.background_app")
evented = serve(app, *SHARED, *AGENTS)
