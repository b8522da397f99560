"""Plans that end a run's turn in a thread, for runs whose own worker never will."""

from evented_agent.client.deployment import Deployment
from evented_agent.errors import RunConflict, RunDeleted, RunNotFound
from evented_agent.ledger import threads
from evented_agent.ledger.keys import thread_name
from evented_agent.ledger.plan import Plan, notify, send
from evented_agent.ledger.records import Record
from evented_agent.ledger.run_turns import is_done
from evented_agent.ledger.runs import read
from evented_agent.ledger.script import Command
from evented_agent.ledger.watch import wake


def leave_turn(at: Deployment, record: Record) -> Plan[None]:
    """End the turn of a run in its thread, or its wait for one, and wake the next."""
    name = _thread_of(record)
    if name is not None:
        yield from _leave(at, name, record.run_id)


def create_in_line(
    at: Deployment, name: str | None, run_id: str, create: Command[bool]
) -> Plan[bool]:
    """Create a run that stands in the line of the thread *name*; False where there was one.

    Raises `RunConflict` and `RunDeleted` where another one had its id.
    """
    is_new = False
    try:
        is_new = yield from send(create)
    except (RunConflict, RunDeleted):
        yield from _step_back(at, name, run_id)
        raise
    if not is_new:
        yield from _step_back(at, name, run_id)
    return is_new


def _step_back(at: Deployment, name: str | None, run_id: str) -> Plan[None]:
    """Take a run out of the line again, unless it goes on there.

    Nobody else does, and whoever has the turn would wake this one alone.
    """
    if name is None:
        return
    try:
        record = yield from send(read(at.keys, run_id))
    except (RunNotFound, RunDeleted):
        record = None
    if record is None or is_done(record) or _thread_of(record) != name:
        yield from _leave(at, name, run_id)


def _thread_of(record: Record) -> str | None:
    thread = record.fields.get("thread")
    return thread_name(thread, record.fields.get("resource")) if thread else None


def _leave(at: Deployment, name: str, run_id: str) -> Plan[None]:
    following = yield from send(threads.leave(at.keys, name, run_id))
    if following is not None:
        yield from notify(at.notifier, (yield from send(wake(at.keys, following))))
