"""The agent and the Celery app that runs it; the web process and the workers import both."""

import os

from celery import Celery

from evented_agent import Agent, create_evented_agent, tool

app = Celery("fastapi_app", broker=os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"))


@tool(timeout=10)
def opening_hours(day: str) -> str:
    """Tell when the shop is open.

    Args:
        day: A day of the week, in English.
    """
    return "closed" if day.lower() == "sunday" else "9:00 to 18:00"


assistant = Agent(
    id="assistant",
    instructions="You answer customers of a tea shop, in a few sentences.",
    model=os.environ.get("MODEL", "openai/gpt-5.5"),
    tools=[opening_hours],
)
evented = create_evented_agent(assistant, app=app)
