"""Try an agent: say something to it, and watch what it does."""

from typing import Any
from uuid import uuid4

from evented_agent.web.access import somebody
from evented_agent.web.console.asked import asked_for, form_of
from evented_agent.web.console.people import operated_run, operator
from evented_agent.web.exchange import Exchange, PlainReply
from evented_agent.web.failures import HttpFailure
from evented_agent.web.routes.start import NewRunRequest, begin_run
from evented_agent.web.site import Site, WebSteps


def get_console_playground(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """A box to ask in, and the run that was started with it."""
    view = yield from operator(site, exchange)
    agents = yield from _agents(site, exchange)
    if "start" not in view.who.scopes:
        raise HttpFailure(403, "forbidden", "You may not start runs here.")
    info = None
    if (run_id := asked_for(exchange, "run")) is not None:
        view, allowed = yield from operated_run(site, exchange, "read", run_id)
        info = allowed.info
    chosen = (info.agent if info else None) or asked_for(exchange, "agent")
    return view.reply(
        "playground",
        title="Playground",
        agents=agents,
        chosen=chosen or next(iter(agents), ""),
        info=info,
        thread_id=(info.thread_id if info else None) or f"playground-{uuid4().hex[:8]}",
        resource_id=info.resource_id if info else None,
    )


def post_console_playground(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """Start a run, and go to the page that follows it."""
    form = form_of(exchange)
    agent = form.needed("agent")
    view = yield from operator(site, exchange, "start", agent=agent)
    resource_id = form.text("resource_id") if view.who.all_resources else None
    options: dict[str, Any] = {}
    if form.text("metadata") is not None:
        options["metadata"] = form.object("metadata")
    request = NewRunRequest(
        agent,
        form.needed("input"),
        thread_id=form.text("thread_id"),
        resource_id=resource_id,
        options=options,
    )
    run = yield from begin_run(site, view.who, request)
    return view.sent_to(view.address("playground", run=run.run_id))


def _agents(site: Site, exchange: Exchange) -> WebSteps[list[str]]:
    """The agents of this process that they may start."""
    found = []
    for agent in sorted(site.runs.agents):
        if site.agent not in (None, agent):
            continue
        try:
            yield from somebody(exchange, "start", agent=agent)
            found.append(agent)
        except HttpFailure:
            continue
    return found
