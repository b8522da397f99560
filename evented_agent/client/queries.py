"""Plans of what a caller looks at: runs, their results and background calls, threads, workers."""

from collections.abc import Sequence

from evented_agent.agents.output_types import OutputType
from evented_agent.agents.run_options import RunOptions
from evented_agent.client.deployment import Deployment
from evented_agent.client.follow import Cursor, check_readable, start_of
from evented_agent.client.owner import run_of, thread_of
from evented_agent.ledger import runs, threads, workers
from evented_agent.ledger.indexes import count_common
from evented_agent.ledger.keys import thread_name
from evented_agent.ledger.plan import Plan, read_blobs, send
from evented_agent.ledger.records import Record
from evented_agent.models.messages import Message, load_thread
from evented_agent.state.run_info import RunInfo, info_of, is_waiting
from evented_agent.state.run_result import BackgroundTask, RunResult, background_tasks_of, result_of
from evented_agent.state.task_attempt import AttemptList, attempts_of

#: Most runs of a thread whose messages are returned.
_MOST_TURNS = 1000

#: The statuses of runs that go on.
LIVE = ("queued", "running", "suspended")


def read_info(at: Deployment, run_id: str) -> Plan[RunInfo]:
    record = yield from send(runs.read(at.keys, run_id))
    if not is_waiting(record):
        return info_of(record, has_input=True)
    return info_of(record, (yield from send(workers.live_workers(at.keys))), has_input=True)


def check_readable_run(at: Deployment, run_id: str, after: Cursor) -> Plan[None]:
    """Refuse at once what a reader would refuse after its first read."""
    start_of(after)
    check_readable((yield from send(runs.read(at.keys, run_id))), after)


def read_result(at: Deployment, run_id: str) -> Plan[RunResult]:
    record, entries = yield from read_journal(at, run_id)
    return result_of(record, entries, _output_type(at, record))


def read_background_tasks(at: Deployment, run_id: str) -> Plan[list[BackgroundTask]]:
    record, entries = yield from read_journal(at, run_id)
    return background_tasks_of(record, entries)


def read_background_task(at: Deployment, task_id: str) -> Plan[BackgroundTask | None]:
    call = str(task_id).partition(":")[2]
    branch = call.partition("/")[0] if call.startswith("~") else ""
    found = yield from read_background_tasks(at, f"{run_of(task_id)}{branch}")
    return next((task for task in found if task.task_id == task_id), None)


def list_attempts(at: Deployment, run_id: str) -> Plan[AttemptList]:
    return attempts_of((yield from send(runs.read_attempts(at.keys, run_id))))


def read_thread(at: Deployment, thread_id: str, resource_id: str | None) -> Plan[list[Message]]:
    name = thread_name(*thread_of(thread_id, resource_id))
    return load_thread((yield from send(threads.recall(at.keys, name, most=_MOST_TURNS))))


def read_workers(at: Deployment) -> Plan[Sequence[workers.LiveWorker]]:
    return (yield from send(workers.live_workers(at.keys)))


def count_live_runs(at: Deployment, resource_id: str, *, most: int) -> Plan[int]:
    """How many runs of a resource have not ended; exact up to *most*."""
    count, index = 0, ("resource", resource_id)
    for shard in range(at.keys.shards):
        count += yield from send(count_common(at.keys, shard, index, LIVE, most=most))
    return count


def only_waits(at: Deployment, run_id: str) -> Plan[bool]:
    """Whether no step of a run is under way: people are asked, or calls are in the background."""
    return (yield from send(runs.read(at.keys, run_id))).only_waits


def read_journal(at: Deployment, run_id: str) -> Plan[tuple[Record, Sequence[bytes]]]:
    """A run with its journal, large entries fetched."""
    record = yield from send(runs.read(at.keys, run_id, journal=True))
    names = [entry[1:].decode() for entry in record.entries if entry[:1] == b"@"]
    payloads = iter((yield from read_blobs(at.keys.of_tree(run_id).blobs, names)))
    entries = [next(payloads) if entry[:1] == b"@" else entry for entry in record.entries]
    return record, entries


def _output_type(at: Deployment, record: Record) -> OutputType | None:
    """The type of the run's answer, where this process has the agent's code."""
    acting = record.fields.get("acting")
    agent = at.agents.get(acting or record.fields["agent"])
    if agent is None:
        return None
    name = RunOptions.load(record.fields.get("options") or "{}").output_type if not acting else None
    return agent.output_type if name is None else agent.output_types.get(name)
