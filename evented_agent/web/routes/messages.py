"""What people say to runs that are under way, and to conversations, where it may begin a run."""

import dataclasses
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evented_agent.client.inbox import deliver_message
from evented_agent.client.owner import MOST_LABEL
from evented_agent.client.sending import SendOptions, meant_run
from evented_agent.state.new_run import following_id
from evented_agent.state.receipt import Receipt
from evented_agent.state.run_info import RunInfo
from evented_agent.state.wire import RECEIPT
from evented_agent.web.access import allowed_run, is_seen, somebody, with_scope
from evented_agent.web.exchange import Exchange, PlainReply, bad_request, object_reply
from evented_agent.web.failures import thread_not_found
from evented_agent.web.names import checked_key
from evented_agent.web.principal import Action, ActionName, Principal
from evented_agent.web.routes.look import resource_of
from evented_agent.web.routes.start import check_input, check_live_runs, check_served, text_field
from evented_agent.web.site import Consult, RunPlan, Site, Verb, WebSteps

_FLAGS = ("interrupt", "hold", "decline")
_MESSAGE = ("input", "message_id", *_FLAGS)


@dataclass(frozen=True, slots=True)
class SaidMessage:
    """A message, as a client has said it.

    Attributes:
        input: What the user says.
        message_id: Names the message, so that sending it again changes nothing.
        flags: What it is beside that.
        agent: What a conversation may begin with.
    """

    input: Any
    message_id: str
    flags: Mapping[str, bool]
    agent: str | None = None

    @property
    def actions(self) -> tuple[ActionName, ...]:
        """What one must be allowed to do for it."""
        return ("decide", "act") if self.flags.get("decline") else ("act",)

    def options(self, who: Principal) -> SendOptions:
        by = who.name[:MOST_LABEL] or None
        return {"message_id": self.message_id, "by": by, **self.flags}  # type: ignore[typeddict-item]


def post_message(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """Send a run a message; where it has ended, the next run of its conversation begins with it."""
    return _answer(
        (yield from message_run(site, exchange, _said(exchange, exchange.json(*_MESSAGE))))
    )


def message_run(site: Site, exchange: Exchange, said: SaidMessage) -> WebSteps[Receipt]:
    """Send the run of the path a message of who asks; raises `HttpFailure` where they may not."""
    # The last action is the one that all messages need.
    [*others, action] = said.actions
    for each in others:
        yield from allowed_run(site, exchange, each)
    allowed = yield from allowed_run(site, exchange, action)
    check_input(site, allowed.who, said.input)
    info, options = allowed.info, said.options(allowed.who)
    plan = deliver_message(site.runs, info.run_id, None, said.input, options)
    receipt: Receipt | None = yield RunPlan(plan, queues=True)
    if receipt is None:
        assert info.thread_id is not None
        own = following_id(info.thread_id, info.resource_id, said.message_id)
        yield from _check_start(site, exchange, info.agent, own)
        receipt = yield Verb("send", (info.run_id, said.input), options)
    assert receipt is not None
    if receipt.run_id == info.run_id:
        receipt = dataclasses.replace(receipt, run_id=allowed.name)
    return receipt


def post_thread_message(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """Send a message to the run that has the turn in a conversation, or begin a run with it."""
    body = exchange.json(*_MESSAGE, "agent")
    said = _said(exchange, body, agent=text_field(body, "agent") or site.agent)
    return _answer((yield from message_thread(site, exchange, said)))


def message_thread(site: Site, exchange: Exchange, said: SaidMessage) -> WebSteps[Receipt]:
    """Send the conversation of the path a message; raises `HttpFailure` where they may not."""
    thread = exchange.path["thread_id"]
    [*others, action] = said.actions
    for each in others:
        yield from somebody(exchange, each, thread=thread)
    who = yield from somebody(exchange, action, thread=thread)
    check_input(site, who, said.input)
    owner = resource_of(exchange, who)
    info: RunInfo | None = yield RunPlan(meant_run(site.runs, thread, said.message_id, owner))
    if info is not None:
        yield from _check_run(site, exchange, said, info)
    options: SendOptions = {**said.options(who), "resource_id": owner}
    plan = deliver_message(site.runs, None, thread, said.input, options)
    receipt: Receipt | None = yield RunPlan(plan, queues=True)
    if receipt is None:
        agent = said.agent if info is None else info.agent
        if agent is None:
            raise thread_not_found()
        if info is None:
            check_served(site, agent)
            options["agent"] = agent
        own = following_id(thread, owner, said.message_id)
        yield from _check_start(site, exchange, agent, own)
        receipt = yield Verb("send", (None, said.input), {"thread_id": thread, **options})
    assert receipt is not None
    return receipt


def _said(exchange: Exchange, body: Mapping[str, Any], agent: str | None = None) -> SaidMessage:
    if "input" not in body:
        raise bad_request("input is missing: what the user says.")
    for name in _FLAGS:
        if not isinstance(body.get(name, False), bool):
            raise bad_request(f"{name}: use true or false.")
    message_id = text_field(body, "message_id")
    if message_id is None:
        key = exchange.request.headers.get("idempotency-key")
        message_id = uuid.uuid4().hex if key is None else checked_key(key)
    flags = {name: body[name] for name in _FLAGS if name in body}
    return SaidMessage(body["input"], message_id, flags, agent)


def _check_run(site: Site, exchange: Exchange, said: SaidMessage, info: RunInfo) -> WebSteps[None]:
    """Refuse a message to a run that one may not see, as if the conversation had none."""
    if site.agent not in (None, info.agent):
        raise thread_not_found()
    for action in said.actions:
        who = yield Consult(exchange, Action(action), info)
        if not is_seen(who, info, exchange):
            raise thread_not_found()
        with_scope(who, action)


def _check_start(site: Site, exchange: Exchange, agent: str, run_id: str) -> WebSteps[None]:
    """Refuse a message that begins a run to whom may start none, or has too many."""
    who = yield from somebody(exchange, "start", agent=agent)
    yield from check_live_runs(site, who, run_id)


def _answer(receipt: Receipt) -> PlainReply:
    said = RECEIPT.dump_python(receipt, mode="json")
    return object_reply({**said, "cursor": str(receipt.after)}, 202)
