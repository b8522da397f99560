"""Scripts of one attempt of a task: claim, append, commit, suspend, and giving it back."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pydantic_core

from evented_agent.chunks.base import dump_json
from evented_agent.ledger.keys import Keys
from evented_agent.ledger.records import (
    FORMAT,
    Claim,
    Committed,
    Due,
    JournalChanged,
    Refused,
    Signal,
    Task,
    Work,
)
from evented_agent.ledger.replies import owned, sends_of, text_of
from evented_agent.ledger.script import Command, command
from evented_agent.ledger.tree_records import AnsweredCall, NewChild, TreeFull

#: Levels of child runs below the run that was started; child runs of a tree in all, and at a time:
#: few enough that scripts which look at all of them stay short.
MOST_DEPTH, MOST_CHILDREN, MOST_LIVE_CHILDREN = 5, 1000, 100


@dataclass(frozen=True, slots=True)
class Worker:
    """Who claims: a worker's id for the fleet, and what people see (``nodename/pid``)."""

    id: str
    owner: str
    lease_ms: int


def claim(
    keys: Keys,
    run_id: str,
    task_key: str,
    *,
    token: str,
    worker: Worker,
    newest: int,
    agents: Sequence[str],
) -> Command[Claim | Refused]:
    """Start an attempt of a queued task; asked again with the same *token*, the same answer."""

    def parse(reply: Any) -> Claim | Refused:
        if reply[0] != b"ok":
            return Refused(text_of(reply[0]))
        return _claim(run_id, task_key, reply[1:])

    return command(
        "attempt/claim",
        keys.of(run_id).all,
        parse,
        run_id=run_id,
        key=task_key,
        token=token,
        worker=worker.id,
        owner=worker.owner,
        lease_ms=worker.lease_ms,
        newest=newest,
        agents=dump_json(list(agents)),
    )


def append(
    keys: Keys,
    run_id: str,
    task_key: str,
    *,
    token: str,
    sent: int,
    chunks: Sequence[str],
    closing: Sequence[str] | None = None,
) -> Command[Signal | None]:
    """Add *chunks* after the *sent* ones of this attempt; why it is to stop, if it is.

    *closing* are the chunks that would close what is open now (None: as before).  Raises `Fenced`.
    """
    return command(
        "attempt/append",
        keys.of(run_id).own,
        _signal,
        run_id=run_id,
        key=task_key,
        token=token,
        sent=sent,
        closing="" if closing is None else dump_json(list(closing)),
        rest=chunks,
    )


def heartbeat(
    keys: Keys, run_id: str, task_key: str, *, token: str, lease_ms: int
) -> Command[Signal | None]:
    """Renew a lease by *lease_ms*; why the attempt is to stop, if it is.  Raises `Fenced`."""
    return command(
        "attempt/heartbeat",
        keys.of(run_id).own,
        _signal,
        run_id=run_id,
        key=task_key,
        token=token,
        lease_ms=lease_ms,
    )


def _more(work: Work) -> dict[str, Any]:
    """What most commits do without."""
    finish: dict[str, Any] | None = None
    if work.finish is not None:
        finish = {"status": work.finish.status, "reason": work.finish.reason}
        if work.finish.error is not None:
            finish |= {"error": dict(work.finish.error)}
        if work.finish.entry:
            finish |= {"chunks": list(work.finish.chunks), "entry": work.finish.entry}
    more: dict[str, Any] = {
        "usage": dict(work.usage) if any(work.usage.values()) else None,
        "turn": work.turn or None,
        "idle": work.idle_ms,
        "drop": list(work.drops) or None,
        "seen": work.seen,
        "hand": None if work.hand_over is None else asdict(work.hand_over),
        "journal": work.journal_length,
        "finish": finish,
    }
    return {name: value for name, value in more.items() if value is not None}


def commit(
    keys: Keys, task: Task, *, sent: int, work: Work, worker: Worker, end_token: str
) -> Command[Committed | JournalChanged]:
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
            "newest": FORMAT,
        },
    }
    spec |= _more(work)

    def parse(reply: Any) -> Committed | JournalChanged:
        status = text_of(reply[0])
        if status == "grew":
            return JournalChanged(int(reply[1]), reply[2])
        if status == "aborted":
            return Committed(aborted=True)
        if status == "newer":
            return Committed(sends_of(task.run_id, reply[1]), is_newer=True)
        owned(reply)
        end = _claim(task.run_id, text_of(reply[2][0]), reply[2][1:]) if reply[2] else None
        return Committed(sends_of(task.run_id, reply[1]), end, only_waits=_only_waits(reply[3:]))

    return command(
        "attempt/commit",
        keys.of(task.run_id).all,
        parse,
        run_id=task.run_id,
        key=task.key,
        token=task.token,
        sent=sent,
        spec=dump_json(spec),
        rest=(*work.chunks, *work.entries),
    )


def close(
    keys: Keys, task: Task, *, sent: int, work: Work, journal_length: int
) -> Command[int | Committed | JournalChanged]:
    """Let nothing come in any more, before people are told of the run's end; the attempt goes on.

    Durable on return, with the chunks and entries of *work*.  Returns how long the journal is then;
    `Committed` where the attempt is over, since the run is aborted or another version is to go on.
    Raises `Fenced`.
    """

    def parse(reply: Any) -> int | Committed | JournalChanged:
        status = text_of(reply[0])
        if status == "grew":
            return JournalChanged(int(reply[1]), reply[2])
        if status == "aborted":
            return Committed(aborted=True)
        if status == "newer":
            return Committed(sends_of(task.run_id, reply[1]), is_newer=True)
        return int(owned(reply)[1])

    return command(
        "attempt/close",
        keys.of(task.run_id).all,
        parse,
        run_id=task.run_id,
        key=task.key,
        token=task.token,
        sent=sent,
        journal_length=journal_length,
        newest=FORMAT,
        chunk_count=len(work.chunks),
        rest=(*work.chunks, *work.entries),
    )


def suspend(
    keys: Keys,
    task: Task,
    *,
    sent: int,
    chunks: Sequence[str],
    ask: str,
    asked: str,
    kind: str = "suspension",
) -> Command[Committed]:
    """End an attempt that asks for a person, with the chunk *ask*; what it said stays.

    *kind* and *asked* are what the `SuspensionRecord` holds.  Raises `Fenced`.
    """
    return command(
        "attempt/suspend",
        keys.of(task.run_id).all,
        lambda reply: _committed(task.run_id, reply),
        run_id=task.run_id,
        key=task.key,
        token=task.token,
        sent=sent,
        kind=kind,
        asked=asked,
        ask=ask,
        rest=chunks,
    )


def spawn(
    keys: Keys, task: Task, *, sent: int, chunks: Sequence[str], child: NewChild
) -> Command[Committed | TreeFull]:
    """End an attempt whose call a child run answers, which begins.

    Durable on return; the messages in the reply are still to be sent. Nothing is written where the
    tree is full. Raises `Fenced`.
    """

    def parse(reply: Any) -> Committed | TreeFull:
        if reply[0] == b"full":
            return TreeFull(text_of(reply[1]))  # type: ignore[arg-type]
        return _committed(task.run_id, reply)

    own = {"agent": child.agent, "tool_limit": child.tool_limit}
    return command(
        "attempt/spawn",
        keys.of(task.run_id).all,
        parse,
        run_id=task.run_id,
        key=task.key,
        token=task.token,
        sent=sent,
        child=dump_json({**own, "trace": child.trace} if child.trace else own),
        messages=child.messages,
        most_depth=MOST_DEPTH,
        most_children=MOST_CHILDREN,
        most_live=MOST_LIVE_CHILDREN,
        newest=FORMAT,
        rest=chunks,
    )


def requeue(
    keys: Keys, task: Task, *, delay_ms: int, reason: str, change: Mapping[str, Any]
) -> Command[Committed]:
    """End a failed attempt and queue the task again after *delay_ms*; its output is withdrawn.

    *change* has fields of the task's record to change, and may have ``announces``: what readers are
    told that the run waits for.  Raises `Fenced`.
    """
    return command(
        "attempt/requeue",
        keys.of(task.run_id).all,
        lambda reply: _committed(task.run_id, reply),
        run_id=task.run_id,
        key=task.key,
        token=task.token,
        delay_ms=delay_ms,
        reason=reason,
        change=dump_json(dict(change)),
    )


def release(
    keys: Keys, run_id: str, *, worker: str = "", token: str = "", reason: str
) -> Command[Sequence[Due]]:
    """Hand back what *worker* (or the attempt with *token*) still runs of this run."""
    return command(
        "attempt/release",
        keys.of(run_id).all,
        lambda reply: sends_of(run_id, reply[1]) if reply[0] == b"ok" else (),
        run_id=run_id,
        worker=worker,
        token=token,
        reason=reason,
    )


def store_blob(keys: Keys, task: Task, *, name: str, payload: str) -> Command[None]:
    """Store a large payload before the write that points to it.  Raises `Fenced`."""
    return command(
        "attempt/blob",
        keys.of(task.run_id).own,
        lambda reply: owned(reply) and None,
        run_id=task.run_id,
        key=task.key,
        token=task.token,
        name=name,
        payload=payload,
    )


def _claim(run_id: str, task_key: str, reply: Any) -> Claim:
    stored, aborted, length, record, entries = reply
    agent, run_agent, options, messages, thread, resource, revived_by, yielded, trace, *more = (
        record
    )
    return Claim(
        task=Task.parse(run_id, task_key, stored),
        agent=text_of(agent),
        run_agent=text_of(run_agent),
        options=options or b"{}",
        messages=messages or b"[]",
        thread=text_of(thread) if thread else None,
        resource=text_of(resource) if resource else None,
        is_revived=bool(revived_by),
        yielded=text_of(yielded) if yielded else None,
        aborted=bool(aborted),
        journal_length=int(length),
        entries=entries,
        trace=trace.decode(errors="replace") if trace else None,
        answers=_answered_call(more[0]) if more else None,
        conversation=text_of(more[1]) if more and more[1] else None,
    )


def _answered_call(stored: bytes) -> AnsweredCall:
    found = pydantic_core.from_json(stored)
    return AnsweredCall(
        found["key"], found["call"], found["tool"], int(found["step"]), found.get("bg")
    )


def _committed(run_id: str, reply: Any) -> Committed:
    if reply[0] == b"aborted":
        return Committed(aborted=True)
    return Committed(sends_of(run_id, owned(reply)[1]), only_waits=_only_waits(reply[2:]))


def _only_waits(told: Sequence[int]) -> bool:
    """Whether no step of the run is under way from now on; not said where it does not matter."""
    return bool(told and told[0])


def _signal(reply: Any) -> Signal | None:
    signals: dict[int, Signal] = {1: "aborted", 2: "interrupted"}
    return signals.get(int(owned(reply)[1]))
