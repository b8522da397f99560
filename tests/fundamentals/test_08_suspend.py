"""A tool may ask a question of its own, and be called again with the answer."""

import pytest
from pydantic import BaseModel

from evented_agent import Agent, InvalidDecision, ToolContext, tool
from evented_agent.testing import ScriptedModel, tool_call
from tests.fundamentals.conftest import Serve, repeat


class Seat(BaseModel):
    seat: int


@tool
def book(ctx: ToolContext, flight: str) -> str:
    """Book a seat, once somebody has chosen it."""
    if ctx.resume_data is None:
        ctx.suspend({"question": f"Which seat on {flight}?"}, resume_schema=Seat)
    return f"seat {ctx.resume_data['seat']} on {flight}"


def make(id_: str) -> Agent:
    """An agent that books a flight, then repeats what it was told."""
    model = ScriptedModel([[tool_call("book", flight="LH1")], repeat])
    return Agent(id=id_, model=model, tools=[book])


def test_a_tool_asks_and_is_called_again_with_the_answer(serve: Serve) -> None:
    """`ctx.suspend` leaves the tool; `resume` calls it again with `ctx.resume_data`."""
    durable = serve(make("asking"))
    run = durable.stream("Book it.")
    run.result()
    [pending] = run.pending

    assert pending.payload == {"question": "Which seat on LH1?"}
    assert durable.resume(run.run_id, {"seat": 7}).result().answer == "seat 7 on LH1"


def test_an_answer_that_does_not_fit_the_question_is_refused(serve: Serve) -> None:
    """The answer is checked where it is given; the run keeps waiting for one that fits."""
    durable = serve(make("strict"))
    run = durable.stream("Book it.")
    run.result()

    with pytest.raises(InvalidDecision):
        durable.resume(run.run_id, {"seat": "aisle"})
    assert run.status == "suspended"
