"""Whose run it is: another's looks like one that does not exist."""

from typing import TypeVar

from evented_agent.chunks.json_values import without_surrogates
from evented_agent.client.deployment import Deployment
from evented_agent.errors import DeclarationError, RunDeleted, RunNotFound
from evented_agent.ledger import runs
from evented_agent.ledger.plan import Plan, send
from evented_agent.ledger.records import Record

_T = TypeVar("_T")

#: Most characters of an id of the caller's own.
MOST_LABEL = 256


def run_of(task_id: str) -> str:
    """The run of a background call's id, ``<run id>:<tool call id>``."""
    return str(task_id).partition(":")[0]


def label_of(value: object, what: str) -> str | None:
    """An id of the caller's own, of whatever characters; None where there is none."""
    if value is None:
        return None
    if isinstance(value, str) and 0 < len(value) <= MOST_LABEL and _is_text(value):
        return value
    raise DeclarationError(f"{what}={value!r}: use a text of 1 to {MOST_LABEL} characters.")


def thread_of(thread_id: object, resource_id: object) -> tuple[str, str | None]:
    """A conversation, and whose it is."""
    thread = label_of(thread_id, "thread_id")
    if thread is None:
        raise DeclarationError("thread_id=None: say which conversation.")
    return thread, label_of(resource_id, "resource_id")


def _is_text(value: str) -> bool:
    return without_surrogates(value) == value


def read_owned(at: Deployment, run_id: str, resource_id: str | None) -> Plan[Record]:
    """Read a run of that resource, any run for None.

    Raises `RunDeleted` only for None: a tombstone no longer says whose run it was, so with a
    *resource_id* a deleted run is `RunNotFound`, as is another's.
    """
    if resource_id is None:
        return (yield from send(runs.read(at.keys, run_id)))
    try:
        record = yield from send(runs.read(at.keys, run_id))
    except RunDeleted:
        raise RunNotFound(run_id) from None
    if record.fields.get("resource") != resource_id:
        raise RunNotFound(run_id)
    return record


def for_owner(at: Deployment, run_id: str, resource_id: str | None, plan: Plan[_T]) -> Plan[_T]:
    """Go on with *plan* where the run is that resource's; None asks nothing.

    The check comes before the effect, and what it has found stays true: a run never changes hands.
    """
    if resource_id is not None:
        yield from read_owned(at, run_id, resource_id)
    return (yield from plan)
