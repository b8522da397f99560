"""The plan that starts a run: options checked, a turn in its thread, the record, the message."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pydantic_core

from evented_agent.agents.agent import Agent
from evented_agent.agents.run_options import THREAD_OPTIONS, RunOptions, StreamOptions
from evented_agent.chunks.base import dump_json
from evented_agent.client.deployment import Deployment
from evented_agent.client.owner import label_of
from evented_agent.client.sending import Steered, is_said_by_user, steer
from evented_agent.client.turns import create_in_line
from evented_agent.errors import DeclarationError, RunDeleted, RunNotFound, ThreadBusy, TooLarge
from evented_agent.given import check_names
from evented_agent.ledger import runs, threads
from evented_agent.ledger.indexes import indexes_of
from evented_agent.ledger.keys import Keys, is_run_id, thread_name
from evented_agent.ledger.plan import Plan, notify, send
from evented_agent.ledger.records import FIRST_FORMAT, FORMAT, Due, Record
from evented_agent.ledger.run_turns import turn_ends_in
from evented_agent.ledger.script import Command
from evented_agent.ledger.settings import Settings, milliseconds
from evented_agent.models.messages import Input, Message, dump_messages, parse_messages
from evented_agent.state.new_run import (
    FIRST_TASK,
    declared_fields,
    digest_of_call,
    first_due,
    opening_chunks,
)
from evented_agent.telemetry.conventions import CONVERSATION, RUN
from evented_agent.telemetry.tracing import starting

#: Ids of the caller that runs are found by.
LABELS = ("thread_id", "resource_id")
#: Seconds that deferred calls may take between two turns with ``until_idle=True``.
UNTIL_IDLE = 300.0


@dataclass(frozen=True, slots=True)
class NewRun:
    """What starts a run, checked.

    *given_id* says that its caller has chosen the id, so that there may be such a run already;
    *own_options* is what it is to be run with, beside what is said of threads.
    """

    run_id: str
    agent: Agent
    given: Sequence[Message]
    options: RunOptions
    own_options: str
    fields: Mapping[str, str | int]
    digest: str
    thread: str | None
    resource: str | None
    given_id: bool
    has_queue: bool

    def command(self, keys: Keys) -> Command[bool]:
        return runs.create(
            keys,
            self.run_id,
            digest=self.digest,
            fields=self.fields,
            indexes=indexes_of(self.agent.id, self.thread, self.resource),
            first=FIRST_TASK,
            chunks=opening_chunks(self.agent.id, self.given),
        )

    @property
    def due(self) -> Due:
        return first_due(self.run_id, self.agent.id, str(self.fields["queue"]))

    @property
    def line(self) -> str | None:
        """The name of the thread in which it waits for its turn, if it does."""
        if self.thread is None or self.options.when_busy == "parallel":
            return None
        return thread_name(self.thread, self.resource)

    def in_parallel(self) -> "NewRun":
        """The same, beside whatever runs in its thread."""
        options = self.options.model_copy(update={"when_busy": "parallel"})
        fields = {**self.fields, "options": options.json()}
        return replace(self, options=options, fields=fields)


@dataclass(frozen=True, slots=True)
class Started:
    """The run that answers, and after which chunk the answer begins."""

    run_id: str
    after: int = 0


def start_run(at: Deployment, agent: Agent, given: Input, chosen: StreamOptions) -> Plan[Started]:
    """Create a run and send its first message, or send its input to the run that has the turn.

    Raises `DeclarationError` and `TooLarge` before anything is written, `ThreadBusy`, and
    `RunConflict`.
    """
    with starting(at.settings, agent.id, agent.version) as span:
        new = _new_run(agent, at.settings, given, chosen, trace=span.stored)
        span.about(CONVERSATION, new.thread)
        yield from at.agree()
        found = yield from _queue_in_thread(at, new)
        span.about(RUN, found.run_id)
        if isinstance(found, Steered):
            return Started(found.run_id, found.number - 1)
        if (yield from create_in_line(at, found.line, found.run_id, found.command(at.keys))):
            yield from notify(at.notifier, [found.due])
        return Started(found.run_id)


def _new_run(
    agent: Agent, settings: Settings, given: Input, chosen: StreamOptions, *, trace: str
) -> NewRun:
    """Check what `stream` was given, and say what starts the run."""
    check_names("stream()", chosen, StreamOptions.__annotations__)
    rest = _plain(agent, chosen)
    named = rest.pop("run_id", None)
    run_id = _name(named or uuid.uuid4().hex, "run_id")
    thread, resource = (label_of(rest.pop(name, None), name) for name in LABELS)
    named_queue = label_of(rest.pop("queue", None) or None, "queue")
    queue = named_queue or settings.queue
    options = RunOptions.parse(rest)
    _check_model(agent, options)
    _check_tools(agent, options)
    _check_policies(agent, options)
    given = parse_messages(given)
    messages = dump_json(dump_messages(given))
    stored_options = options.json()
    metadata = dump_json(options.metadata) if options.metadata else ""
    size = _size(messages) + _size(stored_options) + _size(metadata)
    if size > settings.max_bytes:
        raise TooLarge("input", size, settings.max_bytes)
    fields = _record_fields(settings, agent, messages=messages, options=options, queue=queue)
    labels = {"thread": thread, "resource": resource, "metadata": metadata, "trace": trace}
    fields |= _present(labels)
    fields |= declared_fields(agent, options, thread)
    if options.deadline:
        fields["deadline_in"] = int(options.deadline * 1000)
    return NewRun(
        run_id=run_id,
        agent=agent,
        given=given,
        options=options,
        own_options=own_options(stored_options) + metadata,
        fields=fields,
        digest=digest_of_call(
            agent.id, messages, stored_options + metadata, thread, resource, queue
        ),
        thread=thread,
        resource=resource,
        given_id=bool(named),
        has_queue=bool(named_queue),
    )


def _plain(agent: Agent, chosen: StreamOptions) -> dict[str, Any]:
    """The options as JSON."""
    plain: dict[str, Any] = dict(chosen)
    plain.pop("close_on_suspend", None)
    if isinstance(plain.get("stop_when"), str):
        plain["stop_when"] = [plain["stop_when"]]
    for name in ("deadline", "until_idle"):
        if isinstance(plain.get(name), timedelta):
            plain[name] = plain[name].total_seconds()
    if plain.get("until_idle") is True:
        plain["until_idle"] = UNTIL_IDLE
    elif plain.get("until_idle") is False:
        del plain["until_idle"]
    wanted = plain.get("output_type")
    if wanted is not None:
        plain["output_type"] = _output_name(agent, wanted)
    return plain


def _output_name(agent: Agent, wanted: Any) -> str:
    for name, each in agent.output_types.items():
        if wanted == name or wanted is each.declared:
            return name
    known = ", ".join(agent.output_types) or "none"
    raise DeclarationError(
        f"Agent {agent.id!r} has no output type {wanted!r} (it has: {known}). Declare it "
        "with Agent(output_types=[…])."
    )


def _check_policies(agent: Agent, options: RunOptions) -> None:
    names = [*options.stop_when, options.prepare_step, options.require_tool_approval]
    for name in names:
        if isinstance(name, str) and name not in agent.policies:
            known = ", ".join(agent.policies) or "none"
            raise DeclarationError(
                f"Agent {agent.id!r} has no policy {name!r} (it has: {known}). Declare "
                "it with Agent(policies={…})."
            )


def _check_model(agent: Agent, options: RunOptions) -> None:
    known = [model.name for model in agent.models]
    if options.model is not None and options.model not in known:
        raise DeclarationError(
            f"Agent {agent.id!r} has no model {options.model!r} (it has: {', '.join(known)}). "
            "Declare it with Agent(model=[…])."
        )


def _check_tools(agent: Agent, options: RunOptions) -> None:
    names = list(options.active_tools or ())
    if isinstance(options.tool_choice, Mapping):
        names.append(options.tool_choice["tool"])
    for name in names:
        if agent.tool_named(name) is None and agent.mcp_server_of(name) is None:
            known = ", ".join(tool.name for tool in agent.tools) or "none"
            raise DeclarationError(f"Agent {agent.id!r} has no tool {name!r} (it has: {known}).")


def _record_fields(
    settings: Settings, agent: Agent, *, messages: str, options: RunOptions, queue: str
) -> dict[str, str | int]:
    """The fields of a new run's record."""
    return {
        "v": FORMAT if options.is_new_kind else FIRST_FORMAT,
        "agent": agent.id,
        "agent_version": agent.version,
        "messages": messages,
        "options": options.json(),
        "queue": queue,
        "ttl_topic": milliseconds(settings.topic_ttl),
        "ttl_record": milliseconds(settings.record_ttl),
        "abort_grace": milliseconds(settings.abort_grace),
    }


def _queue_in_thread(at: Deployment, new: NewRun) -> Plan[NewRun | Steered]:
    """Queue in the thread, in the order of the calls, unless its run takes the input.

    Returns the run to create. Raises `ThreadBusy` for who will not wait.
    """
    name = new.line
    if name is None:
        return new
    ttl_ms = milliseconds(at.settings.thread_ttl)
    enter = threads.enter(at.keys, name, new.run_id, ttl_ms=ttl_ms)
    turn = yield from send(enter)
    if turn.sent_to:
        # The same call did so before, and its reply was lost.
        return (yield from _steered(at, new, name, turn))
    while turn.holder != new.run_id:
        record = yield from _find(at.keys, turn.holder)
        if record is not None and turn_ends_in(record) != 0:
            return (yield from _meet(at, new, name, turn, record))
        yield from send(threads.leave(at.keys, name, turn.holder, number=turn.number))
        turn = yield from send(enter)
    return new


def _meet(
    at: Deployment, new: NewRun, name: str, turn: threads.TurnHolder, record: Record
) -> Plan[NewRun | Steered]:
    """Decide beside the run that has the turn: steer it, or be created, to wait, or to go first."""
    policy, waiting = new.options.when_busy, new.options.when_waiting
    if policy == "interrupt":
        return new
    is_free = record.only_waits and waiting != "queue"
    if waiting == "steer" if record.only_waits else policy == "steer":
        if _can_steer(new, record) and not (yield from _exists(at, new)):
            return (yield from _steered(at, new, name, turn))
        if not is_free:
            yield from send(threads.leave(at.keys, name, new.run_id))
            return new.in_parallel()
    if policy == "reject" and not is_free:
        yield from send(threads.leave(at.keys, name, new.run_id))
        raise ThreadBusy(turn.holder, new.thread or "")
    return new


def _can_steer(new: NewRun, record: Record) -> bool:
    """Whether that run answers as this one would: its agent, its options, what a user says."""
    fields = record.fields
    theirs = own_options(fields.get("options", "{}")) + fields.get("metadata", "")
    return (
        fields["agent"] == new.agent.id
        and new.own_options in ("{}", theirs)
        and (not new.has_queue or new.fields["queue"] == fields["queue"])
        and is_said_by_user(new.given)
    )


def own_options(stored: str) -> str:
    """A run's options as they are stored, without what is said of its thread."""
    options = pydantic_core.from_json(stored)
    return dump_json({name: options[name] for name in options if name not in THREAD_OPTIONS})


def _steered(
    at: Deployment, new: NewRun, name: str, turn: threads.TurnHolder
) -> Plan[NewRun | Steered]:
    """Send the input to the run that has the turn; the run to create where that has ended.

    Which run it is, is said before: the same call finds it, whatever has become of the turn.
    """
    ttl_ms = milliseconds(at.settings.thread_ttl)
    bind = threads.bind(at.keys, name, new.run_id, to=turn.holder, ttl_ms=ttl_ms)
    sent_to = turn.sent_to or (yield from send(bind))
    found = yield from steer(at, sent_to or turn.holder, new.run_id, new.given)
    if found is None:
        return new
    yield from send(threads.leave(at.keys, name, new.run_id))
    return found


def _exists(at: Deployment, new: NewRun) -> Plan[bool]:
    """Whether the same call began its run before, when nothing was in its way."""
    return new.given_id and (yield from _find(at.keys, new.run_id)) is not None


def _find(keys: Keys, run_id: str) -> Plan[Record | None]:
    try:
        return (yield from send(runs.read(keys, run_id)))
    except (RunNotFound, RunDeleted):
        return None


def _name(value: object, what: str) -> str:
    if not isinstance(value, str) or not is_run_id(value):
        raise DeclarationError(f"{what}={value!r}: use 1 to 128 letters, digits, '.', '_' or '-'.")
    return value


def _size(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise DeclarationError(
            f"The input has {text[error.start]!r} in it, which is no character. Decode it with "
            "errors='replace' where it comes from."
        ) from None


def _present(fields: Mapping[str, str | None]) -> dict[str, str | int]:
    return {name: value for name, value in fields.items() if value}
