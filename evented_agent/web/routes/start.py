"""`POST /runs`: a run is started, durably, and named; nobody has to wait for it here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pydantic_core

from evented_agent.client.queries import count_live_runs
from evented_agent.client.run_stream import AsyncRunStream, RunStream
from evented_agent.errors import RunConflict, RunDeleted, RunNotFound
from evented_agent.web.access import somebody
from evented_agent.web.exchange import Exchange, PlainReply, bad_request, object_reply
from evented_agent.web.failures import HttpFailure
from evented_agent.web.names import run_id_for
from evented_agent.web.principal import Principal
from evented_agent.web.segments import segment_of
from evented_agent.web.site import RunPlan, Site, Verb, WebSteps

_OWN = ("agent", "input", "run_id", "thread_id", "resource_id")
#: What any client may choose of `StreamOptions`.
CLIENT_OPTIONS = ("when_busy", "when_waiting", "until_idle", "deadline", "metadata")
#: What a service that sees all resources may choose beside.
SERVICE_OPTIONS = (
    *("max_steps", "tool_choice", "active_tools", "instructions", "model_settings", "queue"),
    *("tool_call_concurrency", "require_tool_approval", "stop_when", "prepare_step"),
    *("output_type", "context", "model"),
)


@dataclass(frozen=True, slots=True)
class NewRunRequest:
    """A run that somebody wants to start, as they have said it.

    Attributes:
        agent: Which agent.
        input: What it is given.
        run_id: Under which id it is stored; None for one that is made up.
        thread_id: In which conversation.
        resource_id: Whose it is, where they see all; else it is their own.
        options: What they choose of `StreamOptions`.
        roles: Whose words they may send, where they see one resource.
    """

    agent: str
    input: object
    run_id: str | None = None
    thread_id: str | None = None
    resource_id: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    roles: Sequence[str] = ("user",)


def post_run(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """Start a run; the same name or `Idempotency-Key` again is the same run.

    A run of the conversation that takes the input as a message is the one that is named, and what
    it says of it follows the cursor.
    """
    body = exchange.json(*_OWN, *CLIENT_OPTIONS, *SERVICE_OPTIONS)
    agent = _agent(site, body)
    who = yield from somebody(exchange, "start", agent=agent)
    name = text_field(body, "run_id")
    request = NewRunRequest(
        agent,
        body.get("input"),
        run_id_for(who, name, exchange.request.headers.get("idempotency-key")),
        text_field(body, "thread_id"),
        text_field(body, "resource_id"),
        {key: value for key, value in body.items() if key not in _OWN},
    )
    run = yield from begin_run(site, who, request)
    # Another run may have taken the input, which the client has given no name.
    shown = name if name is not None and run.run_id == request.run_id else run.run_id
    location = f"{exchange.request.scope.get('root_path', '')}/runs/{segment_of(shown)}"
    answer = {"run_id": shown, "cursor": str(run.cursor)}
    return object_reply(answer, 202, {"location": location})


def begin_run(
    site: Site, who: Principal, request: NewRunRequest
) -> WebSteps[RunStream[Any] | AsyncRunStream[Any]]:
    """Start a run for *who*, durably, or attach to the one of that id; what reads it.

    Raises `HttpFailure` for what they may not choose, for too much, and for an id that is taken.
    """
    check_start(site, who, request)
    resource_id = request.resource_id if who.all_resources else who.resource_id
    yield from check_live_runs(site, who, request.run_id)
    ids = {
        "run_id": request.run_id,
        "resource_id": resource_id,
        "thread_id": request.thread_id,
    }
    options = {**request.options, **{key: value for key, value in ids.items() if value is not None}}
    try:
        run: RunStream[Any] | AsyncRunStream[Any] = yield Verb(
            "stream", (request.agent, request.input), options
        )
    except RunConflict:
        raise HttpFailure(
            409,
            "run_conflict",
            "That name was given to a run with another agent, input or options.",
        ) from None
    return run


def check_start(site: Site, who: Principal, request: NewRunRequest) -> None:
    """Refuse an agent that there is not, and what they may not choose or send."""
    check_served(site, request.agent)
    _check_options(site, who, request)
    check_input(site, who, request.input, request.roles)


def _agent(site: Site, body: Mapping[str, Any]) -> str:
    agent = text_field(body, "agent") or site.agent
    if agent is None:
        raise bad_request("Say which agent: its id, as a text.")
    return agent


def text_field(body: Mapping[str, Any], name: str) -> str | None:
    """A text of the body.  Raises `HttpFailure` for what is none."""
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise bad_request(f"{name} is no text.")
    return value


def check_served(site: Site, agent: str) -> None:
    """Refuse what is started of an agent that is not served here."""
    if agent not in site.runs.agents or site.agent not in (None, agent):
        raise HttpFailure(404, "unknown_agent", "There is no such agent.")


def _check_options(site: Site, who: Principal, request: NewRunRequest) -> None:
    """A browser chooses no instructions, and takes no approval away."""
    if who.all_resources:
        return
    allowed = {*_OWN, *site.options}
    if refused := sorted(set(request.options) - allowed):
        raise HttpFailure(
            403,
            "option_not_allowed",
            f"You may not choose {', '.join(refused)} here; {', '.join(sorted(allowed))} you may.",
        )


def check_input(
    site: Site, who: Principal, given: object, roles: Sequence[str] = ("user",)
) -> None:
    """People say what they say as users; each message within the limit."""
    messages = given if isinstance(given, list) else [given]
    for message in messages:
        size = len(pydantic_core.to_json(message))
        if size > site.limits.message:
            raise HttpFailure(
                413,
                "too_large",
                f"A message has {size:,} bytes, over the limit of {site.limits.message:,}.",
            )
        if who.all_resources or not isinstance(message, dict):
            continue
        if message.get("role") not in roles:
            allowed = " and ".join(map(repr, roles))
            raise bad_request(f"Send messages of role {allowed} only; the others are kept here.")


def check_live_runs(site: Site, who: Principal, run_id: str | None) -> WebSteps[None]:
    """Refuse one run too many of a person, unless it is there already under its *run_id*."""
    if who.all_resources or who.resource_id is None:
        return
    most = site.limits.live_runs
    count = yield RunPlan(count_live_runs(site.runs, who.resource_id, most=most))
    if count < most or (yield from _exists(run_id)):
        return
    raise HttpFailure(
        429,
        "too_many_runs",
        f"{count} of your runs have not ended, and {most} are allowed. Wait for some, decide what "
        "waits for you, or abort some.",
        {"retry-after": "10"},
    )


def _exists(run_id: str | None) -> WebSteps[bool]:
    """Whether the same start was made before, so that nothing is added."""
    if run_id is None:
        return False
    try:
        yield Verb("get", (run_id,))
    except (RunNotFound, RunDeleted):
        return False
    return True
