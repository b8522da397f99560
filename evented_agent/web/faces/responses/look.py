"""Responses that there are: fetched, followed, cancelled, deleted."""

from collections.abc import Sequence
from dataclasses import replace

from evented_agent.web.access import Allowed, allowed_run
from evented_agent.web.exchange import Exchange, PlainReply, WebReply, bad_request, object_reply
from evented_agent.web.faces.legs import Leg, leg_of
from evented_agent.web.faces.replies import follow_leg
from evented_agent.web.faces.responses.answers import (
    leg_request,
    read_responses,
    response_of,
    shown_response,
    waited_for,
)
from evented_agent.web.faces.responses.items import decision_items, message_items, sent_items
from evented_agent.web.faces.responses.objects import Json, facts_of
from evented_agent.web.failures import HttpFailure, not_found
from evented_agent.web.principal import ActionName
from evented_agent.web.site import Site, Verb, WebSteps

_MOST_ITEMS = 100


def get_response(site: Site, exchange: Exchange) -> WebSteps[WebReply]:
    """A response as it is now, or its events from the first, or from where the client was."""
    stream, skip = exchange.flag("stream"), _skip(exchange)
    allowed, leg = yield from _allowed(site, exchange, "read")
    if not stream or leg.first:
        found = yield from read_responses(allowed.info)
        shown = shown_response(found, leg)
        if not stream:
            return shown
    request = leg_request(facts_of(allowed.info), leg, skip)
    return (yield from follow_leg(site, allowed.who, request))


def cancel_response(site: Site, exchange: Exchange) -> WebSteps[WebReply]:
    """End the run of a response, and answer when it has ended."""
    allowed, leg = yield from _allowed(site, exchange, "act")
    yield from allowed_run(site, exchange, "read", leg.run_id)
    found = yield from read_responses(allowed.info)
    response = response_of(found, leg)
    if response["status"] == "cancelled":
        return object_reply(response)
    goes_on = leg == found.newest or response["status"] in ("queued", "in_progress")
    if not goes_on or allowed.info.is_ended:
        raise bad_request(f"The response is {response['status']}: it can be cancelled no more.")
    yield Verb("abort", (leg.run_id,))
    run = yield Verb("observe", (leg.run_id,), {"close_on_suspend": True})
    # Of a run that waits, the abort is what comes next.
    ends = Leg(leg.run_id, found.last + 1) if leg == found.newest and not found.is_open else leg
    late = waited_for(allowed.who, run, found.facts, ends)
    # Also for who has as many open streams as are allowed.
    return replace(late, counted_by=None)


def delete_response(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """Remove the run of a response, with all its responses and what it said in its conversation."""
    _, leg = yield from _allowed(site, exchange, "delete")
    yield Verb("delete", (leg.run_id,))
    return object_reply({"id": exchange.path["id"], "object": "response", "deleted": True})


def get_input_items(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """What a response was given: messages, or the approvals that it began with."""
    limit = exchange.count("limit", 20, _MOST_ITEMS)
    order = exchange.query("order") or "desc"
    if order not in ("asc", "desc"):
        raise bad_request("order: use 'asc' or 'desc'.")
    allowed, leg = yield from _allowed(site, exchange, "read")
    if leg.first:
        found = yield from read_responses(allowed.info)
        response_of(found, leg)
        items = [
            *decision_items(leg.run_id, found.decided_in(leg)),
            *(item for sent in found.messages_of(leg) for item in sent_items(leg.run_id, sent)),
        ]
    else:
        items = message_items(leg.run_id, allowed.info.input)
    ordered = items if order == "asc" else items[::-1]
    return object_reply(_page(ordered, exchange.query("after"), limit))


def _allowed(site: Site, exchange: Exchange, action: ActionName) -> WebSteps[tuple[Allowed, Leg]]:
    """The leg that the path names, if there may be one such."""
    named = leg_of(exchange.path["id"])
    if named is None:
        raise not_found()
    allowed = yield from allowed_run(site, exchange, action, named.run_id)
    return allowed, Leg(allowed.run_id, named.first)


def _skip(exchange: Exchange) -> int:
    """How many events the client has: those up to *starting_after*."""
    given = exchange.query("starting_after")
    if given is None:
        return 0
    if not (given.isascii() and given.isdigit() and len(given) < 18):
        raise HttpFailure(400, "invalid_cursor", "starting_after is no sequence_number.")
    return int(given) + 1


def _page(items: Sequence[Json], after: str | None, limit: int) -> Json:
    ids = [item["id"] for item in items]
    if after is not None and after not in ids:
        raise bad_request("after: there is no such item.")
    first = 0 if after is None else ids.index(after) + 1
    page = list(items[first : first + limit])
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": len(items) > first + limit,
    }
