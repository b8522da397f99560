"""The plan that ends a run's turn in its thread, for runs whose own worker never will."""

from evented_agent.client.deployment import Deployment
from evented_agent.ledger import threads
from evented_agent.ledger.keys import thread_name
from evented_agent.ledger.plan import Plan, notify, send
from evented_agent.ledger.records import Record
from evented_agent.ledger.watch import wake


def leave_turn(at: Deployment, record: Record) -> Plan[None]:
    """End the turn of a run in its thread, or its wait for one, and wake the next."""
    thread = record.fields.get("thread")
    if not thread:
        return
    name = thread_name(thread, record.fields.get("resource"))
    following = yield from send(threads.leave(at.keys, name, record.run_id))
    if following is not None:
        yield from notify(at.notifier, (yield from send(wake(at.keys, following))))
