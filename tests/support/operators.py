"""Who uses the console in tests: known by a token or a cookie, with what they may do."""

from starlette.requests import Request

from evented_agent import RunInfo
from evented_agent.web import Action, Principal
from evented_agent.web.principal import ACTION_NAMES

_ALL = frozenset(ACTION_NAMES)
OPERATORS = {
    "ann": Principal("Ann", "ann", scopes=_ALL),
    "bob": Principal("Bob", "bob", scopes=_ALL),
    "admin": Principal("Admin", all_resources=True, scopes=_ALL),
    # As most people have it: their own runs, and no console.
    "customer": Principal("Ann", "ann"),
    "viewer": Principal("Viewer", "ann", scopes=frozenset({"list", "read", "operate"})),
}


def known_operator(request: Request, _: Action, __: RunInfo | None) -> Principal | None:
    """Known by a cookie, as browsers send it, or by a token."""
    given = request.headers.get("authorization", "").removeprefix("Bearer ")
    return OPERATORS.get(request.cookies.get("who") or given)
