"""What is done to runs, one at a time or many: abort, retry, approve, delete."""

from collections.abc import Callable, Sequence
from typing import Any

from evented_agent.agents.tools.approvals import Pending
from evented_agent.errors import EventedAgentError, LedgerUnavailable
from evented_agent.web.access import Allowed
from evented_agent.web.console.asked import form_of
from evented_agent.web.console.people import operated_run, operator
from evented_agent.web.exchange import Exchange, PlainReply, bad_request
from evented_agent.web.failures import HttpFailure, failure_of
from evented_agent.web.principal import ActionName
from evented_agent.web.site import Site, Verb, WebSteps

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
    action, steps, said = _BULK[verb]
    view = yield from operator(site, exchange, action)
    done, refused = 0, []
    for name in names:
        try:
            _, allowed = yield from operated_run(site, exchange, action, name)
            done += yield from steps(allowed)
        except LedgerUnavailable:
            raise
        except (HttpFailure, EventedAgentError) as error:
            refused.append(f"{name[:12]}: {failure_of(error).message}")
    told = f"{done} {said}." if done or not refused else "None of them."
    if refused:
        told += f" {len(refused)} refused it. {refused[0]}"
    return view.done(told, view.address("runs"))


def _abort(allowed: Allowed) -> WebSteps[int]:
    return int((yield Verb("abort", (allowed.run_id,))))


def _retry(allowed: Allowed) -> WebSteps[int]:
    yield Verb("retry", (allowed.run_id,))
    return 1


def _delete(allowed: Allowed) -> WebSteps[int]:
    yield Verb("delete", (allowed.run_id,))
    return 1


def _resume(allowed: Allowed) -> WebSteps[int]:
    """Approve all that waits for an approval; what asks something else is left."""
    waiting: Sequence[Pending] = [p for p in allowed.info.pending if p.kind == "approval"]
    for each in waiting:
        chosen = {"number": each.number, "by": allowed.who.name}
        yield Verb("approve", (allowed.run_id,), chosen)
    return len(waiting)


_Steps = Callable[[Allowed], WebSteps[Any]]
#: For each verb what it needs, what it does to a run, and what is said of the number.
_BULK: dict[str, tuple[ActionName, _Steps, str]] = {
    "abort": ("act", _abort, "will end at their next word"),
    "retry": ("act", _retry, "go on where they failed"),
    "resume": ("decide", _resume, "calls are approved"),
    "delete": ("delete", _delete, "are deleted"),
}
