"""The routes of the AI SDK: messages are posted, their answers followed, and runs stopped."""

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evented_agent.chunks import AnyChunk
from evented_agent.chunks.base import one_line_json
from evented_agent.client.commands import DecisionOptions, take_decisions
from evented_agent.errors import RunExpired
from evented_agent.state.run_info import RunInfo
from evented_agent.web.access import Allowed, allowed_run, somebody, with_scope
from evented_agent.web.exchange import (
    EventReply,
    Exchange,
    PlainReply,
    bad_request,
    object_reply,
)
from evented_agent.web.faces.ai_sdk.replies import RunLegs, UiReply, legs_of, reply_of
from evented_agent.web.faces.ai_sdk.requests import UiAnswer, UiPost, UiQuestion, ui_post
from evented_agent.web.faces.ai_sdk.shown import UiEvent
from evented_agent.web.faces.legs import Leg
from evented_agent.web.faces.replies import LegRequest, ReadLog, follow_leg
from evented_agent.web.faces.saying import say
from evented_agent.web.failures import HttpFailure, not_found
from evented_agent.web.names import run_id_for, stored_run_id
from evented_agent.web.principal import ActionName, Principal
from evented_agent.web.routes.look import resource_of
from evented_agent.web.routes.start import NewRunRequest
from evented_agent.web.site import RunPlan, Site, Verb, WebSteps

_HEADERS = {"x-vercel-ai-ui-message-stream": "v1"}
_DONE = "data: [DONE]\n\n"
_INDEX = re.compile(r"-?[0-9]{1,15}")
#: Most runs of a chat that are stopped at once.
_MOST_RUNS = 50


def post_ui_messages(site: Site, exchange: Exchange) -> WebSteps[EventReply | PlainReply]:
    """Answer a message, or go on with what the answers to a run's questions make of it."""
    post = ui_post(exchange)
    if post.is_answer:
        return (yield from _go_on(site, exchange, post))
    return (yield from _begin(site, exchange, post))


def get_ui_stream(site: Site, exchange: Exchange) -> WebSteps[EventReply | PlainReply]:
    """Follow a reply from an event on, or what a chat is being answered; 204 where there is none.

    A chat's last answer is there with ``?ended=true`` also once it is complete. A chat that nobody
    knows has no answer under way, and looks like one of somebody else.
    """
    index, ended = _start_index(exchange), exchange.flag("ended")
    meant = yield from _meant(site, exchange, "read", most=1)
    if not meant.runs:
        return PlainReply(204)
    [info] = meant.runs
    try:
        chunks = yield from _log_of(info)
    except RunExpired:
        if meant.reply is not None:
            raise
        return PlainReply(204)
    legs = legs_of(info.run_id, chunks)
    reply = meant.reply or legs.whole(info.run_id)
    if not legs.has(reply.leg) or not (meant.reply or index or ended or legs.is_open):
        return PlainReply(204)
    return (yield from _from_index(site, meant.who, reply, legs, chunks, index))


def post_ui_stop(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """End the run of a reply, or those of a chat; closing the connection ends none."""
    meant = yield from _meant(site, exchange, "act", most=_MOST_RUNS)
    if not meant.runs:
        raise not_found()
    is_asked = False
    for info in meant.runs:
        if not info.is_ended:
            is_asked |= yield Verb("abort", (info.run_id,))
    return object_reply({"aborted": is_asked}, 202)


def _begin(site: Site, exchange: Exchange, post: UiPost) -> WebSteps[EventReply]:
    agent, given = exchange.path["agent"], post.input()
    who = with_scope((yield from somebody(exchange, "start", agent=agent)), "read")
    _check_streams(site, who)
    key, name = exchange.request.headers.get("idempotency-key"), post.name(agent)
    run_id = run_id_for(who, None, key)
    if run_id is None and name is not None:
        run_id = stored_run_id(who, "ui-message", name)
    run_id = run_id or uuid.uuid4().hex
    resource_id = resource_of(exchange, who)
    request = NewRunRequest(agent, given, run_id, post.chat, resource_id, post.options)
    said = yield from say(site, who, request, interrupt=post.interrupt)
    reply = UiReply(said.leg, said.leg.first)
    return (yield from follow_leg(site, who, _request(reply), said.run))


def _go_on(site: Site, exchange: Exchange, post: UiPost) -> WebSteps[EventReply | PlainReply]:
    """Take the answers that are new, all or none, and follow what came of them."""
    answers = post.answers()
    if not answers:
        raise bad_request("The message has no answers to go on with. Send a message of a user.")
    [run_id, *_] = {question.run_id for question in answers}
    allowed = yield from allowed_run(site, exchange, "decide", run_id)
    if allowed.info.agent != exchange.path["agent"]:
        raise not_found()
    with_scope(allowed.who, "read")
    _check_streams(site, allowed.who)
    chosen = _new_answers(answers, allowed.info)
    if chosen:
        plan = take_decisions(site.runs, allowed.run_id, _decisions(chosen, allowed.who))
        yield RunPlan(plan)
    info = yield Verb("get", (allowed.run_id,))
    legs = legs_of(allowed.run_id, (yield from _log_of(info)))
    numbers = [question.number for question in chosen or answers]
    reply = legs.since(allowed.run_id, numbers)
    if reply is None:
        return _taken(post, legs.newest(allowed.run_id))
    return (yield from follow_leg(site, allowed.who, _request(reply)))


def _taken(post: UiPost, newest: Leg) -> PlainReply:
    """The answers are taken, and what comes of them is told in a later message.

    Behind an empty text, since the client posts again by itself where calls are the last.
    """
    text = {"id": f"taken-{newest.first}"}
    events: Sequence[UiEvent] = [
        {
            "type": "start",
            "messageId": str(post.message.get("id")),
            "messageMetadata": {"runId": newest.run_id},
        },
        {"type": "start-step"},
        {"type": "text-start", **text},
        {"type": "text-end", **text},
        {"type": "finish-step"},
        {"type": "finish", "finishReason": "stop"},
    ]
    headers = {**_HEADERS, "content-type": "text/event-stream", "cache-control": "no-store"}
    body = "".join(map(_frame, events)) + _DONE
    return PlainReply(200, body.encode(), {**headers, "x-workflow-run-id": newest.id})


def _new_answers(
    answers: Mapping[UiQuestion, UiAnswer], info: RunInfo
) -> Mapping[UiQuestion, UiAnswer]:
    """Those to be taken.  What was asked before may have another output by now: its result."""
    waiting = {pending.number for pending in info.pending}
    return {
        question: answer
        for question, answer in answers.items()
        if answer.is_approval or question.number in waiting
    }


def _decisions(
    answers: Mapping[UiQuestion, UiAnswer], who: Principal
) -> Sequence[tuple[Any, DecisionOptions]]:
    return [
        (answer.data, DecisionOptions(number=question.number, by=who.name))
        for question, answer in answers.items()
    ]


def _from_index(
    site: Site,
    who: Principal,
    reply: UiReply,
    legs: RunLegs,
    chunks: Sequence[AnyChunk],
    index: int,
) -> WebSteps[EventReply | PlainReply]:
    """Follow a reply from an event on, counted from its end where *index* is negative."""
    total = reply.count(chunks) if index else 0
    skip = max(0, total + index) if index < 0 else index
    if index and skip >= total and not legs.goes_on(reply.leg):
        return PlainReply(204)
    tail = {"x-workflow-stream-tail-index": str(total - 1)} if index < 0 else {}
    return (yield from follow_leg(site, who, _request(reply, skip, tail)))


@dataclass(frozen=True, slots=True)
class _Meant:
    """What a path names.

    Attributes:
        who: Who asks.
        runs: The run of a reply, or those of a chat, the newest first.
        reply: The reply; None for a chat.
    """

    who: Principal
    runs: Sequence[RunInfo]
    reply: UiReply | None = None


def _meant(site: Site, exchange: Exchange, action: ActionName, *, most: int) -> WebSteps[_Meant]:
    agent, given = exchange.path["agent"], exchange.path["reply"]
    reply = reply_of(given)
    if reply is not None:
        allowed = yield from _allowed_or_none(site, exchange, action, reply.leg.run_id)
        if allowed is not None and allowed.info.agent == agent:
            return _Meant(allowed.who, [allowed.info], reply.of(allowed.run_id))
    who = yield from somebody(exchange, action, thread=given)
    wanted = {"agent": agent, "thread_id": given, "resource_id": resource_of(exchange, who)}
    return _Meant(who, (yield Verb("list", (), {**wanted, "limit": most})))


def _allowed_or_none(
    site: Site, exchange: Exchange, action: ActionName, run_id: str
) -> WebSteps[Allowed | None]:
    try:
        return (yield from allowed_run(site, exchange, action, run_id))
    except HttpFailure as failure:
        if failure.status != not_found().status:
            raise
        return None


def _log_of(info: RunInfo) -> WebSteps[Sequence[AnyChunk]]:
    """The run's chunks so far; none of one that nobody has begun."""
    if not int(info.cursor.partition("-")[0] or 0):
        return ()
    chunks: Sequence[AnyChunk] = yield ReadLog(info)
    return chunks


def _check_streams(site: Site, who: Principal) -> None:
    """Refuse one stream too many before anything is changed."""
    site.streams.check(None if who.all_resources else who.name)


def _start_index(exchange: Exchange) -> int:
    given = exchange.query("startIndex") or "0"
    if not _INDEX.fullmatch(given):
        raise bad_request(f"startIndex={given[:40]!r}: use the number of events that you have.")
    return int(given)


def _request(
    reply: UiReply, skip: int = 0, headers: Mapping[str, str] | None = None
) -> LegRequest[UiEvent]:
    return LegRequest(
        reply.leg,
        reply.translator(),
        _frame,
        skip,
        _DONE,
        {**_HEADERS, "x-workflow-run-id": reply.id, **(headers or {})},
    )


def _frame(event: UiEvent) -> str:
    return f"data: {one_line_json(event)}\n\n"
