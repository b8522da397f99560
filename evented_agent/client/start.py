"""The plan that starts a run: options checked, a turn in its thread, the record, the message."""

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from evented_agent.agents.agent import Agent
from evented_agent.agents.run_options import RunOptions, StreamOptions
from evented_agent.chunks import Start, StartPayload, StepStart, StepStartPayload
from evented_agent.chunks.base import dump_json
from evented_agent.chunks.codec import encode_chunk
from evented_agent.client.deployment import Deployment
from evented_agent.client.owner import label_of
from evented_agent.errors import DeclarationError, RunDeleted, RunNotFound, ThreadBusy, TooLarge
from evented_agent.given import check_names
from evented_agent.ledger import runs, threads
from evented_agent.ledger.indexes import indexes_of
from evented_agent.ledger.keys import Keys, is_run_id, thread_name
from evented_agent.ledger.plan import Plan, notify, send
from evented_agent.ledger.records import FORMAT, Due, NewTask, turn_ends_in
from evented_agent.ledger.script import Command
from evented_agent.ledger.settings import Settings, milliseconds
from evented_agent.models.messages import Input, Message, dump_messages, parse_messages

#: Ids of the caller that runs are found by.
LABELS = ("thread_id", "resource_id")

#: Most characters of an input that its first chunk repeats.
MOST_SHOWN = 64 * 1024
#: Seconds that deferred calls may take between two turns with ``until_idle=True``.
UNTIL_IDLE = 300.0


@dataclass(frozen=True, slots=True)
class NewRun:
    """What starts a run: the command, the first message, and a turn in its thread."""

    run_id: str
    command: Command[bool]
    due: Due
    thread: str | None = None
    thread_id: str = ""
    is_rejecting: bool = False


def start_run(at: Deployment, agent: Agent, given: Input, chosen: StreamOptions) -> Plan[str]:
    """Create a run and send its first message; its id.

    Raises `DeclarationError` and `TooLarge` before anything is written, `ThreadBusy`, and
    `RunConflict`.
    """
    new = _new_run(agent, at.keys, at.settings, given, chosen)
    yield from at.agree()
    yield from _queue_in_thread(at.keys, at.settings, new)
    if (yield from send(new.command)):
        yield from notify(at.notifier, [new.due])
    return new.run_id


def _new_run(
    agent: Agent, keys: Keys, settings: Settings, given: Input, chosen: StreamOptions
) -> NewRun:
    """Check what `stream` was given, and say what starts the run."""
    check_names("stream()", chosen, StreamOptions.__annotations__)
    rest = _plain(agent, chosen)
    run_id = _name(rest.pop("run_id", None) or uuid.uuid4().hex, "run_id")
    thread, resource = (label_of(rest.pop(name, None), name) for name in LABELS)
    queue = rest.pop("queue", None) or settings.queue
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
    fields = _record_fields(settings, agent, messages=messages, options=stored_options, queue=queue)
    limit = options.tool_call_concurrency or agent.tool_call_concurrency
    labels = {"thread": thread, "resource": resource, "metadata": metadata}
    fields |= {"tool_limit": limit, **_present(labels)}
    fields |= _more_fields(agent, options, thread)
    command = runs.create(
        keys,
        run_id,
        digest=_digest(agent.id, messages, stored_options + metadata, thread, resource, queue),
        fields=fields,
        indexes=indexes_of(agent.id, thread, resource),
        first=NewTask("1:model", "model", 1),
        chunks=[
            encode_chunk(Start, None, _start(agent, given)),
            encode_chunk(StepStart, None, StepStartPayload(step=1)),
        ],
    )
    due = Due(run_id, "1:model", 1, "model", None, queue, agent.id)
    if thread is None or options.when_busy == "parallel":
        return NewRun(run_id, command, due)
    name = thread_name(thread, resource)
    return NewRun(run_id, command, due, name, thread, options.when_busy == "reject")


def _start(agent: Agent, given: Sequence[Message]) -> StartPayload:
    """What readers are told first: who answers, and to what, unless that is long."""
    shown = dump_messages(given)
    if len(dump_json(shown)) > MOST_SHOWN:
        return StartPayload(id=agent.id)
    return StartPayload(id=agent.id, input=shown)


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


def _more_fields(agent: Agent, options: RunOptions, thread: str | None) -> dict[str, str | int]:
    """What scripts have to know of the agent's declaration and the run's options."""
    hooks = agent.hooks
    events = {
        "suspended": "on_suspended" in hooks,
        "failed": thread is not None or "on_error" in hooks,
        "aborted": thread is not None or "on_abort" in hooks,
    }
    default = agent.output_type
    output = options.output_type or (default.name if default else None)
    return {
        **_present({"tells": " ".join(event for event, is_wanted in events.items() if is_wanted)}),
        **_present({"output_type": output}),
        **({"deadline_in": int(options.deadline * 1000)} if options.deadline else {}),
    }


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
        if agent.tool_named(name) is None:
            known = ", ".join(tool.name for tool in agent.tools) or "none"
            raise DeclarationError(f"Agent {agent.id!r} has no tool {name!r} (it has: {known}).")


def _record_fields(
    settings: Settings, agent: Agent, *, messages: str, options: str, queue: str
) -> dict[str, str | int]:
    """The fields of a new run's record."""
    return {
        "v": FORMAT,
        "agent": agent.id,
        "agent_version": agent.version,
        "messages": messages,
        "options": options,
        "queue": queue,
        "ttl_topic": milliseconds(settings.topic_ttl),
        "ttl_record": milliseconds(settings.record_ttl),
        "abort_grace": milliseconds(settings.abort_grace),
    }


def _queue_in_thread(keys: Keys, settings: Settings, new: NewRun) -> Plan[None]:
    """Queue in the thread, in the order of the calls; raises `ThreadBusy` for who will not wait."""
    if new.thread is None:
        return
    ttl_ms = milliseconds(settings.thread_ttl)
    enter = threads.enter(keys, new.thread, new.run_id, ttl_ms=ttl_ms)
    holder = yield from send(enter)
    while new.is_rejecting and holder != new.run_id:
        if (yield from _is_under_way(keys, holder)):
            yield from send(threads.leave(keys, new.thread, new.run_id))
            raise ThreadBusy(holder, new.thread_id)
        yield from send(threads.leave(keys, new.thread, holder))
        holder = yield from send(enter)


def _is_under_way(keys: Keys, run_id: str) -> Plan[bool]:
    try:
        return turn_ends_in((yield from send(runs.read(keys, run_id)))) != 0
    except (RunNotFound, RunDeleted):
        return False


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


def _digest(*parts: str | None) -> str:
    return hashlib.sha256(dump_json(list(parts)).encode()).hexdigest()[:32]
