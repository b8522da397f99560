"""The scripts for people: calls that wait for them, runs that they let go on."""

import secrets
from collections.abc import Sequence
from typing import Any

from evented_agent.errors import NotFailed, NotSuspended, RunConflict, SuspensionExpired
from evented_agent.ledger.call import Call, script
from evented_agent.ledger.keys import Keys
from evented_agent.ledger.operations import check_exists, owned, sends_of, text_of
from evented_agent.ledger.records import Committed, Decision, Due, Task


def suspend(
    keys: Keys, task: Task, *, sent: int, chunks: Sequence[str], ask: str, asked: str
) -> Call[Committed]:
    """End an attempt that asks for a person, with the chunk *ask*; what it said stays.

    *asked* is what `Suspended.asked` holds.  Raises `Fenced`.
    """

    def parse(reply: Any) -> Committed:
        if reply[0] == b"aborted":
            return Committed(aborted=True)
        return Committed(sends_of(task.run_id, owned(reply)[1]))

    return Call(
        script("suspend"),
        keys.of(task.run_id).all,
        (task.run_id, task.key, task.token, sent, asked, ask, *chunks),
        parse,
    )


def resume(
    keys: Keys, run_id: str, *, call: str, number: int, decision: Decision, rings: bool
) -> Call[Sequence[Due]]:
    """Write a person's decision about a suspended call; durable on return.

    *number* 0 means the suspension that is pending, or was last; *call* "" the one decided last.
    The messages in the reply are still to be sent, which *rings* promises.  Raises `RunConflict`
    where another decision was taken, `NotSuspended`, `SuspensionExpired`.
    """

    def parse(reply: Any) -> Sequence[Due]:
        status = text_of(reply[0])
        check_exists(run_id, status)
        if status == "conflict":
            raise RunConflict(run_id, f"Call {call!r} of run {run_id!r} was decided otherwise.")
        if status == "expired":
            raise SuspensionExpired(run_id, call)
        if status in ("not-suspended", "over"):
            raise NotSuspended(run_id, call, is_over=status == "over")
        return sends_of(run_id, reply[1])

    what = (decision.digest, decision.follows, int(rings))
    texts = (decision.entry, decision.data, decision.chunk, decision.result)
    return Call(script("resume"), keys.of(run_id).all, (run_id, call, number, *what, *texts), parse)


def revive(keys: Keys, run_id: str, *, rings: bool) -> Call[Sequence[Due]]:
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

    args = (run_id, int(rings), secrets.token_hex(8))
    return Call(script("revive"), keys.of(run_id).all, args, parse)


def nudge(keys: Keys, run_id: str, task_key: str) -> Call[Sequence[Due]]:
    """Let a task that waits for its turn try now; the message to send, if there is one."""
    return Call(
        script("nudge"),
        keys.of(run_id).all,
        (run_id, task_key),
        lambda reply: sends_of(run_id, reply[1]) if reply[0] == b"ok" else (),
    )


def cancel(keys: Keys, run_id: str, *, call: str, reason: str) -> Call[bool]:
    """End a background call; durable on return.  False where it had ended, or there is none."""

    def parse(reply: Any) -> bool:
        check_exists(run_id, text_of(reply[0]))
        return bool(reply[0] == b"ok")

    args = (run_id, call, reason, secrets.token_hex(8))
    return Call(script("cancel"), keys.of(run_id).all, args, parse)
