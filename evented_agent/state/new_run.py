"""What the record and the first chunks of a run have in common, whoever begins it."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evented_agent.agents.agent import Agent
from evented_agent.agents.run_options import RunOptions
from evented_agent.chunks import Start, StartPayload, StepStart, StepStartPayload
from evented_agent.chunks.base import dump_json
from evented_agent.chunks.codec import encode_chunk
from evented_agent.given import as_stored_count
from evented_agent.ledger import runs
from evented_agent.ledger.indexes import indexes_of
from evented_agent.ledger.keys import Keys
from evented_agent.ledger.records import FIRST_FORMAT, FORMAT, Due, NewTask, Record
from evented_agent.ledger.script import Command
from evented_agent.models.messages import Message, dump_messages
from evented_agent.state.fold import State

#: Most characters of an input that a chunk repeats.
MOST_SHOWN = 64 * 1024
#: The first task of each run.
FIRST_TASK = NewTask("1:model", "model", 1)
#: What a run that follows another has from it, as it is stored.
_INHERITED = (
    *("agent", "agent_version", "options", "queue", "tool_limit", "thread", "resource"),
    *("metadata", "tells", "output_type", "deadline_in"),
    *("ttl_topic", "ttl_record", "abort_grace"),
)


def declared_fields(agent: Agent, options: RunOptions, thread: str | None) -> dict[str, str | int]:
    """What scripts have to know of an agent's declaration and the run's options."""
    hooks = agent.hooks
    events = {
        "suspended": "on_suspended" in hooks,
        "failed": thread is not None or "on_error" in hooks,
        "aborted": thread is not None or "on_abort" in hooks,
    }
    tells = " ".join(event for event, is_wanted in events.items() if is_wanted)
    default = agent.output_type
    output = options.output_type or (default.name if default else "")
    limit = options.tool_call_concurrency or agent.tool_call_concurrency
    texts = {name: text for name, text in (("tells", tells), ("output_type", output)) if text}
    return {"tool_limit": as_stored_count(limit), **texts}


def opening_chunks(agent_id: str, given: Sequence[Message]) -> Sequence[str]:
    """What readers are told first: who answers, and to what, unless that is long."""
    shown = dump_messages(given)
    is_long = len(dump_json(shown)) > MOST_SHOWN
    start = StartPayload(id=agent_id) if is_long else StartPayload(id=agent_id, input=shown)
    return [
        encode_chunk(Start, None, start),
        encode_chunk(StepStart, None, StepStartPayload(step=1)),
    ]


def digest_of_call(*parts: str | None) -> str:
    """What tells one call from another that gives the same id."""
    return hashlib.sha256(dump_json(list(parts)).encode()).hexdigest()[:32]


def first_due(run_id: str, agent_id: str, queue: str) -> Due:
    """The message that starts a run."""
    return Due(run_id, FIRST_TASK.key, 1, FIRST_TASK.kind, None, queue, agent_id)


def following_id(thread: str | None, resource: str | None, message_id: str) -> str:
    """The id of the run that a message begins in a conversation: the same for the same message."""
    return digest_of_call("message", thread, resource, message_id)


@dataclass(frozen=True, slots=True)
class FollowingRun:
    """A run that answers messages which another has left: what begins it.

    *create* is given the span that it belongs to, as it is stored, or "". *takes_turns* says
    whether it enters its conversation first.
    """

    run_id: str
    create: Callable[[str], Command[bool]]
    due: Due
    takes_turns: bool


def following_run(
    keys: Keys, before: Record, message_id: str, messages: Sequence[Message]
) -> FollowingRun:
    """A run that answers *messages* as the one *before* would have.

    It has that one's agent, options and conversation; the same message begins the same run.
    """
    found = before.fields
    fields: dict[str, str | int] = {
        "v": FIRST_FORMAT,
        "messages": dump_json(dump_messages(messages)),
        **{name: found[name] for name in _INHERITED if name in found},
    }
    thread, resource = found.get("thread"), found.get("resource")
    run_id = following_id(thread, resource, message_id)
    options = RunOptions.load(found.get("options", "{}"))
    if options.is_new_kind:
        fields["v"] = FORMAT

    def create(trace: str) -> Command[bool]:
        return runs.create(
            keys,
            run_id,
            digest=digest_of_call("message", message_id, str(fields["messages"])),
            fields={**fields, "trace": trace} if trace else fields,
            indexes=indexes_of(found["agent"], thread, resource),
            first=FIRST_TASK,
            chunks=opening_chunks(found["agent"], messages),
        )

    due = first_due(run_id, found["agent"], found["queue"])
    return FollowingRun(run_id, create, due, options.when_busy != "parallel")


def following_dropped(keys: Keys, before: Record, state: State) -> FollowingRun | None:
    """The run that answers what a failed run with a conversation has left; None for nothing."""
    if "thread" not in before.fields or not state.dropped:
        return None
    messages = [message for each in state.dropped for message in each.messages]
    return following_run(keys, before, state.dropped[0].id, messages)
