"""What a model may answer that no model should: the run goes on, and can be read."""

from collections.abc import Callable

from evented_agent import Agent, tool
from evented_agent.chunks import Usage
from evented_agent.engines.in_process import InProcessAgent
from evented_agent.execution.tasks.next_tasks import MOST_CALLS
from evented_agent.testing import Say, ScriptedModel, tool_call
from evented_agent.testing.fixtures import embedded_redis_url, serve

__all__ = ["embedded_redis_url", "serve"]

Serve = Callable[[Agent], InProcessAgent]
made: list[int] = []


@tool
def look(at: int) -> str:
    """Look."""
    made.append(at)
    return "seen"


looker = Agent(id="looker", model="openai/gpt-5.5", tools=[look])


def test_a_provider_that_counts_more_tokens_than_there_are_ends_no_run(serve: Serve) -> None:
    usage = Usage.model_construct(input_tokens=10**400, output_tokens=float("nan"))
    with looker.override(model=ScriptedModel([Say("Hello.", usage=usage)])):
        result = serve(looker).generate("Hi", timeout=20)

    assert result.answer == "Hello."
    assert (result.usage.input_tokens, result.usage.output_tokens) == (2**53, 0)


def test_calls_beyond_the_limit_of_a_turn_are_errors_that_the_model_sees(serve: Serve) -> None:
    calls = [tool_call("look", at=number) for number in range(MOST_CALLS + 2)]
    model = ScriptedModel([calls, "Done."])
    with looker.override(model=model):
        result = serve(looker).generate("Look.", timeout=30)

    assert result.answer == "Done."
    assert len(made) == MOST_CALLS
    assert "Too many calls in one turn" in str(model.requests[1].messages[-1])
