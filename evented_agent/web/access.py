"""Who may do what: a run that somebody may not see looks like one that does not exist."""

from dataclasses import dataclass

from evented_agent.errors import RunDeleted, RunNotFound
from evented_agent.state.run_info import RunInfo
from evented_agent.web.exchange import Exchange
from evented_agent.web.failures import HttpFailure, not_found
from evented_agent.web.names import stored_run_id
from evented_agent.web.principal import Action, ActionName, Principal
from evented_agent.web.site import Consult, Site, Verb, WebSteps


@dataclass(frozen=True, slots=True)
class Allowed:
    """A run, and who may do to it what they asked for.

    Attributes:
        who: They.
        info: The run as it is stored.
        name: What they call it: its id, or the name that they gave it.
    """

    who: Principal
    info: RunInfo
    name: str

    @property
    def run_id(self) -> str:
        return self.info.run_id


def somebody(
    exchange: Exchange, name: ActionName, *, agent: str | None = None, thread: str | None = None
) -> WebSteps[Principal]:
    """Who asks for something that is about no run in particular; refuses nobody, and who may not.

    Raises `HttpFailure` with 401 or 403.
    """
    who = yield Consult(exchange, Action(name, agent), thread=thread)
    return with_scope(who, name)


def allowed_run(
    site: Site, exchange: Exchange, name: ActionName, run_id: str | None = None
) -> WebSteps[Allowed]:
    """The run of the path, or the one of *run_id*, and who asks for it.

    Raises `HttpFailure`: 404 alike for a run of somebody else and for one that there is not, 401
    for nobody, 403 for who may do that to no run.
    """
    given, action = run_id or exchange.path["run_id"], Action(name)
    found = yield from _look(site, given)
    info = found if isinstance(found, RunInfo) else None
    who = yield Consult(exchange, action, info)
    if info is not None and is_seen(who, info, exchange):
        return Allowed(with_scope(who, name), info, given)
    if info is not None:
        # From here on as if there were none.
        who = yield Consult(exchange, action, None)
    who = with_scope(who, name)
    if who.all_resources:
        raise found if isinstance(found, RunDeleted) else not_found()
    # A child is named after the run that it belongs to.
    root, mark, branch = given.partition("~")
    named = yield from _look(site, stored_run_id(who, "run", root) + mark + branch)
    if isinstance(named, RunInfo):
        who = yield Consult(exchange, action, named)
        if is_seen(who, named, exchange):
            return Allowed(with_scope(who, name), named, given)
    raise not_found()


def _look(site: Site, run_id: str) -> WebSteps[RunInfo | RunDeleted | None]:
    try:
        info: RunInfo = yield Verb("get", (run_id,))
    except RunDeleted as error:
        return error
    except RunNotFound:
        return None
    if site.agent is None or info.agent == site.agent:
        return info
    if info.parent_id is None:
        return None
    # A child is there where the run is that it belongs to.
    whole = yield from _look(site, run_id.partition("~")[0])
    return info if isinstance(whole, RunInfo) else whole


def is_seen(who: Principal | None, info: RunInfo, exchange: Exchange) -> bool:
    """Whether a run is there for them."""
    if who is None:
        return False
    if who.all_resources:
        # A service may ask on behalf of one person.
        return exchange.query("resource_id") in (None, info.resource_id)
    return who.resource_id == info.resource_id


def with_scope(who: Principal | None, name: ActionName) -> Principal:
    """*who*, if they may do that.  Raises `HttpFailure` with 401 or 403."""
    if who is None:
        raise nobody()
    if name not in who.scopes:
        raise HttpFailure(403, "forbidden", f"You may not {name} here.")
    return who


def nobody() -> HttpFailure:
    """What is answered to somebody who has not signed in."""
    return HttpFailure(
        401,
        "unauthorized",
        "Sign in, or send a token that is valid.",
        {"www-authenticate": "Bearer"},
    )
