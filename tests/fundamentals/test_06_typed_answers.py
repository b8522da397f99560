"""An answer may have a type: the run ends with a value, not with prose."""

import pytest
from pydantic import BaseModel

from evented_agent import Agent, RunFailed
from evented_agent.models import ModelRequest
from evented_agent.testing import ScriptedModel
from tests.fundamentals.conftest import Serve


class Invoice(BaseModel):
    number: int
    total: float


def test_an_answer_is_an_object_of_its_type(serve: Serve) -> None:
    """`output_type` gives the model a schema, and the caller an object."""
    model = ScriptedModel(['{"number": 7, "total": 12.5}'])
    reader = Agent(id="reader", model=model, output_type=Invoice)

    assert serve(reader).generate("Read this.").output == Invoice(number=7, total=12.5)


def test_the_model_may_correct_a_wrong_answer(serve: Serve) -> None:
    """An answer that does not fit goes back to the model, with what is wrong with it."""

    def answer(request: ModelRequest) -> str:
        is_first = len(request.messages) == 1
        return '{"number": "seven"}' if is_first else '{"number": 7, "total": 1}'

    corrected = Agent(id="corrected", model=ScriptedModel([answer]), output_type=Invoice)

    assert serve(corrected).generate("Read this.").output == Invoice(number=7, total=1)


def test_an_answer_that_stays_wrong_fails_the_run(serve: Serve) -> None:
    """What does not fit is never passed on as if it did."""
    hopeless = Agent(id="hopeless", model=ScriptedModel(["It is 7."]), output_type=Invoice)

    with pytest.raises(RunFailed):
        serve(hopeless).generate("Read this.")
