"""A call may need somebody's approval: the run waits, and holds nothing while it does."""

from evented_agent import Agent, tool
from evented_agent.testing import ScriptedModel, tool_call
from tests.fundamentals.conftest import Serve, repeat

REFUNDED: list[int] = []


@tool(requires_approval=True)
def refund(order_id: int) -> str:
    """Pay the money back."""
    REFUNDED.append(order_id)
    return f"refunded {order_id}"


def make(id_: str) -> Agent:
    """An agent that asks for a refund of order 7, then repeats what it was told."""
    model = ScriptedModel([[tool_call("refund", order_id=7)], repeat])
    return Agent(id=id_, model=model, tools=[refund])


def test_a_run_waits_for_approval_and_says_for_what(serve: Serve) -> None:
    """`result` returns with `suspended`; `pending` has what a person needs in order to decide."""
    run = serve(make("waiting")).stream("Refund order 7.")

    assert run.result().status == "suspended"
    assert [(each.tool_name, each.kind) for each in run.pending] == [("refund", "approval")]


def test_an_approved_call_runs_once(serve: Serve) -> None:
    """Any process may approve; the same decision again changes nothing."""
    REFUNDED.clear()
    durable = serve(make("approved"))
    run = durable.stream("Refund order 7.")
    run.result()
    durable.approve(run.run_id, by="bob")

    assert durable.approve(run.run_id, by="bob").result().answer == "refunded 7"
    assert REFUNDED == [7]


def test_a_declined_call_never_runs(serve: Serve) -> None:
    """The model is told who declined and why, and goes on from there."""
    REFUNDED.clear()
    durable = serve(make("declined"))
    run = durable.stream("Refund order 7.")
    run.result()

    assert "It was paid." in durable.decline(run.run_id, reason="It was paid.").result().answer
    assert REFUNDED == []
