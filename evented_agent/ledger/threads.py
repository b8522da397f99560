"""The conversations of a deployment, and whose turn it is in each.

A thread may live in another cluster slot than its runs; no script touches both.
"""

from collections.abc import Sequence
from typing import Any

from evented_agent.ledger.keys import Keys
from evented_agent.ledger.script import Command, script


def enter(keys: Keys, thread: str, run_id: str, *, ttl_ms: int) -> Command[str]:
    """Queue for a turn in a thread, once; the run whose turn it is."""
    where = keys.thread(thread)
    return Command(
        script("threads/enter"), (where.turns,), (run_id, ttl_ms), lambda reply: str(reply.decode())
    )


def leave(keys: Keys, thread: str, run_id: str) -> Command[str | None]:
    """End a run's turn, or its wait for one; the run whose turn it is now."""
    where = keys.thread(thread)
    return Command(
        script("threads/leave_thread"),
        (where.turns,),
        (run_id,),
        lambda reply: reply.decode() or None,
    )


def remember(
    keys: Keys, thread: str, run_id: str, *, journal_length: int, entry: str, ttl_ms: int
) -> Command[bool]:
    """Keep what a run added to a thread; False where that is known from a longer journal."""
    where = keys.thread(thread)
    args = (run_id, journal_length, entry, ttl_ms)
    return Command(script("threads/remember"), (where.log, where.places), args, bool)


def recall(keys: Keys, thread: str, *, most: int) -> Command[Sequence[bytes]]:
    """What the last *most* runs added to a thread, oldest first."""

    def parse(reply: Any) -> Sequence[bytes]:
        return list(reply)

    return Command(script("threads/recall"), (keys.thread(thread).log,), (most,), parse)


def drop(keys: Keys, thread: str) -> Command[None]:
    """Forget a conversation; whose turn it is stays known."""
    where = keys.thread(thread)
    return Command(script("threads/drop"), (where.log, where.places), (), lambda _: None)
