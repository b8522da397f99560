"""What users get for their own tests."""

from collections.abc import Callable

import pytest

from evented_agent import Agent, RunFailed, tool
from evented_agent.engines.in_process import InProcessAgent
from evented_agent.testing import Say, ScriptedModel, block_real_models, tool_call
from evented_agent.testing.fixtures import embedded_redis_url, serve

__all__ = ["embedded_redis_url", "serve"]

Serve = Callable[[Agent], InProcessAgent]


@tool
def order_status(order_id: int) -> str:
    """Look up an order."""
    return f"Order {order_id} was shipped."


clerk = Agent(id="clerk", model="openai/gpt-5.5", tools=[order_status])


def test_a_script_stands_in_for_the_model(serve: Serve) -> None:
    model = ScriptedModel([[tool_call("order_status", order_id=7)], "Order 7 was shipped."])
    with clerk.override(model=model):
        result = serve(clerk).generate("Where is order 7?", timeout=20)

    assert result.answer == "Order 7 was shipped."
    assert [len(request.messages) for request in model.requests] == [1, 3]


def test_a_script_can_fail_reason_and_cut_off(serve: Serve) -> None:
    model = ScriptedModel([Say("It is", reasoning="Let me think.", reason="length")])
    with clerk.override(model=model):
        result = serve(clerk).generate("Where?", timeout=20)

    assert (result.text, result.finish_reason) == ("It is", "length")
    assert result.steps[0].reasoning == "Let me think."


def test_real_models_are_not_called_by_mistake(serve: Serve) -> None:
    with pytest.raises(RunFailed, match="a test forbids real models here"):
        serve(clerk).generate("Where is order 7?", timeout=20)


def test_blocking_ends_with_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    from evented_agent.models.guard import blocked

    with block_real_models():
        assert blocked
    assert not blocked
