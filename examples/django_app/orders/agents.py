"""The agent; Celery's autodiscovery imports this module in workers, views import it in the web."""

import os

from shop.celery import app

from evented_agent import Agent, ToolContext, create_evented_agent, tool
from orders.models import Order

# The number is the model's; whose order it may be comes from the sign-in. A def tool runs in
# Celery's thread, where Django's connections are opened and closed.


@tool
def order_details(ctx: ToolContext, order: int) -> dict[str, str | int]:
    """Look an order of the customer's up.

    Args:
        order: The number of the order.
    """
    found = Order.objects.get(pk=order, customer_id=ctx.resource_id)
    return {"number": found.pk, "item": found.item, "quantity": found.quantity}


@tool(requires_approval=True)
def refund(ctx: ToolContext, order: int) -> str:
    """Pay an order back, once somebody has agreed.

    Args:
        order: The number of the order.
    """
    orders = Order.objects.filter(pk=order, customer_id=ctx.resource_id)
    return "It is paid back." if orders.update(is_refunded=True) else "There is no such order."


assistant = Agent(
    id="assistant",
    instructions="You answer customers of a tea shop, in a few sentences.",
    model=os.environ.get("MODEL", "openai/gpt-5.5"),
    tools=[order_details, refund],
)
evented = create_evented_agent(assistant, app=app)
