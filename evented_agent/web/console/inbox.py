"""The calls of all runs that wait for people, and what people decide about them."""

import json
from collections.abc import Mapping
from typing import Any

from evented_agent.agents.tools.approvals import Pending
from evented_agent.errors import NotSuspended
from evented_agent.web.console.asked import FormFields, asked_for, form_of, scope_of
from evented_agent.web.console.people import operated_run, operator
from evented_agent.web.console.questions import questions_in
from evented_agent.web.exchange import Exchange, PlainReply, bad_request
from evented_agent.web.site import Site, Verb, WebSteps

#: Runs of a status whose calls are shown.
_MOST = 100


def get_console_inbox(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """The calls that wait for a person, the oldest first."""
    view = yield from operator(site, exchange, "list")
    wanted = {"thread_id": asked_for(exchange, "thread_id"), **scope_of(view)}
    pending = yield Verb("pending", (), {**wanted, "limit": _MOST})
    questions = yield from questions_in(view, pending)
    return view.reply("inbox", title="Inbox", questions=questions)


def get_console_inbox_count(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """How many calls wait, for the menu."""
    view = yield from operator(site, exchange, "list")
    pending = yield Verb("pending", (), {"limit": _MOST, **scope_of(view)})
    return view.fragment("parts/count.html", number=len(pending), most=_MOST)


def post_console_decision(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """Approve, decline or answer a call, as the one who is signed in."""
    form = form_of(exchange)
    verdict, number = form.needed("verdict"), form.number("number")
    view, allowed = yield from operated_run(site, exchange, "decide")
    pending = next((each for each in allowed.info.pending if each.number == number), None)
    decide = _VERDICTS.get(verdict)
    if decide is None:
        raise bad_request(f"verdict={verdict[:40]!r}: use one of {', '.join(_VERDICTS)}.")
    asked = yield from questions_in(view, [] if pending is None else [pending])
    arguments, options = decide(form, asked[0].pending if asked else None)
    verb = verdict if verdict in ("approve", "decline") else "resume"
    chosen = {**options, "number": number, "by": allowed.who.name}
    try:
        yield Verb(verb, (allowed.run_id, *arguments), chosen)
    except NotSuspended:
        if pending is not None:
            raise
        raise NotSuspended(allowed.run_id) from None
    return view.done(_SAID[verdict], view.address("runs", allowed.name))


_Decided = tuple[tuple[Any, ...], dict[str, Any]]


def _approve(form: FormFields, pending: Pending | None) -> _Decided:
    """With other arguments where somebody has changed them."""
    if form.text("arguments") is None:
        return (), {}
    arguments = form.object("arguments")
    is_same = pending is not None and _sorted(arguments) == _sorted(pending.arguments)
    return (), {} if is_same else {"arguments": arguments}


def _sorted(arguments: Mapping[str, Any]) -> str:
    """Arguments as text: in Python, true is equal to 1."""
    return json.dumps(arguments, sort_keys=True)


def _decline(form: FormFields, _: Pending | None) -> _Decided:
    return (), {"reason": form.text("reason")}


def _answer(form: FormFields, _: Pending | None) -> _Decided:
    return (form.json("answer"),), {}


def _rerun(_: FormFields, __: Pending | None) -> _Decided:
    return ({"action": "rerun"},), {}


def _fail(form: FormFields, _: Pending | None) -> _Decided:
    reason = form.text("reason")
    return ({"action": "fail", **({} if reason is None else {"reason": reason})},), {}


def _settle(form: FormFields, _: Pending | None) -> _Decided:
    return ({"action": "result", "result": form.json("answer")},), {}


_VERDICTS = {
    "approve": _approve,
    "decline": _decline,
    "answer": _answer,
    "rerun": _rerun,
    "fail": _fail,
    "settle": _settle,
}
_SAID: Mapping[str, str] = {
    "approve": "Approved. The call goes on.",
    "decline": "Declined. The model is told.",
    "answer": "Answered. The run goes on.",
    "rerun": "The call runs again.",
    "fail": "The call counts as failed.",
    "settle": "The call has that result.",
}
