"""The agent and the Celery app that runs it; the web process and the workers import both."""

import os
import time

from celery import Celery

from evented_agent import Agent, Background, ToolContext, create_evented_agent, tool

app = Celery("use_chat", broker=os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"))


@tool
def stock(tea: str = "Assam") -> str:
    """Say how much of a tea there is.

    Args:
        tea: Its name.
    """
    return f"{len(tea)} tins of {tea}"


@tool(requires_approval=True)
def refund(order: str = "your last order") -> str:
    """Pay an order back, once somebody has agreed.

    Args:
        order: The number of the order.
    """
    return f"{order} is paid back"


@tool
def delivery_address(ctx: ToolContext) -> str:
    """Ask the customer where an order is to be sent."""
    if ctx.resume_data is None:
        ctx.suspend({"question": "Where shall we send it?"})
    return f"The address is {ctx.resume_data}."


@tool(background=Background())
def harvest_report() -> str:
    """Add up this year's harvest; takes a while, and the conversation goes on."""
    time.sleep(float(os.environ.get("REPORT_SECONDS", "5")))
    return "1,204 chests"


assistant = Agent(
    id="assistant",
    instructions="You answer customers of a tea shop, in a few sentences.",
    model=os.environ.get("MODEL", "openai/gpt-5.5"),
    tools=[stock, refund, delivery_address, harvest_report],
)
create_evented_agent(assistant, app=app)
