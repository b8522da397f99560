"""Scripts of the watchdog: which runs need a look, and what a look does."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pydantic_core

from evented_agent.chunks.base import dump_json
from evented_agent.ledger.keys import Keys
from evented_agent.ledger.records import Due
from evented_agent.ledger.replies import sends_of, text_of
from evented_agent.ledger.script import Command, command

#: A look at the alarms is acted on within so many ms, or not at all.
LOOK_MS = 1_000


@dataclass(frozen=True, slots=True)
class Tick:
    """What one look at a shard's alarms gave; *now* is the time of the Redis clock (ms).

    *is_watching* tells whether this watchdog is the one that looks, *due* names runs whose alarm
    rang, *unconfirmed* those with a message that may be lost, *grace_begins* why leases get more
    time.
    """

    is_watching: bool
    now: int
    wait_ms: int = 0
    grace_until: int = 0
    due: Sequence[str] = ()
    unconfirmed: Sequence[str] = ()
    grace_begins: str = ""


@dataclass(frozen=True, slots=True)
class Since:
    """What a watchdog knows of its last tick; all in ms, *now* by the Redis clock."""

    now: int = 0
    elapsed: int = 0
    saw_pause: bool = False


def tick(
    keys: Keys, shard: int, *, watchdog: str, lock_ms: int, since: Since, most: int, lease_ms: int
) -> Command[Tick]:
    """Look at a shard's alarms, unless another watchdog of the fleet does."""

    def parse(reply: Any) -> Tick:
        if reply[0] != b"ok":
            return Tick(is_watching=False, now=int(reply[1]), wait_ms=int(reply[2]))
        due, unconfirmed = ([text_of(run_id) for run_id in found] for found in reply[3:5])
        why = text_of(reply[5])
        return Tick(True, int(reply[1]), 0, int(reply[2]), due, unconfirmed, why)

    return command(
        "watch/tick",
        keys.watch(shard),
        parse,
        watchdog=watchdog,
        lock_ms=lock_ms,
        last=since.now,
        elapsed=since.elapsed,
        saw_pause=int(since.saw_pause),
        most=most,
        pause_ms=pause_ms(lease_ms),
        grace_ms=lease_ms + 2000,
    )


def pause_ms(lease_ms: int) -> int:
    """A silence of Redis so long that heartbeats may have been missed."""
    return lease_ms * 2 // 3 - 100


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What reconcile found: messages to send, dead attempts, suspensions that expire soon.

    *is_late* says that the look was too old to be acted on.
    """

    sends: Sequence[Due]
    crashes: Sequence[Mapping[str, Any]]
    expiring: Sequence[Mapping[str, Any]] = ()
    is_late: bool = False


def reconcile(
    keys: Keys, run_id: str, *, look: Tick, may_send: bool, jitter: float, is_served: bool = True
) -> Command[Reconciled]:
    """Look at a run whose alarm rang, and set its next alarm.

    What no live worker serves (*is_served*) is not sent, and looked at again after `ring`.
    """

    def parse(reply: Any) -> Reconciled:
        if reply[0] != b"ok":
            return Reconciled((), (), is_late=reply[0] == b"late")
        notes = pydantic_core.from_json(reply[2]) or ()
        crashes = [note for note in notes if "crashes" in note]
        expiring = [note for note in notes if "expires" in note]
        return Reconciled(sends_of(run_id, reply[1]), crashes, expiring)

    return command(
        "watch/reconcile",
        keys.of(run_id).all,
        parse,
        run_id=run_id,
        grace_until=look.grace_until,
        may_send=int(may_send) if is_served else "unserved",
        jitter=f"{jitter:.3f}",
        latest=look.now + LOOK_MS,
    )


def whose(keys: Keys, run_ids: Sequence[str]) -> Command[Sequence[tuple[str, str, int]]]:
    """Return the queue, the agent and the record's format of runs of one shard."""

    def parse(reply: Any) -> Sequence[tuple[str, str, int]]:
        return [
            (text_of(queue or b""), text_of(acting or agent or b""), int(v or 0))
            for queue, agent, v, acting in reply
        ]

    return command("watch/whose", [keys.of(run_id).run for run_id in run_ids], parse)


def ring(keys: Keys, shard: int, *, after_ms: int, most: int) -> Command[int]:
    """Look at once at runs whose message would be sent more than *after_ms* from now."""
    return command("watch/ring", (keys.bells(shard),), int, after=after_ms, most=most)


def wake(keys: Keys, run_id: str, task_key: str = "") -> Command[Sequence[Due]]:
    """Let a task that waits for a slot try now; without a key, one that waits for its turn.

    Returns the message to send, if there is one.
    """
    return command(
        "watch/wake",
        keys.of(run_id).all,
        lambda reply: sends_of(run_id, reply[1]) if reply[0] == b"ok" else (),
        run_id=run_id,
        key=task_key,
    )


def give_up_run(keys: Keys, run_id: str) -> Command[bool]:
    """Fail a run that `reconcile` cannot look at; False where there is no such run.

    Nothing in its record can keep this from being done.
    """
    why = "What is stored of the run cannot be read; the log of the workers says more."
    failure = {"name": "BrokenRecord", "message": why}
    return command(
        "watch/give_up_run",
        keys.of(run_id).all,
        lambda reply: bool(reply[0] == b"ok"),
        run_id=run_id,
        failure=dump_json(failure),
        chunk=dump_json(["error", None, {"error": failure}]),
    )


#: What a server says that has nothing to do with the run.
_OF_SERVER = re.compile(r"NOPERM|NOAUTH|MISCONF|NOREPLICAS|OOM|READONLY|CLUSTER|TRYAGAIN|can't run")


def is_script_error(error: BaseException) -> bool:
    """Whether a script erred on what is stored of its run, rather than the server refused it."""
    said = str(error)
    return "user_script" in said and _OF_SERVER.search(said) is None
