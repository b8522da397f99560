"""The conversations of a deployment, and whose turn it is in each.

A thread may live in another cluster slot than its runs; no script touches both.
"""

from collections.abc import Sequence

from evented_agent.ledger.keys import Keys
from evented_agent.ledger.replies import text_of
from evented_agent.ledger.script import Command, command


def enter(keys: Keys, thread: str, run_id: str, *, ttl_ms: int) -> Command[str]:
    """Queue for a turn in a thread, once; returns the run whose turn it is."""
    turns = keys.thread(thread).turns
    return command("threads/enter", (turns,), text_of, run_id=run_id, ttl_ms=ttl_ms)


def leave(keys: Keys, thread: str, run_id: str) -> Command[str | None]:
    """End a run's turn, or its wait for one; returns the run whose turn it is now."""
    turns = keys.thread(thread).turns
    return command(
        "threads/leave_thread", (turns,), lambda reply: text_of(reply) or None, run_id=run_id
    )


def remember(
    keys: Keys, thread: str, run_id: str, *, journal_length: int, entry: str, ttl_ms: int
) -> Command[bool]:
    """Keep what a run added to a thread; False where that is known from a longer journal."""
    where = keys.thread(thread)
    return command(
        "threads/remember",
        (where.log, where.places),
        bool,
        run_id=run_id,
        journal_length=journal_length,
        entry=entry,
        ttl_ms=ttl_ms,
    )


def recall(keys: Keys, thread: str, *, most: int) -> Command[Sequence[bytes]]:
    """Return what the last *most* runs added to a thread, oldest first."""
    return command("threads/recall", (keys.thread(thread).log,), list[bytes], most=most)


def forget_run(keys: Keys, thread: str, run_id: str, *, ttl_ms: int) -> Command[None]:
    """Take out what a run added to a thread; for *ttl_ms* nothing more of it is remembered."""
    where = keys.thread(thread)
    return command(
        "threads/forget_run",
        (where.log, where.places),
        lambda _: None,
        run_id=run_id,
        ttl_ms=ttl_ms,
    )


def drop(keys: Keys, thread: str) -> Command[None]:
    """Forget a conversation; whose turn it is stays known."""
    where = keys.thread(thread)
    return command("threads/drop", (where.log, where.places), lambda _: None)
