"""The careful agent: a call that lasts, one that is tried again, one that fails, and hooks."""

import asyncio
import os
import time

from evented_agent import Agent, RunEvent, ToolContext, tool
from evented_agent.models.protocol import ModelRequest
from evented_agent.testing import Say, ScriptedModel, tool_call
from tests.support.agents import results_of
from tests.support.deployment import mark


@tool
async def look(ctx: ToolContext, place: str) -> str:
    """Look at a place for longer than two heartbeats take."""
    mark("careful", f"{ctx.idempotency_key} {ctx.attempt} {time.time()}")
    ctx.emit({"at": place})
    await asyncio.sleep(2.2)
    return f"There is nothing at {place}."


@tool(retries=1)
def knock(ctx: ToolContext) -> str:
    """Be heard at the second time only."""
    mark("careful", f"{ctx.idempotency_key} {ctx.attempt} {time.time()}")
    if ctx.attempt == 1:
        raise OSError("nobody heard it")
    return "somebody answered"


@tool
def fall(ctx: ToolContext) -> str:
    """Always fail."""
    mark("careful", f"{ctx.idempotency_key} {ctx.attempt} {time.time()}")
    raise RuntimeError("it fell")


def _explore(request: ModelRequest) -> Say:
    mark("careful-model", str(time.time()))
    calls = [tool_call("look", place="home"), tool_call("knock"), tool_call("fall")]
    return Say("I look around first.", calls)


def _note(event: RunEvent) -> None:
    mark("careful-hooks", event.key)
    mark("careful-tellers", f"{os.getpid()} {event.key}")


def make_careful(version: str = "") -> Agent:
    """The agent as one version of the code declares it."""

    def conclude(request: ModelRequest) -> Say:
        mark("careful-model", str(time.time()))
        told = " ".join(str(message.result) for message in results_of(request))
        return Say(f"That is all{version}: {told}")

    return Agent(
        id="careful",
        model=ScriptedModel([_explore, conclude], pause=0.03),
        tools=[look, knock, fall],
        on_start=_note,
        on_step=_note,
        on_finish=_note,
    )
