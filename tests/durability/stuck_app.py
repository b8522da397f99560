"""An agent whose tool runs past its timeout, for as long as a test likes."""

import time

from evented_agent import Agent, ToolContext, tool
from evented_agent.testing import ScriptedModel
from tests.support.agents import SHARED, each_tool, tell
from tests.support.deployment import MARKS, make_app, mark, serve


@tool(timeout=0.3)
def hang(ctx: ToolContext, name: str) -> str:
    """Hold the thread until a file tells it to go on."""
    mark("hang", ctx.run_id)
    while not (MARKS / f"go-{name}").exists():
        # A thread that nothing can end, until the test lets it go.
        time.sleep(0.02)
    return "late"


stuck = Agent(id="stuck", model=ScriptedModel([each_tool, tell]), tools=[hang])
app = make_app("tests.durability.stuck_app")
evented = serve(app, *SHARED, stuck)
