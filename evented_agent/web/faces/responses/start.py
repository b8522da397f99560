"""`POST /responses`: a run is started, or goes on by what people decide."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evented_agent.client.commands import take_decisions
from evented_agent.client.queries import only_waits
from evented_agent.errors import LedgerUnavailable
from evented_agent.state.run_info import RunInfo
from evented_agent.web.access import allowed_run, somebody, with_scope
from evented_agent.web.exchange import Exchange, WebReply, bad_request, object_reply
from evented_agent.web.faces.legs import leg_of
from evented_agent.web.faces.openai.errors import wrong_field
from evented_agent.web.faces.openai.fields import (
    OPTIONS,
    FieldReader,
    Fields,
    agent_of,
    fields_of,
    once,
    roles_of,
)
from evented_agent.web.faces.openai.waiting import counted_as
from evented_agent.web.faces.responses.answers import (
    bare_response,
    read_responses,
    shown_response,
    streamed,
    waited_for,
)
from evented_agent.web.faces.responses.items import GivenDecision, parse_input
from evented_agent.web.faces.responses.objects import OWN, OWN_THREAD, PREVIOUS, facts_of
from evented_agent.web.faces.saying import Said, say
from evented_agent.web.names import run_id_for
from evented_agent.web.principal import Principal
from evented_agent.web.routes.look import resource_of
from evented_agent.web.routes.start import NewRunRequest
from evented_agent.web.site import RunPlan, Site, Verb, WebSteps

_RESPONSE_OPTIONS: Mapping[str, str] = {
    **OPTIONS,
    "instructions": "instructions",
    "max_output_tokens": "model_settings",
    "reasoning": "model_settings",
}
#: How many runs of a conversation are looked at for its newest.
_LATEST = 20


@dataclass(frozen=True, slots=True)
class _Mode:
    """How the client wants to be answered."""

    stream: bool
    background: bool

    def check(self, site: Site, who: Principal) -> None:
        """Refuse what would be one more open stream than is allowed, before anything is written."""
        if self.stream or not self.background:
            site.streams.check(counted_as(who))


@dataclass(frozen=True, slots=True)
class _Place:
    """Which conversation a run is put into, and whose."""

    thread_id: str
    resource_id: str | None
    previous: str | None = None


def post_response(site: Site, exchange: Exchange) -> WebSteps[WebReply]:
    """Start a run and answer with it, or decide about calls and answer with what follows."""
    fields = fields_of(exchange)
    given = parse_input(fields.pop("input", None))
    if isinstance(given, str):
        return (yield from _start(site, exchange, fields, given))
    decisions = [each for each in given if isinstance(each, GivenDecision)]
    if decisions:
        return (yield from _decide(site, exchange, fields, decisions))
    return (yield from _start(site, exchange, fields, given))


# A run is started --------------------------------------------------------------------------------


def _start(site: Site, exchange: Exchange, fields: Fields, given: Any) -> WebSteps[WebReply]:
    agent = agent_of(site, fields)
    who = yield from somebody(exchange, "start", agent=agent)
    with_scope(who, "read")
    reader = FieldReader(site, who, fields)
    mode, metadata = _mode(reader), _metadata(reader)
    key = exchange.request.headers.get("idempotency-key")
    run_id = run_id_for(who, None, key) or uuid.uuid4().hex
    interrupt = reader.flag("interrupt")
    steers = interrupt or fields.get("when_busy") == "steer"
    place = yield from _place(site, exchange, who, reader, run_id, steers=steers)
    if place.previous is not None:
        metadata[PREVIOUS] = place.previous
    options = {**reader.options(_RESPONSE_OPTIONS), **({"metadata": metadata} if metadata else {})}
    roles = roles_of(site, who, given, "input")
    request = NewRunRequest(
        agent, given, run_id, place.thread_id, place.resource_id, options, roles
    )
    mode.check(site, who)
    with once(key):
        said = yield from say(site, who, request, interrupt=interrupt)
        info: RunInfo = yield Verb("get", (said.leg.run_id,))
    return (yield from _begun(site, who, said, info, mode))


def _begun(
    site: Site, who: Principal, said: Said, info: RunInfo, mode: _Mode
) -> WebSteps[WebReply]:
    """The response to an input: the first of its run, or that to a message."""
    facts, leg, run = facts_of(info), said.leg, said.run
    if mode.stream:
        return (yield from streamed(site, who, run, facts, leg))
    if not mode.background:
        return waited_for(who, run, facts, leg)
    try:
        return shown_response((yield from read_responses(info)), leg)
    except LedgerUnavailable:
        # It exists: the client must not start another.
        return object_reply(bare_response(facts, leg, "queued"))


def _place(
    site: Site,
    exchange: Exchange,
    who: Principal,
    reader: FieldReader,
    run_id: str,
    *,
    steers: bool,
) -> WebSteps[_Place]:
    previous = reader.take("previous_response_id", str, "the id of a response")
    conversation = _conversation(reader)
    if previous is None:
        thread = conversation or f"{OWN_THREAD}{run_id}"
        return _Place(thread, resource_of(exchange, who))
    if conversation is not None:
        raise wrong_field("conversation", "pass it, or previous_response_id, and not both.")
    return (yield from _behind(site, exchange, previous, run_id, steers=steers))


def _mode(reader: FieldReader) -> _Mode:
    reader.take("stream_options", dict, "an object")
    return _Mode(reader.flag("stream"), reader.flag("background"))


def _metadata(reader: FieldReader) -> dict[str, str]:
    found = dict(reader.metadata())
    if taken := [name for name in found if name.startswith(OWN)]:
        raise wrong_field("metadata", f"{taken[0]!r} is none of your names: they are kept here.")
    return found


def _conversation(reader: FieldReader) -> str | None:
    given = reader.take("conversation", (str, dict), "its id")
    found = given.get("id") if isinstance(given, dict) else given
    if given is not None and not (isinstance(found, str) and found):
        raise wrong_field("conversation", "pass its id.")
    return found


def _behind(
    site: Site, exchange: Exchange, previous: str, run_id: str, *, steers: bool
) -> WebSteps[_Place]:
    """The conversation that goes on after a response: a line, which has no second branch."""
    leg = leg_of(previous)
    if leg is None:
        raise wrong_field("previous_response_id", "this is no id of a response.")
    info = (yield from allowed_run(site, exchange, "read", leg.run_id)).info
    if info.thread_id is None:
        raise wrong_field("previous_response_id", "it is in no conversation: send all of it.")
    named = {"thread_id": info.thread_id, "resource_id": info.resource_id, "limit": _LATEST}
    page: Sequence[RunInfo] = yield Verb("list", (), named)
    same = [each.run_id for each in page if each.resource_id == info.resource_id]
    if same and same[0] != info.run_id and run_id not in same:
        raise wrong_field("previous_response_id", f"go on after the newest one, {same[0]!r}.")
    if not info.is_ended and (steers or (yield RunPlan(only_waits(site.runs, info.run_id)))):
        # That run takes it, if nothing makes it another run than it is.
        return _Place(info.thread_id, info.resource_id)
    return _Place(info.thread_id, info.resource_id, previous)


# People decide -----------------------------------------------------------------------------------


def _decide(
    site: Site, exchange: Exchange, fields: Fields, decisions: Sequence[GivenDecision]
) -> WebSteps[WebReply]:
    run_id, numbers = decisions[0].run_id, [each.number for each in decisions]
    if any(each.run_id != run_id for each in decisions) or len(set(numbers)) < len(numbers):
        raise wrong_field("input", "decide about calls of one response, each once.")
    allowed = yield from allowed_run(site, exchange, "decide", run_id)
    yield from allowed_run(site, exchange, "read", run_id)
    who, run_id = allowed.who, allowed.run_id
    mode = _check_decision(FieldReader(site, who, fields), allowed.info)
    mode.check(site, who)
    which = [(each.data, {"number": each.number, "by": who.name}) for each in decisions]
    yield RunPlan(take_decisions(site.runs, run_id, which))  # type: ignore[arg-type]
    info: RunInfo = yield Verb("get", (run_id,))
    found = yield from read_responses(info)
    leg = found.leg_after(numbers)
    if mode.background and not mode.stream:
        return shown_response(found, leg)
    run = yield Verb("observe", (run_id,), {"close_on_suspend": True})
    if mode.stream:
        return (yield from streamed(site, who, run, found.facts, leg))
    return waited_for(who, run, found.facts, leg)


def _check_decision(reader: FieldReader, info: RunInfo) -> _Mode:
    """What comes with a decision is about the run that there is."""
    mode = _mode(reader)
    if reader.take("model", str, "a text") not in (None, info.agent):
        raise wrong_field("model", f"the response is of {info.agent!r}.")
    previous = reader.take("previous_response_id", str, "the id of a response")
    leg = leg_of(previous or info.run_id)
    if leg is None or leg.run_id != info.run_id:
        raise wrong_field("previous_response_id", "the decisions are about another response.")
    if _conversation(reader) not in (None, info.thread_id):
        raise wrong_field("conversation", "the response is in another one.")
    if reader.metadata():
        raise bad_request("metadata: it is kept with the response that a run began with.")
    reader.options({})
    return mode
