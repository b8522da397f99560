"""A result is what a run came to; it is there for as long as the record is."""

import pytest

from evented_agent import Agent, ModelError, RunFailed, tool
from evented_agent.testing import Say, ScriptedModel, tool_call
from tests.fundamentals.conftest import Serve


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


adder = Agent(
    id="adder",
    model=ScriptedModel([Say("Let me add.", [tool_call("add", a=1, b=2)]), "It is 3."]),
    tools=[add],
)


def test_a_result_has_the_whole_text_and_the_last_answer(serve: Serve) -> None:
    """`text` is everything that was said; `answer` is what the last step said."""
    result = serve(adder).generate("How much is 1 + 2?")

    assert result.text == "Let me add.\n\nIt is 3."
    assert result.answer == "It is 3."


def test_a_result_counts_the_tokens_of_all_steps(serve: Serve) -> None:
    """`usage` is the sum over all model calls of the run."""
    result = serve(adder).generate("How much is 1 + 2?")

    assert (len(result.steps), result.usage.total_tokens) == (2, 30)


def test_a_run_that_fails_raises_with_its_reason(serve: Serve) -> None:
    """Waiting for a failed run raises `RunFailed`; the record keeps the error."""
    durable = serve(Agent(id="broke", model=ScriptedModel([ModelError("out of credit")])))
    run = durable.stream("Hi.")

    with pytest.raises(RunFailed, match="out of credit"):
        run.result()
    assert durable.get(run.run_id).status == "failed"
