"""An agent whose code logs, sets variables, and asks other agents."""

import contextvars
import logging

from evented_agent import Agent, RunEvent, ToolContext, tool
from evented_agent.testing import ScriptedModel
from tests.support.agents import each_tool, tell
from tests.support.deployment import mark

log = logging.getLogger("shop")
seen: contextvars.ContextVar[str] = contextvars.ContextVar("seen", default="nothing")


@tool
def price(ctx: ToolContext, of: str) -> str:
    """Say what something costs."""
    log.info("looking up %s", of)
    found, _ = seen.get(), seen.set(f"price of {of}")
    return found


@tool
async def stock(ctx: ToolContext, of: str) -> str:
    """Say how many there are."""
    log.info("counting %s", of)
    found, _ = seen.get(), seen.set(f"stock of {of}")
    return found


@tool
def ask_other(question: str) -> str:
    """Ask another agent."""
    from tests.engines.shop_app import evented

    return evented["hello"].generate(question, timeout=30).text


def on_finish(event: RunEvent) -> None:
    log.info("telling the shop")
    mark("hook", seen.get())


async def on_step(event: RunEvent) -> None:
    mark("step", seen.get())
    seen.set("a hook")


clerk = Agent(
    id="clerk",
    model=ScriptedModel([each_tool, tell]),
    tools=[price, stock, ask_other],
    on_finish=on_finish,
    on_step=on_step,
)
