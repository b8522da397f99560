"""An agent is a declaration; serving it makes its runs durable."""

from evented_agent import Agent
from evented_agent.models.messages import UserMessage
from evented_agent.testing import ScriptedModel
from tests.fundamentals.conftest import Serve


def test_an_agent_answers(serve: Serve) -> None:
    """An agent is a model with instructions; `generate` waits for its answer."""
    greeter = Agent(id="greeter", instructions="Be kind.", model=ScriptedModel(["Hello, Ann."]))

    assert serve(greeter).generate("I am Ann.").text == "Hello, Ann."


def test_the_model_sees_the_instructions_and_the_question(serve: Serve) -> None:
    """What a model is given is the agent's instructions and the messages of the conversation."""
    model = ScriptedModel(["Hello."])
    serve(Agent(id="polite", instructions="Be kind.", model=model)).generate("I am Ann.")
    [request] = model.requests

    assert request.instructions == "Be kind."
    assert request.messages == [UserMessage(content="I am Ann.")]


def test_a_test_replaces_the_model_of_an_agent(serve: Serve) -> None:
    """`override` puts a scripted model in the place of the real one."""
    clerk = Agent(id="clerk", model="openai/gpt-5.5")

    with clerk.override(model=ScriptedModel(["It was shipped."])):
        assert serve(clerk).generate("Where is order 7?").text == "It was shipped."
