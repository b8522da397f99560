"""The plan of `send`: a message to a run, or to a conversation, which may begin a run."""

from typing import Any

from evented_agent.agents.agent import Agent
from evented_agent.client.deployment import Deployment
from evented_agent.client.sending import First, SendOptions, send_to_run, send_to_thread
from evented_agent.client.start import start_run
from evented_agent.errors import DeclarationError
from evented_agent.given import check_optional_text
from evented_agent.ledger.plan import Plan
from evented_agent.models.messages import Input
from evented_agent.state.receipt import Receipt

#: Stands for an input that was not passed.
NO_INPUT: Any = object()


def send_message(
    at: Deployment,
    run_id: str | None,
    thread_id: str | None,
    given: Input,
    options: SendOptions,
    agent: Agent | None,
) -> Plan[Receipt]:
    """Send a message to the run *run_id*, or to the conversation *thread_id*.

    With an *agent*, or one that the options name, a conversation that has no run yet begins with
    one of it.
    """
    check_target(run_id, thread_id, given, options)
    if run_id is not None:
        receipt = yield from send_to_run(at, run_id, given, options)
        assert receipt is not None
        return receipt
    assert thread_id is not None
    begins = _first_agent(at, options, agent)
    sent = yield from send_to_thread(at, thread_id, given, options, begins)
    if isinstance(sent, Receipt):
        return sent
    assert sent is not None
    assert begins is not None
    started = yield from start_run(at, begins, given, sent.options)
    return Receipt(sent.message_id, started.run_id, 0, begins_run=True)


def deliver_message(
    at: Deployment, run_id: str | None, thread_id: str | None, given: Input, options: SendOptions
) -> Plan[Receipt | None]:
    """Send a message as `send_message` does, but begin no run: None where one would have to be.

    `send_message` with the same *message_id* begins it then.
    """
    if run_id is not None:
        return (yield from send_to_run(at, run_id, given, options, may_begin=False))
    assert thread_id is not None
    sent = yield from send_to_thread(at, thread_id, given, options, None, may_begin=False)
    assert not isinstance(sent, First)
    return sent


def check_target(
    run_id: str | None, thread_id: str | None, given: Input, options: SendOptions
) -> None:
    """Check that a message says something, to a run or to a conversation."""
    if given is NO_INPUT:
        raise DeclarationError("send() got no input: pass what the user says.")
    if (run_id is None) == (thread_id is None):
        raise DeclarationError("send() takes a run_id, or a thread_id: say which one is meant.")
    if run_id is not None and options.get("agent") is not None:
        raise DeclarationError(
            f"agent={options.get('agent')!r}: a message to a run is for its own agent. Only a "
            "conversation, thread_id, may begin with one."
        )


def _first_agent(at: Deployment, options: SendOptions, own: Agent | None) -> Agent | None:
    """The agent that a conversation begins with.  Raises `UnknownAgent`."""
    named = options.get("agent")
    check_optional_text("agent", named)
    if named is None:
        return own
    if own is not None and named != own.id:
        raise DeclarationError(
            f"agent={named!r}: this is agent {own.id!r}. Use Runs for those of other agents."
        )
    return at.agent_named(named)
