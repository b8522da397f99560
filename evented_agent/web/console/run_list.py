"""Runs page by page, with filters; and the search for one by what somebody remembers of it."""

from collections.abc import Sequence
from typing import Any, get_args

from evented_agent.errors import RunDeleted, RunNotFound
from evented_agent.state.run_info import RunInfo, Status
from evented_agent.web.console.asked import asked_for, scope_of, since_in
from evented_agent.web.console.people import operator
from evented_agent.web.exchange import Exchange, PlainReply
from evented_agent.web.site import Site, Verb, WebSteps

_PER_PAGE = 50
#: The newest runs that the beginning of an id is looked for in, and its least length.
_MOST_LOOKED_AT, _LEAST = 500, 4
SPANS = (("1h", "Last hour"), ("24h", "Last 24 hours"), ("7d", "Last 7 days"), ("30d", "30 days"))


def get_console_runs(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """The runs that match, the newest first."""
    view = yield from operator(site, exchange, "list")
    sought = asked_for(exchange, "q")
    wanted: dict[str, Any] = {
        "status": asked_for(exchange, "status"),
        "thread_id": asked_for(exchange, "thread_id"),
        "since": since_in(exchange),
        **scope_of(view),
    }
    if sought is None:
        place = asked_for(exchange, "page")
        page = yield Verb("list", (), {**wanted, "limit": _PER_PAGE, "page": place})
        runs, next_page = list(page), page.next_page
    else:
        runs, next_page = (yield from _found(sought, wanted)), None
    return view.reply(
        "runs",
        title="Runs",
        runs=runs,
        next_page=next_page,
        statuses=("", *get_args(Status)),
        spans=SPANS,
        asked={name: asked_for(exchange, name) or "" for name in FILTERS},
        agents=sorted({*site.runs.agents, *(info.agent for info in runs)}),
    )


#: What narrows the list, as its address says.
FILTERS = ("q", "status", "agent", "thread_id", "resource_id", "since", "page")


def _found(sought: str, wanted: dict[str, Any]) -> WebSteps[list[RunInfo]]:
    """Runs of that id, or that begins so, of that thread, or of that resource."""
    found: dict[str, RunInfo] = {}
    exact = yield from _exact(sought)
    newest: Sequence[RunInfo] = []
    if len(sought) >= _LEAST:
        newest = yield Verb("list", (), {**wanted, "limit": _MOST_LOOKED_AT})
    of_thread = yield Verb("list", (), {**wanted, "thread_id": sought, "limit": _PER_PAGE})
    whose = wanted["resource_id"] or sought
    of_resource = yield Verb("list", (), {**wanted, "resource_id": whose, "limit": _PER_PAGE})
    beginning = [info for info in newest if info.run_id.startswith(sought)]
    theirs = of_resource if whose == sought else []
    for info in [*exact, *beginning, *of_thread, *theirs]:
        if _matches(info, wanted):
            found.setdefault(info.run_id, info)
    return list(found.values())[: 2 * _PER_PAGE]


def _exact(sought: str) -> WebSteps[list[RunInfo]]:
    try:
        info = yield Verb("get", (sought,))
    except (RunNotFound, RunDeleted, ValueError):
        return []
    return [info]


def _matches(info: RunInfo, wanted: dict[str, Any]) -> bool:
    since = wanted["since"]
    if since is not None and info.created_at < since and (info.ended_at or since) <= since:
        return False
    names = ("status", "agent", "thread_id", "resource_id")
    return all(wanted[name] in (None, getattr(info, name)) for name in names)
