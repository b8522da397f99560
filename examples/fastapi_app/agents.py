"""The agent and the Celery app that runs it; the web process and the workers import both."""

import os
import time

from celery import Celery

from evented_agent import Agent, Background, create_evented_agent, tool

app = Celery("fastapi_app", broker=os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"))


@tool(requires_approval=True)
def refund(order: str = "your last order") -> str:
    """Pay an order back, once somebody has agreed.

    Args:
        order: The number of the order.
    """
    return f"{order} is paid back"


@tool(background=Background())
def sales_report() -> str:
    """Add up what was sold this year; takes a while, and the conversation goes on."""
    time.sleep(float(os.environ.get("REPORT_SECONDS", "5")))
    return "1,204 teapots"


assistant = Agent(
    id="assistant",
    instructions="You answer customers of a tea shop, in a few sentences.",
    model=os.environ.get("MODEL", "openai/gpt-5.5"),
    tools=[refund, sales_report],
)
create_evented_agent(assistant, app=app)
