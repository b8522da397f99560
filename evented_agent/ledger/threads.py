"""The conversations of a deployment, and whose turn it is in each.

A thread may live in another cluster slot than its runs; no script touches both.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evented_agent.ledger.keys import Keys
from evented_agent.ledger.replies import text_of
from evented_agent.ledger.script import Command, command


@dataclass(frozen=True, slots=True)
class Conversation:
    """What lists show of a conversation; times are ms of the Redis clock.

    *name* is its `thread_name`, *said* its last words as JSON, b"" where they are not known, and
    *turn* the run that has the turn, or "".
    """

    name: str
    created: int
    updated: int
    title: str
    runs: int
    messages: int
    said: bytes
    turn: str


def enter(keys: Keys, thread: str, run_id: str, *, ttl_ms: int) -> Command[str]:
    """Queue for a turn in a thread, once; returns the run whose turn it is."""
    return command(
        "threads/enter",
        keys.thread(thread).all,
        text_of,
        run_id=run_id,
        name=thread,
        ttl_ms=ttl_ms,
    )


def leave(keys: Keys, thread: str, run_id: str) -> Command[str | None]:
    """End a run's turn, or its wait for one; returns the run whose turn it is now."""
    turns = keys.thread(thread).turns
    return command(
        "threads/leave_thread", (turns,), lambda reply: text_of(reply) or None, run_id=run_id
    )


def remember(
    keys: Keys,
    thread: str,
    run_id: str,
    *,
    journal_length: int,
    entry: str,
    ttl_ms: int,
    messages: int = 0,
) -> Command[bool]:
    """Keep what a run added to a thread, so many messages; False where more of it is known."""
    return command(
        "threads/remember",
        keys.thread(thread).all,
        bool,
        run_id=run_id,
        name=thread,
        journal_length=journal_length,
        entry=entry,
        messages=messages,
        ttl_ms=ttl_ms,
    )


def recall(keys: Keys, thread: str, *, most: int) -> Command[Sequence[bytes]]:
    """Return what the last *most* runs added to a thread, oldest first."""
    return command("threads/recall", (keys.thread(thread).log,), list[bytes], most=most)


def forget_run(keys: Keys, thread: str, run_id: str, *, ttl_ms: int) -> Command[None]:
    """Take out what a run added to a thread; for *ttl_ms* nothing more of it is remembered."""
    return command(
        "threads/forget_run",
        keys.thread(thread).all,
        lambda _: None,
        run_id=run_id,
        ttl_ms=ttl_ms,
    )


def drop(keys: Keys, thread: str) -> Command[None]:
    """Forget a conversation; whose turn it is stays known."""
    return command("threads/drop", keys.thread(thread).all, lambda _: None)


def retitle(keys: Keys, thread: str, title: str) -> Command[bool]:
    """Give a conversation a title, "" for none; False where there is no such conversation."""

    def parse(reply: Any) -> bool:
        return bool(reply[0] == b"ok")

    where = keys.thread(thread).all
    return command("threads/retitle", where, parse, name=thread, title=title)


def look_at(keys: Keys, thread: str) -> Command[Conversation | None]:
    """What lists show of a conversation; None where there is none."""
    where = keys.thread(thread)
    return _look_at((where.turns, where.log, where.about))


def look_at_listed(keys: Keys, shard: int, digest: str) -> Command[Conversation | None]:
    """`look_at` one that an index has."""
    return _look_at(keys.thread_at(shard, digest))


def _look_at(where: tuple[str, str, str]) -> Command[Conversation | None]:
    def parse(reply: Any) -> Conversation | None:
        if reply[0] == b"missing":
            return None
        name, created, updated, title, runs, messages, said, turn = reply[1:]
        return Conversation(
            text_of(name),
            int(created),
            int(updated),
            text_of(title),
            int(runs),
            int(messages),
            said,
            text_of(turn),
        )

    return command("threads/about", where, parse)
