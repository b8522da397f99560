"""What is done to runs, one at a time or many: abort, retry, approve, delete."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from evented_agent.errors import EventedAgentError, LedgerUnavailable
from evented_agent.web.access import Allowed
from evented_agent.web.console.asked import form_of
from evented_agent.web.console.people import operated_run, operator
from evented_agent.web.exchange import Exchange, PlainReply, bad_request
from evented_agent.web.failures import HttpFailure, failure_of
from evented_agent.web.principal import ActionName
from evented_agent.web.site import Site, Verb, WebSteps

_T = TypeVar("_T")

#: Runs of one request.
_MOST = 200


def post_console_abort(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """Ask that a run ends."""
    reason = form_of(exchange).text("reason")
    view, allowed = yield from operated_run(site, exchange, "act")
    is_asked = yield Verb("abort", (allowed.run_id,), {"reason": reason})
    said = "It will end at its next word." if is_asked else "It had ended before."
    return view.done(said, view.address("runs", allowed.name))


def post_console_retry(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """Let a failed run go on where it failed."""
    view, allowed = yield from operated_run(site, exchange, "act")
    yield Verb("retry", (allowed.run_id,))
    return view.done("It goes on where it failed.", view.address("runs", allowed.name))


def post_console_delete(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """Remove all of a run."""
    view, allowed = yield from operated_run(site, exchange, "delete")
    yield Verb("delete", (allowed.run_id,))
    return view.sent_to(view.address("runs"))


def post_console_cancel(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """End a background call; the model is told."""
    view, allowed = yield from operated_run(site, exchange, "act")
    task = f"{allowed.run_id}:{exchange.path['call_id']}"
    is_cancelled = yield Verb("cancel", (task,))
    said = "It is cancelled; the model is told." if is_cancelled else "It had ended before."
    return view.done(said, view.address("runs", allowed.name, "background"))


def post_console_bulk(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """Do the same to many runs; those that refuse it are told, the others are done."""
    form = form_of(exchange)
    verb, names = form.needed("verb"), list(dict.fromkeys(filter(str.strip, form.all("run_id"))))
    if verb not in _BULK:
        raise bad_request(f"verb={verb[:40]!r}: use one of {', '.join(_BULK)}.")
    if not 0 < len(names) <= _MOST:
        raise bad_request(f"Choose 1 to {_MOST} runs.")
    action, verbs_of, said = _BULK[verb]
    view = yield from operator(site, exchange, action)
    done = 0
    refused: list[str] = []
    for name in names:
        found = yield from _tried(name, refused, operated_run(site, exchange, action, name))
        for verb_of_run in () if found is None else verbs_of(found[1]):
            # What was done before another is refused stays done, and is told.
            done += (yield from _tried(name, refused, _count(verb_of_run))) or 0
    told = f"{done} {said}." if done or not refused else "None of them."
    if refused:
        told += f" {len(refused)} refused it. {refused[0]}"
    return view.done(told, view.address("runs"))


def _tried(name: str, refused: list[str], steps: WebSteps[_T]) -> WebSteps[_T | None]:
    """What is asked of a run; None, and why, where that is refused."""
    try:
        return (yield from steps)
    except LedgerUnavailable:
        raise
    except (HttpFailure, EventedAgentError) as error:
        refused.append(f"{name[:12]}: {failure_of(error).message}")
        return None


def _count(verb: Verb) -> WebSteps[int]:
    """Do it; 0 where the answer is that nothing was left to do."""
    return int((yield verb) is not False)


def _named(name: str) -> Callable[[Allowed], Sequence[Verb]]:
    return lambda allowed: [Verb(name, (allowed.run_id,))]


def _approvals(allowed: Allowed) -> Sequence[Verb]:
    """Approve all that waits for an approval; what asks something else is left."""
    return [
        Verb("approve", (allowed.run_id,), {"number": each.number, "by": allowed.who.name})
        for each in allowed.info.pending
        if each.kind == "approval"
    ]


#: For each verb what it needs, what it asks of a run, and what is said of the number.
_BULK: dict[str, tuple[ActionName, Callable[[Allowed], Sequence[Verb]], str]] = {
    "abort": ("act", _named("abort"), "will end at their next word"),
    "retry": ("act", _named("retry"), "go on where they failed"),
    "resume": ("decide", _approvals, "calls are approved"),
    "delete": ("delete", _named("delete"), "are deleted"),
}
