"""Plans of messages to runs and conversations: which run has one, and what it begins."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict

from evented_agent.agents.agent import Agent
from evented_agent.agents.run_options import StreamOptions
from evented_agent.chunks import MessageQueued, MessageQueuedPayload
from evented_agent.chunks.base import dump_json
from evented_agent.chunks.codec import encode_chunk
from evented_agent.client.deployment import Deployment
from evented_agent.client.index_pages import all_members, newest_members
from evented_agent.client.owner import label_of, read_owned, thread_of
from evented_agent.client.queries import read_journal
from evented_agent.client.turns import create_in_line
from evented_agent.errors import (
    DeclarationError,
    RunConflict,
    RunDeleted,
    RunEnded,
    RunNotFound,
    ThreadNotFound,
    TooLarge,
)
from evented_agent.given import check_names, check_optional_text
from evented_agent.ledger import runs, threads
from evented_agent.ledger.keys import thread_name
from evented_agent.ledger.plan import Plan, notify, send
from evented_agent.ledger.records import NewMessage, Record
from evented_agent.ledger.settings import milliseconds
from evented_agent.models.messages import (
    Input,
    Message,
    UserMessage,
    dump_messages,
    parse_messages,
)
from evented_agent.state.fold import fold
from evented_agent.state.journal import Received, dump_entry
from evented_agent.state.new_run import (
    MOST_SHOWN,
    FollowingRun,
    digest_of_call,
    following_dropped,
    following_id,
    following_run,
)
from evented_agent.state.receipt import Receipt
from evented_agent.state.run_info import RunInfo, info_of
from evented_agent.telemetry.tracing import following_span


class SendOptions(TypedDict, total=False):
    """What a message is beside its text.

    Attributes:
        message_id: Names the message: sent again with the same id, it is the same message. Without
            one, each call sends another.
        by: Who sends it: any text, for readers.
        interrupt: Cut short what the model says now. What it has said is kept; tools run on.
        hold: Let the message wait while a person is asked, where the run waits for one.
        decline: Decline the calls that wait for a person.
        agent: The id of the agent that a conversation begins with, where it has no run yet.
        resource_id: Whose run, or conversation, it must be; another's is `RunNotFound`.
    """

    message_id: str | None
    by: str | None
    interrupt: bool
    hold: bool
    decline: bool
    agent: str | None
    resource_id: str | None


@dataclass(frozen=True, slots=True)
class Steered:
    """Where an input went that a run took which was under way."""

    run_id: str
    number: int


@dataclass(frozen=True, slots=True)
class First:
    """A message with which a conversation begins, and the options of the run that answers it."""

    message_id: str
    options: StreamOptions


@dataclass(frozen=True, slots=True)
class _Message:
    """A message, checked: as the script takes it, and what it says."""

    new: NewMessage
    said: Sequence[Message]


@dataclass(frozen=True, slots=True)
class _Talk:
    """A conversation, and whose it is."""

    thread: str
    resource: str | None

    @property
    def name(self) -> str:
        return thread_name(self.thread, self.resource)

    def following_id(self, message_id: str) -> str:
        return following_id(self.thread, self.resource, message_id)


def is_said_by_user(messages: Sequence[Message]) -> bool:
    """Whether all of it is a user's: what else there may be only begins a run."""
    return all(isinstance(message, UserMessage) for message in messages)


def steer(
    at: Deployment, run_id: str, message_id: str, given: Sequence[Message]
) -> Plan[Steered | None]:
    """Send an input to a run as a message; None where that has ended, or is gone."""
    message = _made(at, given, message_id, {})
    try:
        number = yield from _deliver(at, run_id, message)
    except (RunNotFound, RunDeleted):
        return None
    return None if number is None else Steered(run_id, number)


def send_to_run(
    at: Deployment, run_id: str, given: Input, options: SendOptions, *, may_begin: bool = True
) -> Plan[Receipt | None]:
    """Send a message to a run, or begin the next one of its conversation with it.

    None where that would have to be begun, and may not: the same message may begin it later.
    """
    message = _checked(at, given, options)
    resource = label_of(options.get("resource_id"), "resource_id")
    if resource is not None:
        yield from read_owned(at, run_id, resource)
    yield from at.agree()
    number = yield from _deliver(at, run_id, message)
    if number is not None:
        return Receipt(message.new.id, run_id, number)
    record = yield from send(runs.read(at.keys, run_id))
    if "thread" not in record.fields:
        status = record.fields["status"]
        ended = f"is {status}" if record.ended else "is about to end"
        raise RunEnded(
            run_id,
            f"Run {run_id!r} {ended} and belongs to no conversation, so nobody would answer. Start "
            "another one; with a thread_id, messages to one that has ended begin the next.",
        )
    return (yield from _follow(at, record, message)) if may_begin else None


def send_to_thread(
    at: Deployment,
    thread_id: str,
    given: Input,
    options: SendOptions,
    agent: Agent | None,
    *,
    may_begin: bool = True,
) -> Plan[Receipt | First | None]:
    """Send a message to the run that has the turn in a conversation, or begin the next run.

    Where the conversation has none, says what to begin the first one of *agent* with. None where a
    run would have to be begun, and may not: the same message may begin it later.
    """
    talk = _Talk(*thread_of(thread_id, options.get("resource_id")))
    message = _checked(at, given, options)
    yield from at.agree()
    own = talk.following_id(message.new.id)
    run_id = yield from _bound(at, talk, message.new.id, otherwise=own if agent else "")
    before = None
    if run_id not in (None, own):
        assert run_id is not None
        try:
            number = yield from _deliver(at, run_id, message)
            if number is not None:
                return Receipt(message.new.id, run_id, number)
            before = yield from send(runs.read(at.keys, run_id))
        except (RunNotFound, RunDeleted):
            # Its record is gone, or was never made: the message begins a run.
            before = None
    before = before or (yield from _newest(at, talk))
    if before is not None and before.run_id == own:
        return (yield from _begun(at, before, message))
    if not may_begin:
        return None
    if before is not None:
        return (yield from _follow(at, before, message))
    if agent is None:
        raise ThreadNotFound(talk.thread, talk.resource)
    ttl_ms = milliseconds(at.settings.thread_ttl)
    yield from send(threads.enter(at.keys, talk.name, own, ttl_ms=ttl_ms, is_begun=True))
    return _first(talk, message)


def meant_run(
    at: Deployment, thread_id: str, message_id: str, resource_id: str | None
) -> Plan[RunInfo | None]:
    """The run that a message to a conversation goes to, or follows; None where it has none yet.

    Which one the message goes to is said with this once and for all.
    """
    talk = _Talk(*thread_of(thread_id, resource_id))
    label_of(message_id, "message_id")
    yield from at.agree()
    run_id = yield from _bound(at, talk, message_id, otherwise="")
    record: Record | None = None
    if run_id is not None:
        try:
            record = yield from send(runs.read(at.keys, run_id))
        except (RunNotFound, RunDeleted):
            record = None
    record = record or (yield from _newest(at, talk))
    return None if record is None else info_of(record)


def _bound(at: Deployment, talk: _Talk, message_id: str, *, otherwise: str) -> Plan[str | None]:
    """Say once and for all which run a message goes to; *otherwise* where there is none."""
    ttl_ms = milliseconds(at.settings.thread_ttl)
    run_id = yield from send(threads.bind(at.keys, talk.name, message_id, ttl_ms=ttl_ms))
    if run_id is not None:
        return run_id
    newest = yield from _newest(at, talk)
    last = newest.run_id if newest else otherwise
    if not last:
        return None
    bind = threads.bind(at.keys, talk.name, message_id, otherwise=last, ttl_ms=ttl_ms)
    return (yield from send(bind)) or last


def _first(talk: _Talk, message: _Message) -> First:
    message_id = message.new.id
    begins: StreamOptions = {"run_id": talk.following_id(message_id), "thread_id": talk.thread}
    if talk.resource is not None:
        begins["resource_id"] = talk.resource
    return First(message_id, begins)


def _begun(at: Deployment, record: Record, message: _Message) -> Plan[Receipt]:
    """The run that the same message has begun before."""
    if record.fields["messages"] != dump_json(dump_messages(message.said)):
        raise RunConflict(
            record.run_id,
            f"Message {message.new.id!r} began run {record.run_id!r} before, with other content. "
            "Choose another message_id.",
        )
    yield from notify(at.notifier, record.queued())
    return Receipt(message.new.id, record.run_id, 0, begins_run=True)


def _checked(at: Deployment, given: Input, options: SendOptions) -> _Message:
    """Check what `send` was given."""
    check_names("send()", options, SendOptions.__annotations__)
    for name in ("interrupt", "hold", "decline"):
        if not isinstance(options.get(name, False), bool):
            raise DeclarationError(f"{name}={options.get(name)!r}: pass True or False.")
    if options.get("hold") and options.get("decline"):
        raise DeclarationError(
            "hold=True and decline=True: choose what the message does, not both."
        )
    check_optional_text("by", options.get("by"))
    by = label_of(options.get("by"), "by")
    message_id = label_of(options.get("message_id"), "message_id") or uuid.uuid4().hex
    messages = parse_messages(given)
    if not is_said_by_user(messages):
        raise DeclarationError(
            "A message to a run has what a user says, and nothing else. Pass a text, or messages "
            "with the role 'user'."
        )
    return _made(at, messages, message_id, {**options, "by": by})


def _made(
    at: Deployment, messages: Sequence[Message], message_id: str, options: Mapping[str, Any]
) -> _Message:
    by = options.get("by")
    entry = dump_entry(Received(message_id, messages, by))
    if len(entry.encode()) > at.settings.max_bytes:
        raise TooLarge("message", len(entry.encode()), at.settings.max_bytes)
    shown = dump_messages(messages)
    seen: dict[str, Any] = {
        "input": shown if len(dump_json(shown)) <= MOST_SHOWN else None,
        "by": by,
        "interrupt": options.get("interrupt"),
        "hold": options.get("hold"),
    }
    given = {name: value for name, value in seen.items() if value}
    payload = MessageQueuedPayload(message_id=message_id, **given)
    said = [entry, *(str(bool(options.get(name))) for name in ("interrupt", "hold", "decline"))]
    new = NewMessage(
        id=message_id,
        digest=digest_of_call(*said),
        entry=entry,
        chunk=encode_chunk(MessageQueued, None, payload),
        by="" if by is None else dump_json(by),
        interrupts=bool(options.get("interrupt")),
    )
    if options.get("hold"):
        new = replace(new, waits="hold")
    elif options.get("decline"):
        new = replace(new, waits="decline")
    return _Message(new, messages)


def _deliver(at: Deployment, run_id: str, message: _Message) -> Plan[int | None]:
    """The number that the message has in that run; None where the run had ended before."""
    command = runs.put_message(at.keys, run_id, message.new, notifies=at.notifies)
    sent = yield from send(command)
    if sent is None:
        return None
    yield from notify(at.notifier, sent.sends)
    return sent.number


def _follow(at: Deployment, before: Record, message: _Message) -> Plan[Receipt]:
    """Begin the run that answers a message, as the one *before* would have."""
    if before.fields["status"] == "failed":
        # What it left unanswered was sent before, perhaps by the same sender.
        _, entries = yield from read_journal(at, before.run_id)
        following = following_dropped(at.keys, before, fold(entries))
        if following is not None:
            yield from _create(at, before, following)
    following = following_run(at.keys, before, message.new.id, message.said)
    yield from _create(at, before, following)
    return Receipt(message.new.id, following.run_id, 0, begins_run=True)


def _create(at: Deployment, before: Record, following: FollowingRun) -> Plan[None]:
    name = thread_name(before.fields["thread"], before.fields.get("resource"))
    if following.takes_turns:
        ttl_ms = milliseconds(at.settings.thread_ttl)
        enter = threads.enter(at.keys, name, following.run_id, ttl_ms=ttl_ms, is_begun=True)
        yield from send(enter)
    line = name if following.takes_turns else None
    with following_span(at.settings, before, following.run_id) as span:
        create = following.create(span.stored)
        if (yield from create_in_line(at, line, following.run_id, create)):
            yield from notify(at.notifier, [following.due])


def _newest(at: Deployment, talk: _Talk) -> Plan[Record | None]:
    """The newest run of a conversation whose record there is."""
    index = ("thread", talk.thread)
    found, is_all = yield from newest_members(at.keys, index)
    record = yield from _first_of(at, talk, found)
    if record is not None or is_all:
        return record
    # Others have threads of that name.
    found = yield from all_members(at.keys, index)
    if talk.resource is not None:
        own = yield from all_members(at.keys, ("resource", talk.resource))
        found = {run_id: found[run_id] for run_id in own if run_id in found}
    return (yield from _first_of(at, talk, found))


def _first_of(at: Deployment, talk: _Talk, found: Mapping[str, int]) -> Plan[Record | None]:
    for run_id in sorted(found, key=lambda each: (found[each], each), reverse=True):
        try:
            record = yield from send(runs.read(at.keys, run_id))
        except (RunNotFound, RunDeleted):
            continue
        if record.fields.get("resource") == talk.resource:
            return record
    return None
