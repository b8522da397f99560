"""Who may use the console: whoever may operate, and for each thing what it needs beside."""

from evented_agent.web.access import Allowed, allowed_run, somebody
from evented_agent.web.console.view import View
from evented_agent.web.exchange import Exchange
from evented_agent.web.principal import ActionName
from evented_agent.web.site import Site, WebSteps


def operator(
    site: Site,
    exchange: Exchange,
    name: ActionName = "operate",
    *,
    agent: str | None = None,
    thread: str | None = None,
) -> WebSteps[View]:
    """The view of somebody who may operate, and do what *name* says to no run in particular."""
    who = yield from somebody(exchange, "operate")
    if name != "operate":
        who = yield from somebody(exchange, name, agent=agent, thread=thread)
    return View(site, exchange, who)


def operated_run(
    site: Site, exchange: Exchange, name: ActionName, run_id: str | None = None
) -> WebSteps[tuple[View, Allowed]]:
    """A run of somebody who may operate, and do that to it; 404 alike for all others."""
    yield from somebody(exchange, "operate")
    allowed = yield from allowed_run(site, exchange, name, run_id)
    return View(site, exchange, allowed.who), allowed
