"""What people change: decisions, aborts, retries, cancellations, deletions."""

from collections.abc import Mapping
from typing import Any

from evented_agent.client.follow import Cursor
from evented_agent.web.access import Allowed, allowed_run
from evented_agent.web.exchange import Exchange, PlainReply, bad_request, object_reply
from evented_agent.web.site import Site, Verb, WebSteps

_WHICH = ("tool_call_id", "number")


def post_approve(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """Approve a call, perhaps with other arguments."""
    body = exchange.json(*_WHICH, "arguments")
    arguments = body.get("arguments")
    if arguments is not None and not isinstance(arguments, dict):
        raise bad_request("arguments is no JSON object.")
    return (yield from _decide(site, exchange, body, "approve", (), {"arguments": arguments}))


def post_decline(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """Decline a call; the model is told the reason."""
    body = exchange.json(*_WHICH, "reason")
    reason = _reason(body)
    return (yield from _decide(site, exchange, body, "decline", (), {"reason": reason}))


def post_resume(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """Answer a suspended call."""
    body = exchange.json(*_WHICH, "data")
    if "data" not in body:
        raise bad_request("data is missing: the answer, as JSON.")
    return (yield from _decide(site, exchange, body, "resume", (body["data"],), {}))


def post_abort(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """Ask that a run ends."""
    reason = _reason(exchange.json("reason"))
    allowed = yield from allowed_run(site, exchange, "act")
    is_asked = yield Verb("abort", (allowed.run_id,), {"reason": reason})
    return object_reply({"run_id": allowed.name, "aborted": is_asked}, 202)


def post_retry(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """Let a failed run go on where it failed."""
    exchange.json()
    allowed = yield from allowed_run(site, exchange, "act")
    yield Verb("retry", (allowed.run_id,))
    return object_reply({"run_id": allowed.name}, 202)


def post_cancel(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """End a background call; the model is told."""
    reason = _reason(exchange.json("reason"))
    allowed = yield from allowed_run(site, exchange, "act")
    task = f"{allowed.run_id}:{exchange.path['call_id']}"
    options = {} if reason is None else {"reason": reason}
    is_cancelled = yield Verb("cancel", (task,), options)
    return object_reply({"cancelled": is_cancelled})


def remove_run(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """Remove all of a run."""
    allowed = yield from allowed_run(site, exchange, "delete")
    yield Verb("delete", (allowed.run_id,))
    return PlainReply(204)


def _decide(
    site: Site,
    exchange: Exchange,
    body: Mapping[str, Any],
    verb: str,
    arguments: tuple[Any, ...],
    options: Mapping[str, Any],
) -> WebSteps[PlainReply]:
    which = _which(body)
    allowed: Allowed = yield from allowed_run(site, exchange, "decide")
    chosen = {**which, **options, "by": allowed.who.name}
    run = yield Verb(verb, (allowed.run_id, *arguments), chosen)
    cursor: Cursor = run.cursor
    return object_reply({"run_id": allowed.name, "cursor": str(cursor)})


def _which(body: Mapping[str, Any]) -> dict[str, Any]:
    call, number = body.get("tool_call_id"), body.get("number")
    if call is not None and not isinstance(call, str):
        raise bad_request("tool_call_id is no text.")
    if number is not None and (type(number) is not int or not 0 < number < 2**53):
        raise bad_request("number is none of a suspension: see pending.")
    return {"tool_call_id": call, "number": number}


def _reason(body: Mapping[str, Any]) -> str | None:
    reason = body.get("reason")
    if reason is not None and not isinstance(reason, str):
        raise bad_request("reason is no text.")
    return reason
