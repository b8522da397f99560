"""Scripts of a run as its caller uses it: create, read, resume, retry, cancel, abort, delete."""

import contextlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pydantic_core

from evented_agent.chunks.base import dump_json
from evented_agent.errors import (
    EventedAgentError,
    InboxFull,
    NotFailed,
    NotSuspended,
    RunConflict,
    RunNotFound,
    SuspensionExpired,
)
from evented_agent.ledger.child_records import child_record, number_of
from evented_agent.ledger.keys import Keys, split_child
from evented_agent.ledger.records import (
    Decision,
    Due,
    KeptAttempts,
    NewMessage,
    NewTask,
    Record,
    Recorded,
    Sent,
    Task,
)
from evented_agent.ledger.replies import DAMAGED, check_exists, sends_of, text_of
from evented_agent.ledger.script import Command, command


def create(
    keys: Keys,
    run_id: str,
    *,
    digest: str,
    fields: Mapping[str, str | int],
    indexes: Sequence[tuple[str, str]],
    first: NewTask,
    chunks: Sequence[str],
) -> Command[bool]:
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

    return command(
        "run/create",
        (*keys.of(run_id).all, *index_keys),
        parse,
        run_id=run_id,
        digest=digest,
        first_task=dump_json(first.json()),
        chunk_count=len(chunks),
        rest=(*chunks, *record),
    )


def read(keys: Keys, run_id: str, *, journal: bool = False) -> Command[Record]:
    """Read one run, or a child of one, consistently.  Raises `RunNotFound`, `RunDeleted`."""
    root, branch = split_child(run_id)

    def parse(reply: Any) -> Record:
        check_exists(run_id, text_of(reply[0]))
        names = [text_of(item) for item in reply[2]]
        stored = dict(_readable_children(root, reply[7]))
        whole = Record(
            run_id=root,
            now=int(reply[1]),
            fields=dict(zip(names[::2], names[1::2], strict=True)),
            tasks=list(_readable_tasks(root, reply[3])),
            last_cursor=text_of(reply[4]),
            entries=reply[5],
            decided=reply[6],
            children=dict(sorted(stored.items(), key=lambda each: number_of(each[0]))),
        )
        if not branch:
            return whole
        if run_id not in stored:
            raise RunNotFound(run_id)
        return child_record(whole, run_id, text_of(reply[8]))

    return command(
        "run/read", keys.of(root).own, parse, run_id=root, branch=branch, journal=int(journal)
    )


def _readable_tasks(run_id: str, stored: Sequence[bytes]) -> Iterator[Task]:
    """The tasks that can be read: the run is shown without others, until a watchdog fails it."""
    for key, task in zip(stored[::2], stored[1::2], strict=True):
        with contextlib.suppress(*DAMAGED):
            yield Task.parse(run_id, text_of(key), task)


def _readable_children(run_id: str, stored: Sequence[bytes]) -> Iterator[tuple[str, Any]]:
    for name, record in zip(stored[::2], stored[1::2], strict=True):
        with contextlib.suppress(*DAMAGED):
            child = pydantic_core.from_json(record)
            if {"agent", "call", "status"} <= child.keys():
                yield f"{run_id}{text_of(name)}", child


def read_attempts(keys: Keys, run_id: str) -> Command[KeptAttempts]:
    """Read how the attempts of a tree's tasks ended.  Raises `RunNotFound`, `RunDeleted`."""
    root, branch = split_child(run_id)

    def parse(reply: Any) -> KeptAttempts:
        check_exists(run_id, text_of(reply[0]))
        return KeptAttempts(root, branch, int(reply[1]), int(reply[2]), reply[3], reply[4])

    return command("run/attempts", keys.of(root).own, parse, run_id=root, branch=branch)


def resume(
    keys: Keys, run_id: str, *, call: str, number: int, decision: Decision, notifies: bool
) -> Command[Recorded]:
    """Write a person's decision about a suspended call; durable on return.

    *number* 0 means the suspension that is pending, or was last; *call* "" the one decided last.
    The messages in the reply are still to be sent, which *notifies* promises.  Raises `RunConflict`
    where another decision was taken, `NotSuspended`, `SuspensionExpired`.
    """
    several = resume_all(keys, run_id, [(call, number, decision)], notifies=notifies)

    def parse(reply: Any) -> Recorded:
        [recorded] = several.parse(reply)
        return recorded

    return Command(several.script, several.keys, several.args, parse)


def resume_all(
    keys: Keys, run_id: str, decisions: Sequence[tuple[str, int, Decision]], *, notifies: bool
) -> Command[Sequence[Recorded]]:
    """Write the decisions about several calls, each with its call and number, or none of them.

    What `resume` says of one holds for each; the messages to send are those of the first.
    """

    def parse(reply: Any) -> Sequence[Recorded]:
        status = text_of(reply[0])
        check_exists(run_id, status)
        if status != "ok":
            call, _, _ = decisions[int(reply[1])]
            raise _refused_decision(run_id, call, status, reply[2])
        due = sends_of(run_id, reply[1])
        told = zip(reply[2::2], reply[3::2], strict=True)
        return [
            Recorded([] if place else due, is_new=bool(int(is_new)), stored=stored)
            for place, (is_new, stored) in enumerate(told)
        ]

    return command(
        "run/resume",
        keys.of(run_id).all,
        parse,
        run_id=run_id,
        notifies=int(notifies),
        rest=[each for decision in decisions for each in _decision_arguments(*decision)],
    )


def _refused_decision(run_id: str, call: str, status: str, stored: bytes) -> EventedAgentError:
    """Why a decision is refused; *stored* is the one before it."""
    if status == "conflict":
        return RunConflict(run_id, _decided_before(run_id, call, stored))
    if status == "expired":
        return SuspensionExpired(run_id, call or _named(stored))
    return NotSuspended(run_id, call, is_over=status == "over")


def _decision_arguments(call: str, number: int, decision: Decision) -> Sequence[str | int]:
    return (
        *(call, number, decision.digest, decision.follows, decision.entry),
        *(decision.told, decision.data, decision.chunk, decision.result),
    )


def _decided_before(run_id: str, call: str, stored: bytes) -> str:
    """Who has decided what, and when; an older version kept none of it."""
    if not stored:
        named = f"Call {call!r} of run" if call else "The last call decided of run"
        return f"{named} {run_id!r} was decided otherwise before."
    told = pydantic_core.from_json(stored)
    by = f" by {told['by']!r}" if told.get("by") else ""
    at = datetime.fromtimestamp(told["at"] / 1000, UTC).isoformat(sep=" ", timespec="seconds")
    return (
        f"Call {told['toolCallId']!r} ({told['toolName']}) of run {run_id!r} was "
        f"{told['decision']}{by} at {at}; that is not decided again."
    )


def _named(stored: bytes) -> str:
    return str(pydantic_core.from_json(stored)["toolCallId"]) if stored else ""


def put_message(
    keys: Keys, run_id: str, message: NewMessage, *, notifies: bool
) -> Command[Sent | None]:
    """Send a run a message; None where it had ended before, which stays the answer to this id.

    Durable on return; the messages of tasks are still to be sent, which *notifies* promises. Raises
    `RunConflict` for a known id with other content, `InboxFull`, `RunNotFound`, `RunDeleted`.
    """

    def parse(reply: Any) -> Sent | None:
        status = text_of(reply[0])
        check_exists(run_id, status)
        if status == "conflict":
            raise RunConflict(
                run_id,
                f"Message {message.id!r} was sent to run {run_id!r} before, with other content. "
                "Choose another message_id.",
            )
        if status == "full":
            raise InboxFull(run_id)
        return None if status == "over" else Sent(int(reply[1]), sends_of(run_id, reply[2]))

    return command(
        "run/send",
        keys.of(run_id).all,
        parse,
        run_id=run_id,
        id=message.id,
        digest=message.digest,
        entry=message.entry,
        chunk=message.chunk,
        interrupt=int(message.interrupts),
        waits=message.waits,
        by=message.by,
        notifies=int(notifies),
    )


def yield_turn(keys: Keys, run_id: str, *, number: int) -> Command[bool]:
    """Let another run have the turn of one that only waits; False where it does not.

    *number* is that of its entry in the thread; it enters anew before its next model call.
    """

    def parse(reply: Any) -> bool:
        check_exists(run_id, text_of(reply[0]))
        return bool(reply[0] == b"ok")

    return command("run/yield_turn", keys.of(run_id).own, parse, run_id=run_id, number=number)


def retry_failed(keys: Keys, run_id: str, *, notifies: bool) -> Command[Sequence[Due]]:
    """Let a failed run go on at the tasks that were under way.  Durable on return.

    Raises `NotFailed`; `RunConflict` while people are still being told that it failed.
    """

    def parse(reply: Any) -> Sequence[Due]:
        status = text_of(reply[0])
        check_exists(run_id, status)
        if status == "not-failed":
            raise NotFailed(run_id, text_of(reply[1]))
        if status == "telling":
            raise RunConflict(
                run_id, f"Run {run_id!r} is still telling its hooks that it failed; try again."
            )
        if status == "not-kept":
            raise NotFailed(run_id, "failed, by a version that kept nothing to go on from")
        return sends_of(run_id, reply[1])

    return command(
        "run/retry_failed",
        keys.of(run_id).all,
        parse,
        run_id=run_id,
        notifies=int(notifies),
        token=secrets.token_hex(8),
    )


def cancel(keys: Keys, run_id: str, *, call: str, reason: str) -> Command[bool]:
    """End a background call; durable on return.  False where it had ended, or there is none."""

    def parse(reply: Any) -> bool:
        check_exists(run_id, text_of(reply[0]))
        return bool(reply[0] == b"ok")

    return command(
        "run/cancel",
        keys.of(run_id).all,
        parse,
        run_id=run_id,
        call=call,
        reason=reason,
        token=secrets.token_hex(8),
    )


def abort(keys: Keys, run_id: str, *, reason: str | None) -> Command[bool]:
    """Ask that the run ends; durable on return.  False if it had ended before."""

    def parse(reply: Any) -> bool:
        check_exists(run_id, text_of(reply[0]))
        return bool(reply[0] == b"ok")

    return command(
        "run/abort",
        keys.of(run_id).all,
        parse,
        run_id=run_id,
        reason=reason or "",
        token=secrets.token_hex(8),
    )


def delete(
    keys: Keys, run_id: str, *, indexes: Sequence[tuple[str, str]], tombstone_ms: int
) -> Command[None]:
    """Remove everything of a run but a tombstone.  Raises `RunNotFound`, `RunDeleted`."""
    shard = keys.shard(run_id)
    index_keys = [keys.index(shard, kind, value) for kind, value in indexes]
    return command(
        "run/delete",
        (*keys.of(run_id).all, *index_keys),
        lambda reply: check_exists(run_id, text_of(reply[0])),
        run_id=run_id,
        tombstone_ms=tombstone_ms,
        token=secrets.token_hex(8),
    )
