"""One typed function per script: the only writers of runs.

Each returns a `Call`; a `Ledger` sends it.  All may be sent again after a lost reply: they are
idempotent by run id, token or count.
"""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import pydantic_core

from evented_agent.errors import (
    RunConflict,
    RunDeleted,
    RunNotFound,
)
from evented_agent.ledger.call import Call, script
from evented_agent.ledger.keys import Keys
from evented_agent.ledger.records import (
    Claim,
    Committed,
    Due,
    Fenced,
    Grew,
    NewTask,
    Record,
    Refused,
    Task,
    Work,
)

#: A look at the alarms is acted on within so many ms, or not at all.
LOOK_MS = 1_000

_dumps = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


@dataclass(frozen=True, slots=True)
class Worker:
    """Who claims: a worker's id for the fleet, and what people see (``nodename/pid``)."""

    id: str
    owner: str
    lease_ms: int


def create(
    keys: Keys,
    run_id: str,
    *,
    digest: str,
    fields: Mapping[str, str | int],
    indexes: Sequence[tuple[str, str]],
    first: NewTask,
    chunks: Sequence[str],
) -> Call[bool]:
    """Create a run with its *first* task queued; False where the same call made it before.

    Raises `RunConflict` when the id is taken by another input, `RunDeleted` when it was deleted.
    """
    shard = keys.shard(run_id)
    index_keys = [keys.index(shard, kind, value) for kind, value in indexes]
    record: list[str | int] = [item for pair in fields.items() for item in pair]

    def parse(reply: Any) -> bool:
        status = text_of(reply[0])
        if status == "conflict":
            raise RunConflict(run_id)
        check_exists(run_id, status)
        return status == "created"

    return Call(
        script("create"),
        (*keys.of(run_id).all, *index_keys),
        (run_id, digest, _dumps(first.json()), len(chunks), *chunks, *record),
        parse,
    )


def claim(
    keys: Keys,
    run_id: str,
    task_key: str,
    *,
    token: str,
    worker: Worker,
    newest: int,
    agents: Sequence[str],
) -> Call[Claim | Refused]:
    """Start an attempt of a queued task; asked again with the same *token*, the same answer."""

    def parse(reply: Any) -> Claim | Refused:
        if reply[0] != b"ok":
            return Refused(text_of(reply[0]))
        return _claim(run_id, task_key, reply[1:])

    args = (run_id, task_key, token, worker.id, worker.owner, worker.lease_ms, newest)
    return Call(script("claim"), keys.of(run_id).all, (*args, _dumps(list(agents))), parse)


def append(
    keys: Keys,
    run_id: str,
    task_key: str,
    *,
    token: str,
    sent: int,
    chunks: Sequence[str],
    closing: Sequence[str] | None = None,
) -> Call[bool]:
    """Add *chunks* after the *sent* ones of this attempt; True if the run is being aborted.

    *closing* are the chunks that would close what is open now (None: as before).  Raises `Fenced`.
    """
    return Call(
        script("append"),
        keys.of(run_id).own,
        (run_id, task_key, token, sent, "" if closing is None else _dumps(list(closing)), *chunks),
        lambda reply: bool(owned(reply)[1]),
    )


def heartbeat(keys: Keys, run_id: str, task_key: str, *, token: str, lease_ms: int) -> Call[bool]:
    """Renew a lease by *lease_ms*; True if the run is being aborted.  Raises `Fenced`."""
    return Call(
        script("heartbeat"),
        keys.of(run_id).own,
        (run_id, task_key, token, lease_ms),
        lambda reply: bool(owned(reply)[1]),
    )


def _more(work: Work) -> dict[str, Any]:
    """What most commits do without."""
    finish: dict[str, Any] | None = None
    if work.finish is not None:
        finish = {"status": work.finish.status, "reason": work.finish.reason}
        if work.finish.error is not None:
            finish |= {"error": dict(work.finish.error)}
    more: dict[str, Any] = {
        "usage": dict(work.usage) if any(work.usage.values()) else None,
        "turn": work.turn or None,
        "idle": work.idle_ms,
        "drop": work.drops_deferred or None,
        "journal": work.journal_length,
        "finish": finish,
    }
    return {name: value for name, value in more.items() if value is not None}


def commit(
    keys: Keys, task: Task, *, sent: int, work: Work, worker: Worker, end_token: str
) -> Call[Committed | Grew]:
    """Complete a task.  Durable on return; the messages in the reply are still to be sent.

    *end_token* claims the step's end task, if this was the step's last.  Raises `Fenced`.
    """
    spec: dict[str, Any] = {
        "chunks": len(work.chunks),
        "entries": len(work.entries),
        "next": [new.json() for new in work.next],
        "claim": {
            "token": end_token,
            "worker": worker.id,
            "owner": worker.owner,
            "lease": worker.lease_ms,
        },
    }
    spec |= _more(work)

    def parse(reply: Any) -> Committed | Grew:
        status = text_of(reply[0])
        if status == "grew":
            return Grew(int(reply[1]), reply[2])
        if status == "aborted":
            return Committed(aborted=True)
        owned(reply)
        end = _claim(task.run_id, text_of(reply[2][0]), reply[2][1:]) if reply[2] else None
        return Committed(sends_of(task.run_id, reply[1]), end)

    return Call(
        script("commit"),
        keys.of(task.run_id).all,
        (task.run_id, task.key, task.token, sent, _dumps(spec), *work.chunks, *work.entries),
        parse,
    )


def retry(
    keys: Keys, task: Task, *, delay_ms: int, reason: str, change: Mapping[str, Any]
) -> Call[Committed]:
    """End a failed attempt and queue the task again after *delay_ms*; its output is withdrawn."""

    def parse(reply: Any) -> Committed:
        if reply[0] == b"aborted":
            return Committed(aborted=True)
        return Committed(sends_of(task.run_id, owned(reply)[1]))

    return Call(
        script("retry"),
        keys.of(task.run_id).all,
        (task.run_id, task.key, task.token, delay_ms, reason, _dumps(dict(change))),
        parse,
    )


def release(
    keys: Keys, run_id: str, *, worker: str = "", token: str = "", reason: str
) -> Call[Sequence[Due]]:
    """Hand back what *worker* (or the attempt with *token*) still runs of this run."""
    return Call(
        script("release"),
        keys.of(run_id).all,
        (run_id, worker, token, reason),
        lambda reply: sends_of(run_id, reply[1]) if reply[0] == b"ok" else (),
    )


def abort(keys: Keys, run_id: str, *, reason: str | None) -> Call[bool]:
    """Ask that the run ends; durable on return.  False if it had ended before."""

    def parse(reply: Any) -> bool:
        check_exists(run_id, text_of(reply[0]))
        return bool(reply[0] == b"ok")

    return Call(
        script("abort"), keys.of(run_id).all, (run_id, reason or "", secrets.token_hex(8)), parse
    )


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What reconcile found: messages to send, dead attempts, suspensions that expire soon."""

    sends: Sequence[Due]
    crashes: Sequence[Mapping[str, Any]]
    expiring: Sequence[Mapping[str, Any]] = ()


def reconcile(
    keys: Keys, run_id: str, *, look: "Tick", may_send: bool, jitter: float
) -> Call[Reconciled]:
    """Look at a run whose alarm rang, and set its next alarm."""

    def parse(reply: Any) -> Reconciled:
        if reply[0] != b"ok":
            return Reconciled((), ())
        notes = pydantic_core.from_json(reply[2]) or ()
        crashes = [note for note in notes if "crashes" in note]
        expiring = [note for note in notes if "expires" in note]
        return Reconciled(sends_of(run_id, reply[1]), crashes, expiring)

    args = (run_id, look.grace_until, int(may_send), f"{jitter:.3f}", look.now + LOOK_MS)
    return Call(script("reconcile"), keys.of(run_id).all, args, parse)


def delete(
    keys: Keys, run_id: str, *, indexes: Sequence[tuple[str, str]], tombstone_ms: int
) -> Call[None]:
    """Remove everything of a run but a tombstone.  Raises `RunNotFound`, `RunDeleted`."""
    shard = keys.shard(run_id)
    index_keys = [keys.index(shard, kind, value) for kind, value in indexes]
    return Call(
        script("delete"),
        (*keys.of(run_id).all, *index_keys),
        (run_id, tombstone_ms, secrets.token_hex(8)),
        lambda reply: check_exists(run_id, text_of(reply[0])),
    )


def store_blob(keys: Keys, task: Task, *, name: str, payload: str) -> Call[None]:
    """Store a large payload before the write that points to it.  Raises `Fenced`."""
    return Call(
        script("blob"),
        keys.of(task.run_id).own,
        (task.run_id, task.key, task.token, name, payload),
        lambda reply: owned(reply) and None,
    )


def read(keys: Keys, run_id: str, *, journal: bool = False) -> Call[Record]:
    """Read one run consistently.  Raises `RunNotFound`, `RunDeleted`."""

    def parse(reply: Any) -> Record:
        check_exists(run_id, text_of(reply[0]))
        names = [text_of(item) for item in reply[2]]
        tasks = reply[3]
        return Record(
            run_id=run_id,
            now=int(reply[1]),
            fields=dict(zip(names[::2], names[1::2], strict=True)),
            tasks=[
                Task.parse(run_id, text_of(tasks[i]), tasks[i + 1]) for i in range(0, len(tasks), 2)
            ],
            last_cursor=text_of(reply[4]),
            entries=reply[5],
        )

    return Call(script("read"), keys.of(run_id).own, (run_id, int(journal)), parse)


@dataclass(frozen=True, slots=True)
class Tick:
    """What one look at a shard's alarms gave; *now* is the time of the Redis clock (ms).

    *is_watching* tells whether this watchdog is the one that looks, *due* names runs whose alarm
    rang, *unheard* those with a message that may be lost, *grace_begins* why leases get more time.
    """

    is_watching: bool
    now: int
    wait_ms: int = 0
    grace_until: int = 0
    due: Sequence[str] = ()
    unheard: Sequence[str] = ()
    grace_begins: str = ""


@dataclass(frozen=True, slots=True)
class Since:
    """What a watchdog knows of its last tick; all in ms, *now* by the Redis clock."""

    now: int = 0
    elapsed: int = 0
    saw_pause: bool = False


def tick(
    keys: Keys, shard: int, *, watchdog: str, lock_ms: int, since: Since, most: int, lease_ms: int
) -> Call[Tick]:
    """Look at a shard's alarms, unless another watchdog of the fleet does."""

    def parse(reply: Any) -> Tick:
        if reply[0] != b"ok":
            return Tick(is_watching=False, now=int(reply[1]), wait_ms=int(reply[2]))
        due, unheard = ([text_of(run_id) for run_id in found] for found in reply[3:5])
        why = text_of(reply[5])
        return Tick(True, int(reply[1]), 0, int(reply[2]), due, unheard, why)

    waited = (since.now, since.elapsed, int(since.saw_pause))
    args = (watchdog, lock_ms, *waited, most, pause_ms(lease_ms), lease_ms + 2000)
    return Call(script("tick"), keys.watch(shard), args, parse)


def pause_ms(lease_ms: int) -> int:
    """A silence of Redis so long that heartbeats may have been missed."""
    return lease_ms * 2 // 3 - 100


def text_of(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def check_exists(run_id: str, status: str) -> None:
    if status == "missing":
        raise RunNotFound(run_id)
    if status == "deleted":
        raise RunDeleted(run_id)


def owned(reply: Any) -> Any:
    if reply[0] not in (b"ok", b"already"):
        _fence(text_of(reply[0]))
    return reply


def _fence(reason: str) -> NoReturn:
    raise Fenced(reason)


def sends_of(run_id: str, stored: bytes) -> Sequence[Due]:
    return [
        Due(
            run_id,
            due["key"],
            int(due["gen"]),
            due["kind"],
            due.get("tool"),
            due["queue"],
            due["agent"],
        )
        for due in pydantic_core.from_json(stored) or ()
    ]


def _claim(run_id: str, task_key: str, reply: Any) -> Claim:
    stored, aborted, length, record, entries = reply
    agent, options, messages, thread, resource = record
    return Claim(
        task=Task.parse(run_id, task_key, stored),
        agent=text_of(agent),
        options=options or b"{}",
        messages=messages or b"[]",
        thread=text_of(thread) if thread else None,
        resource=text_of(resource) if resource else None,
        aborted=bool(aborted),
        journal_length=int(length),
        entries=entries,
    )
