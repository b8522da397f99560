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


@dataclass(frozen=True, slots=True)
class TurnHolder:
    """Whose turn it is in a thread.

    *number* is that of its entry: who enters anew gets another. *sent_to* is the run to which a
    message went that has the id of the run that asks, or "".
    """

    holder: str
    number: int
    sent_to: str


def enter(
    keys: Keys,
    thread: str,
    run_id: str,
    *,
    ttl_ms: int,
    void: str | None = None,
    is_begun: bool = False,
) -> Command[TurnHolder]:
    """Queue for a turn in a thread, once; anew where the entry has the number *void*.

    With *is_begun* a message begins the run, and later messages to the thread go to none before it.
    """

    def parse(reply: Any) -> TurnHolder:
        return TurnHolder(text_of(reply[0]), int(reply[1]), text_of(reply[2]))

    return command(
        "threads/enter",
        keys.thread(thread).all,
        parse,
        run_id=run_id,
        name=thread,
        ttl_ms=ttl_ms,
        void=void or "",
        begun=int(is_begun),
    )


def leave(
    keys: Keys, thread: str, run_id: str, *, number: int | None = None
) -> Command[str | None]:
    """End a run's turn, or its wait for one; returns the run whose turn it is now.

    With a *number* only where its entry still has that.
    """
    where = keys.thread(thread)
    return command(
        "threads/leave_thread",
        (where.turns, where.entries),
        lambda reply: text_of(reply) or None,
        run_id=run_id,
        number="" if number is None else number,
    )


def next_turn(keys: Keys, thread: str, run_id: str) -> Command[str | None]:
    """The run that waits for the turn that this one has; None where none does, or it has none."""
    turns = keys.thread(thread).turns
    return command(
        "threads/next_turn", (turns,), lambda reply: text_of(reply) or None, run_id=run_id
    )


def bind(
    keys: Keys, thread: str, message_id: str, *, ttl_ms: int, to: str = "", otherwise: str = ""
) -> Command[str | None]:
    """Say once and for all to which run a message to a thread goes: *to*, or whose turn it is.

    A run that a message has begun, and that waits for its turn, comes before that: no message
    overtakes another.
    Where none has the turn, *otherwise*, or None for "".
    """
    return command(
        "threads/bind",
        keys.thread(thread).all,
        lambda reply: text_of(reply) or None,
        message_id=message_id,
        to=to,
        otherwise=otherwise,
        ttl_ms=ttl_ms,
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
