"""Runs over HTTP: routes to start, follow, decide and abort, behind your own sign-in.

Needs the extra ``web``: ``pip install "evented-agent[web]"``.
"""

try:
    import itsdangerous as _itsdangerous
    import jinja2 as _jinja2
    import starlette as _starlette
except ImportError as _error:
    raise ImportError(
        f"evented_agent.web needs {_error.name}, which is not installed. Run: "
        'pip install "evented-agent[web]"'
    ) from None

from evented_agent.web.asgi import WebApp
from evented_agent.web.create import create_app, create_wsgi_app
from evented_agent.web.limits import Limits
from evented_agent.web.principal import Action, Authorize, Principal
from evented_agent.web.wsgi import WsgiApp

__all__ = [
    "Action",
    "Authorize",
    "Limits",
    "Principal",
    "WebApp",
    "WsgiApp",
    "create_app",
    "create_wsgi_app",
]

del _itsdangerous, _jinja2, _starlette
