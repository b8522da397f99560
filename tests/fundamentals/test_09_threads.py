"""A thread is a conversation: a run in it sees what was said before."""

from evented_agent import Agent
from evented_agent.testing import ScriptedModel
from tests.fundamentals.conftest import Serve


def counting(id_: str) -> Agent:
    """An agent that says how many messages it sees."""
    return Agent(id=id_, model=ScriptedModel([lambda request: f"{len(request.messages)} seen"]))


def test_a_run_sees_what_was_said_in_its_thread(serve: Serve) -> None:
    """Runs with the same `thread_id` are turns of one conversation."""
    durable = serve(counting("listener"))
    answers = [durable.generate(text, thread_id="t1").text for text in ("One.", "Two.")]

    assert answers == ["1 seen", "3 seen"]


def test_a_thread_can_be_read(serve: Serve) -> None:
    """`thread` gives the messages of a conversation, oldest first."""
    durable = serve(counting("keeper"))
    durable.generate("One.", thread_id="t1")

    assert [message.role for message in durable.thread("t1")] == ["user", "assistant"]


def test_two_resources_share_no_thread(serve: Serve) -> None:
    """The same thread id under another `resource_id` is another conversation."""
    durable = serve(counting("discreet"))
    durable.generate("A secret.", thread_id="t1", resource_id="ann")

    assert durable.generate("Tell me.", thread_id="t1", resource_id="bob").text == "1 seen"
