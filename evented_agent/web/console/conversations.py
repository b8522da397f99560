"""Threads: lists of them, one across its runs, and what it is called."""

from evented_agent.client.listing import RunFilter, RunPage, cost_of_runs, page_of_runs
from evented_agent.errors import ThreadNotFound
from evented_agent.models.cost import RunsCost, total_cost
from evented_agent.models.messages import Message
from evented_agent.state.thread_info import ThreadInfo
from evented_agent.web.console.asked import asked_for, form_of, scope_of, since_in
from evented_agent.web.console.people import operator
from evented_agent.web.console.view import View
from evented_agent.web.exchange import Exchange, PlainReply, bad_request
from evented_agent.web.site import RunPlan, Site, Verb, WebSteps

_PER_PAGE, _RUNS, _MOST_TITLE = 50, 50, 200
#: Runs whose cost is added up for a row of the list.
_MOST_PRICED = 200


def get_console_threads(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """Threads, those in use last first."""
    view = yield from operator(site, exchange, "list")
    whose = scope_of(view)["resource_id"]
    sought = asked_for(exchange, "q")
    options = {"resource_id": whose, "since": since_in(exchange), "limit": _PER_PAGE}
    page = yield Verb("threads", (), {**options, "page": asked_for(exchange, "page")})
    found, next_page = list(page), page.next_page
    if sought is not None:
        named = yield from _named(sought, whose)
        found = [*named, *(each for each in found if _has(each, sought))]
        found = list({(each.thread_id, each.resource_id): each for each in found}.values())
        next_page = None
    return view.reply(
        "threads",
        title="Threads",
        threads=found,
        next_page=next_page,
        asked={name: asked_for(exchange, name) or "" for name in ("q", "resource_id")},
    )


def get_console_thread(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """What was said in a thread, over its runs."""
    view, thread, whose = yield from _thread(site, exchange, "read")
    info: ThreadInfo | None = yield Verb("thread_info", (thread,), {"resource_id": whose})
    wanted = _runs_of(view, thread, info)
    runs: RunPage = yield RunPlan(page_of_runs(site.runs, wanted, limit=_RUNS))
    if info is None and not runs:
        raise ThreadNotFound(thread, whose)
    messages: list[Message] = yield Verb("thread", (thread,), {"resource_id": whose})
    return view.reply(
        "thread",
        title="Thread",
        thread_id=thread,
        resource_id=whose,
        info=info,
        runs=runs,
        total=total_cost(run.cost for run in runs),
        unpriced=sum(run.cost is None and run.usage.total_tokens > 0 for run in runs),
        is_more=runs.next_page is not None,
        messages=messages,
        live=next((run for run in reversed(runs) if not run.is_ended), None),
    )


def get_console_thread_cost(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """What the newest runs of a thread cost: asked for by each row of the list that is seen."""
    view, thread, whose = yield from _thread(site, exchange, "read")
    info: ThreadInfo | None = yield Verb("thread_info", (thread,), {"resource_id": whose})
    plan = cost_of_runs(site.runs, _runs_of(view, thread, info), limit=_MOST_PRICED)
    found: RunsCost = yield RunPlan(plan)
    return view.fragment("parts/thread_cost.html", found=found)


def post_console_title(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """Call a thread something; an empty title takes it away."""
    title = form_of(exchange).text("title")
    if title is not None and len(title) > _MOST_TITLE:
        raise bad_request(f"A title has at most {_MOST_TITLE} characters.")
    view, thread, whose = yield from _thread(site, exchange, "act")
    yield Verb("set_thread_title", (thread, title), {"resource_id": whose})
    return view.done("The title is kept.", view.address("threads", thread, resource_id=whose))


def post_console_forget(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """Forget a thread; its runs stay."""
    view, thread, whose = yield from _thread(site, exchange, "delete")
    yield Verb("delete_thread", (thread,), {"resource_id": whose})
    return view.sent_to(view.address("threads"))


def _thread(site: Site, exchange: Exchange, name: str) -> WebSteps[tuple[View, str, str | None]]:
    thread = exchange.path["thread_id"]
    view = yield from operator(site, exchange, name, thread=thread)  # type: ignore[arg-type]
    return view, thread, scope_of(view)["resource_id"]


def _runs_of(view: View, thread: str, info: ThreadInfo | None) -> RunFilter:
    """The runs of a thread; of nobody's, not those of the same name that somebody has."""
    is_nobodys = info is not None and info.resource_id is None
    return RunFilter(thread_id=thread, is_nobodys=is_nobodys, **scope_of(view))


def _named(thread: str, whose: str | None) -> WebSteps[list[ThreadInfo]]:
    """The threads of that id: of one resource, or of all whose runs are the newest there."""
    owners = {whose}
    if whose is None:
        runs: RunPage = yield Verb("list", (), {"thread_id": thread, "limit": _RUNS})
        owners |= {run.resource_id for run in runs}
    found = []
    for owner in sorted(owners, key=lambda each: each or ""):
        info: ThreadInfo | None = yield Verb("thread_info", (thread,), {"resource_id": owner})
        if info is not None:
            found.append(info)
    return found


def _has(info: ThreadInfo, sought: str) -> bool:
    words = (info.thread_id, info.resource_id, info.title, info.last_message)
    return any(sought.lower() in (word or "").lower() for word in words)
