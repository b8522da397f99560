"""Plans that remove: one run, all that belongs to a person, a conversation."""

from collections.abc import Mapping

from evented_agent.client.deployment import Deployment
from evented_agent.client.owner import label_of, read_owned, thread_of
from evented_agent.client.turns import leave_turn
from evented_agent.errors import DeclarationError, RunDeleted, RunNotFound
from evented_agent.ledger import limits, runs, threads
from evented_agent.ledger.indexes import forget, forget_gone_threads, indexes_of, list_index
from evented_agent.ledger.keys import CONVERSATIONS, thread_name
from evented_agent.ledger.plan import Plan, call_beside, send
from evented_agent.ledger.records import Record
from evented_agent.ledger.settings import milliseconds

#: Index entries read per round trip.
_PAGE = 50


def erase_run(at: Deployment, run_id: str, resource_id: str | None) -> Plan[None]:
    """Remove a run; of that resource, where one is given."""
    yield from _erase(at, (yield from read_owned(at, run_id, resource_id)))


def erase_resource(at: Deployment, resource_id: str | None) -> Plan[int]:
    """Remove all runs and conversations of a resource; returns how many runs there were."""
    if not resource_id:
        raise DeclarationError("Say what to delete: a run_id, or the resource_id of all of it.")
    label_of(resource_id, "resource_id")
    count = 0
    for shard in range(at.keys.shards):
        index = ("resource", resource_id)
        while run_ids := (yield from _first_page(at, shard, index)):
            for run_id in run_ids:
                count += yield from _erase_if_there(at, run_id)
            yield from send(forget(at.keys, shard, index, run_ids))
    for shard in range(at.keys.shards):
        yield from _erase_threads(at, shard, resource_id)
        yield from _erase_listed(at, shard, resource_id)
    return count


def _erase_threads(at: Deployment, shard: int, resource_id: str) -> Plan[None]:
    """Forget the conversations that runs have named."""
    index = ("threads", resource_id)
    while thread_ids := (yield from _first_page(at, shard, index)):
        for thread_id in thread_ids:
            yield from delete_conversation(at, thread_id, resource_id)
        yield from send(forget(at.keys, shard, index, thread_ids))


def _erase_listed(at: Deployment, shard: int, resource_id: str) -> Plan[None]:
    """Forget the conversations that lists show, also those whose only run was never created."""
    index = (CONVERSATIONS[0], resource_id)
    while digests := (yield from _first_page(at, shard, index)):
        for digest in digests:
            found = yield from send(threads.look_at_listed(at.keys, shard, digest))
            if found is not None:
                yield from send(threads.drop(at.keys, found.name))
        name = at.keys.index(shard, *index)
        yield from send(forget_gone_threads(at.keys, shard, name, digests))


def delete_conversation(at: Deployment, thread_id: str, resource_id: str | None) -> Plan[None]:
    name = thread_name(*thread_of(thread_id, resource_id))
    yield from send(threads.drop(at.keys, name))


def _erase(at: Deployment, record: Record, *, with_thread: bool = False) -> Plan[None]:
    """Whoever dies in between has removed nothing that a repeated call would not find."""
    fields, run_id = record.fields, record.run_id
    yield from _forget_in_thread(at, run_id, fields, with_thread=with_thread)
    yield from _forget_copy(at, run_id)
    for task in record.tasks:
        if task.background is not None:
            scopes = ("all", f"agent:{fields['agent']}")
            holder = f"{run_id} {task.key}"
            yield from send(limits.release_slot(at.keys, holder, scopes, most=1))
    names = indexes_of(fields["agent"], fields.get("thread"), fields.get("resource"))
    ttl = milliseconds(at.settings.record_ttl)
    yield from send(runs.delete(at.keys, run_id, indexes=names, tombstone_ms=ttl))
    yield from leave_turn(at, record)
    # It may have ended meanwhile. An attempt that is under way still finds the tombstone.
    yield from _forget_copy(at, run_id)


def _forget_in_thread(
    at: Deployment, run_id: str, fields: Mapping[str, str], *, with_thread: bool
) -> Plan[None]:
    if "thread" not in fields:
        return
    name = thread_name(fields["thread"], fields.get("resource"))
    # As long as an attempt may come back from wherever it was frozen.
    ttl = max(milliseconds(at.settings.thread_ttl), milliseconds(at.settings.record_ttl))
    yield from send(threads.forget_run(at.keys, name, run_id, ttl_ms=ttl))
    if with_thread:
        yield from send(threads.drop(at.keys, name))


def _forget_copy(at: Deployment, run_id: str) -> Plan[None]:
    forget_copy = at.forget_copy
    if forget_copy is not None:
        yield from call_beside(lambda: forget_copy(run_id))


def _first_page(at: Deployment, shard: int, index: tuple[str, str]) -> Plan[list[str]]:
    found = yield from send(list_index(at.keys, shard, index, since=0, offset=0, limit=_PAGE))
    return [member for _, member in found]


def _erase_if_there(at: Deployment, run_id: str) -> Plan[int]:
    """Remove a run of an index, whose record may have expired."""
    try:
        record = yield from send(runs.read(at.keys, run_id))
        yield from _erase(at, record, with_thread=True)
    except (RunNotFound, RunDeleted):
        yield from _forget_copy(at, run_id)
        return 0
    return 1
