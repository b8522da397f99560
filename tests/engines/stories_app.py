"""Agents of runs that have a story, each of one run that is told."""

import asyncio
from collections.abc import Sequence
from typing import Any

from evented_agent import Agent, Background, ToolContext, tool
from evented_agent.errors import ModelError
from evented_agent.testing import ScriptedModel, tool_call
from tests.support.deployment import MARKS, make_app, serve


@tool(retries=1)
def flaky(ctx: ToolContext) -> str:
    """Fail the first time."""
    if ctx.attempt == 1:
        raise OSError("no\nroute")
    return "through"


@tool(requires_approval=True)
def erase() -> str:
    """Erase something."""
    return "erased"


async def told_to_go_on(run_id: str) -> None:
    """Wait until there is a mark with the name of the run."""
    while not (MARKS / run_id).exists():
        # Between two looks; the run is aborted at the latest.
        await asyncio.sleep(0.01)


@tool(background=Background())
async def report(ctx: ToolContext) -> str:
    """Report, in the background."""
    await told_to_go_on(ctx.run_id)
    return "reported"


@tool
async def hold(ctx: ToolContext) -> str:
    """Hold the run up."""
    await told_to_go_on(ctx.run_id)
    return "held"


def scripted(id_: str, *answers: Any, tools: Sequence[Any] = ()) -> Agent:
    return Agent(
        id=id_, description="Helps.", model=ScriptedModel(list(answers)), tools=list(tools)
    )


helper = scripted("helper", [tool_call("flaky")], "Found.", tools=[flaky])

app = make_app("tests.engines.stories_app")
evented = serve(
    app,
    scripted("retried_tool", [tool_call("flaky")], "Done.", tools=[flaky]),
    scripted("declined", [tool_call("erase")], "Well.", tools=[erase]),
    scripted("aborted", [tool_call("hold")], tools=[hold]),
    scripted("steered", [tool_call("hold")], "Both.", tools=[hold]),
    scripted("with_background_calls", [tool_call("report")], "Later.", "Here.", tools=[report]),
    scripted("delegated", [tool_call("helper", input="Look.")], "Done.", tools=[helper.as_tool()]),
    scripted("failed_and_retried", ModelError("out of credit")),
)
