"""Agents that take their worker down, or hold it still."""

import ctypes
import os
import signal
import time

from evented_agent import Agent, ToolContext, tool
from evented_agent.models.protocol import ModelRequest
from evented_agent.testing import ScriptedModel
from tests.support.agents import SHARED, each_tool, tell
from tests.support.deployment import make_app, mark, serve


@tool
def die(ctx: ToolContext) -> None:
    """Take the worker's process down, each time."""
    mark("die", str(ctx.attempt))
    os._exit(1)


@tool
async def hang(ctx: ToolContext, seconds: float) -> str:
    """Block the event loop."""
    mark("hang", str(ctx.attempt))
    # What holds the loop is what is tested.
    time.sleep(seconds)
    return f"hung in attempt {ctx.attempt}"


def _hold_gil(seconds: float) -> None:
    """Sleep in C code that keeps the GIL, as a careless extension does."""
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))


@tool
def hold(ctx: ToolContext, seconds: float) -> str:
    """Hold the GIL, at the first time."""
    mark("hold", str(ctx.attempt))
    if ctx.attempt == 1:
        _hold_gil(seconds)
    return f"held in attempt {ctx.attempt}"


@tool(isolate=True)
def hold_apart(ctx: ToolContext, seconds: float) -> str:
    """Hold the GIL of a process of its own."""
    _hold_gil(seconds)
    return f"held apart in attempt {ctx.attempt}"


@tool(isolate=True)
def die_apart() -> None:
    """Take down a process of its own."""
    os.kill(os.getpid(), signal.SIGKILL)


@tool
def hog() -> int:
    """Ask for more memory than there is."""
    return len(bytearray(1 << 50))


def _kill(_: ModelRequest) -> str:
    mark("deadly", "called")
    os._exit(1)


AGENTS = (
    Agent(id="deadly", model=ScriptedModel([_kill])),
    Agent(
        id="poisonous",
        model=ScriptedModel([each_tool, tell]),
        tools=[die, hang, hold, hold_apart, die_apart, hog],
    ),
)
app = make_app("tests.durability.poison_app")
evented = serve(app, *SHARED, *AGENTS)
