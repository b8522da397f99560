"""The agent, on no Celery app yet: the factory makes one and registers it there."""

import os

from evented_agent import Agent, create_evented_agent, tool


@tool(requires_approval=True)
def refund(order: str) -> str:
    """Pay an order back, once somebody has agreed.

    Args:
        order: The number of the order.
    """
    return f"{order} is paid back"


assistant = Agent(
    id="assistant",
    instructions="You answer customers of a tea shop, in a few sentences.",
    model=os.environ.get("MODEL", "openai/gpt-5.5"),
    tools=[refund],
)
evented = create_evented_agent(assistant)
