"""The plan of `send`: a message to a run, or to a conversation, which may begin a run."""

from typing import Any

from evented_agent.agents.agent import Agent
from evented_agent.client.deployment import Deployment
from evented_agent.client.sending import SendOptions, send_to_run, send_to_thread
from evented_agent.client.start import start_run
from evented_agent.errors import DeclarationError
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

    With an *agent*, a conversation that has no run yet begins with one of it.
    """
    if given is NO_INPUT:
        raise DeclarationError("send() got no input: pass what the user says.")
    if (run_id is None) == (thread_id is None):
        raise DeclarationError("send() takes a run_id, or a thread_id: say which one is meant.")
    if run_id is not None:
        return (yield from send_to_run(at, run_id, given, options))
    assert thread_id is not None
    sent = yield from send_to_thread(at, thread_id, given, options, agent)
    if isinstance(sent, Receipt):
        return sent
    assert agent is not None
    started = yield from start_run(at, agent, given, sent.options)
    return Receipt(sent.message_id, started.run_id, 0, begins_run=True)
