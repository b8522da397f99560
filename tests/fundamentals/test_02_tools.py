"""Tools are functions that the model may call; each call is a checkpoint."""

from evented_agent import Agent, ToolContext, tool
from evented_agent.testing import ScriptedModel, tool_call
from tests.fundamentals.conftest import Serve, repeat


@tool
def order_status(order_id: int) -> str:
    """Look up the status of an order."""
    return f"Order {order_id} was shipped."


@tool(retries=1)
def unsteady(ctx: ToolContext) -> str:
    """Work at the second try."""
    if ctx.attempt == 1:
        raise OSError("the line is busy")
    return f"connected in attempt {ctx.attempt}"


def make(id_: str, called: str, **arguments: object) -> Agent:
    """An agent that calls one tool, then repeats what it was told."""
    model = ScriptedModel([[tool_call(called, **arguments)], repeat])
    return Agent(id=id_, model=model, tools=[order_status, unsteady])


def test_the_model_calls_a_function_and_is_told_its_result(serve: Serve) -> None:
    """The signature of a function is its schema, and its result is the model's next message."""
    agent = make("status", "order_status", order_id=7)

    assert serve(agent).generate("Where is order 7?").answer == "Order 7 was shipped."


def test_wrong_arguments_are_an_error_that_the_model_can_mend(serve: Serve) -> None:
    """A call that does not fit the signature never runs: the model is told what is wrong."""
    agent = make("mistaken", "order_status", order_id="seven")

    assert "order_id" in serve(agent).generate("Where is it?").answer


def test_a_tool_is_tried_again(serve: Serve) -> None:
    """A tool says how often it may be tried again; `ctx.attempt` counts."""
    assert serve(make("patient", "unsteady")).generate("Call.").answer == "connected in attempt 2"
