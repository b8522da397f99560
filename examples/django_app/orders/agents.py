"""The agent; Celery's autodiscovery imports this module in workers, views import it in the web."""

import os

from shop.celery import app

from evented_agent import Agent, ToolContext, create_evented_agent, tool
from orders.models import Order


@tool
def order_details(ctx: ToolContext) -> dict[str, str | int]:
    """Look the customer's order up."""
    # A def tool runs in Celery's thread, where Django's connections are opened and closed.
    order = Order.objects.get(pk=ctx.context["order"])
    return {"number": order.pk, "item": order.item, "quantity": order.quantity}


clerk = Agent(
    id="clerk",
    instructions="Write the customer a short confirmation of the order. Look it up first.",
    model=os.environ.get("MODEL", "openai/gpt-5.5"),
    tools=[order_details],
)
evented = create_evented_agent(clerk, app=app)
