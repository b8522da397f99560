"""An agent whose runs are traced, in workers and in those who start and decide."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

from opentelemetry import trace

from evented_agent import Agent, ToolContext, tool
from evented_agent.models.messages import ToolCall
from evented_agent.models.protocol import ModelEvent, ModelRequest
from evented_agent.testing import Say, ScriptedModel
from tests.support.deployment import MARKS, make_app, mark, serve
from tests.support.traces import export_to_file

export_to_file("caller")
if "TEST_CELERY_SPANS" in os.environ:
    from opentelemetry.instrumentation.celery import CeleryInstrumentor

    instrumentor: Any = CeleryInstrumentor
    instrumentor().instrument()


@tool
def look_up(order: int) -> str:
    """Look an order up."""
    with trace.get_tracer("shop").start_as_current_span("SELECT orders"):
        return f"order {order}"


@tool(requires_approval=True)
def refund(order: int) -> str:
    """Refund an order."""
    return f"refunded {order}"


@tool
async def book_van(ctx: ToolContext, order: int) -> str:
    """Book a van; the first attempt takes for ever."""
    mark("book_van", f"attempt {ctx.attempt}")
    if ctx.attempt == 1 and ctx.context == "slow":
        await asyncio.sleep(60)
    return f"a van for order {order}"


#: Pieces of an answer after which it may be held.
HELD_AFTER = 5
STEPS: list[Any] = [
    Say(
        "Let me look, word by word, at what can be done about it.",
        calls=[
            ToolCall(id="look", name="look_up", arguments={"order": 7}),
            ToolCall(id="fetch", name="courier", arguments={"input": "Fetch order 7."}),
            ToolCall(id="pay", name="refund", arguments={"order": 7}),
        ],
    ),
    "Order 7 is refunded.",
]
BOOKED: list[Any] = [[ToolCall(id="van", name="book_van", arguments={"order": 7})], "It comes."]


class Held(ScriptedModel):
    """Stops in the middle of its answers for as long as a test holds it."""

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        said = 0
        async for event in super().stream(request):
            yield event
            said += 1
            while said == HELD_AFTER and (MARKS / "hold").exists():
                await asyncio.sleep(0.02)


courier = Agent(
    id="courier", description="Fetches orders.", model=ScriptedModel(BOOKED), tools=[book_van]
)
clerk = Agent(id="clerk", model=Held(STEPS), tools=[look_up, refund, courier.as_tool()])
app = make_app("tests.durability.traced_app")
evented = serve(app, clerk, courier)


def start(run_id: str, context: str) -> None:
    """What a web handler does: a span of its own, and a run in it."""
    with trace.get_tracer("web").start_as_current_span("POST /chat"):
        evented["clerk"].stream(
            "Refund order 7.", run_id=run_id, context=context, thread_id=f"t-{run_id}"
        )


def approve(run_id: str) -> None:
    """What another one does, later."""
    with trace.get_tracer("web").start_as_current_span("POST /approve"):
        evented["clerk"].approve(run_id, by="Ann")


if __name__ == "__main__":
    command: Any = {"start": start, "approve": approve}[sys.argv[1]]
    command(*sys.argv[2:])
