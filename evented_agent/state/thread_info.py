"""A conversation as lists show it."""

from dataclasses import dataclass
from datetime import datetime

import pydantic_core

from evented_agent.ledger.keys import thread_named
from evented_agent.ledger.records import Record
from evented_agent.ledger.run_turns import turn_ends_in
from evented_agent.ledger.threads import Conversation
from evented_agent.state.run_info import Status
from evented_agent.state.views import moment


@dataclass(frozen=True, slots=True)
class ThreadTurn:
    """The run that has the turn in a conversation.

    Attributes:
        run_id: The run.
        status: Its status; one that has just ended may keep its turn for a moment.
    """

    run_id: str
    status: Status


@dataclass(frozen=True, slots=True)
class ThreadInfo:
    """A conversation at one moment; all times are in UTC, of the clock of Redis.

    Attributes:
        thread_id: The conversation.
        resource_id: Whose it is, if that was given.
        title: What `set_thread_title` has called it; None before.
        created_at: When it was first seen.
        updated_at: When a run last began to wait for its turn in it, or added to it.
        last_message: Its last words, up to 200 characters; "" where there are none, or an agent's
            own `Memory` keeps them.
        messages: How many messages it has; of those that an older version has kept, none.
        runs: How many runs have added to it.
        turn: The run that has the turn; None where none has, or all run in parallel.
    """

    thread_id: str
    resource_id: str | None
    title: str | None
    created_at: datetime
    updated_at: datetime
    last_message: str = ""
    messages: int = 0
    runs: int = 0
    turn: ThreadTurn | None = None


def thread_info_of(found: Conversation, holder: Record | None) -> ThreadInfo:
    """Read what the index knows of a conversation; *holder* is the run that has the turn there."""
    thread_id, resource_id = thread_named(found.name)
    turn = None
    if holder is not None and turn_ends_in(holder) != 0:
        turn = ThreadTurn(holder.run_id, holder.fields["status"])  # type: ignore[arg-type]
    return ThreadInfo(
        thread_id=thread_id,
        resource_id=resource_id,
        title=found.title or None,
        created_at=moment(found.created),
        updated_at=moment(found.updated),
        last_message=pydantic_core.from_json(found.said) if found.said else "",
        messages=found.messages,
        runs=found.runs,
        turn=turn,
    )
