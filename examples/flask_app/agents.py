"""The agent, on no Celery app yet: the factory makes one and registers it there."""

import os

from evented_agent import Agent, create_evented_agent

assistant = Agent(
    id="assistant",
    instructions="You answer customers of a tea shop, in a few sentences.",
    model=os.environ.get("MODEL", "openai/gpt-5.5"),
)
evented = create_evented_agent(assistant)
