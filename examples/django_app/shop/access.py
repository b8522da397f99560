"""Whose runs a request is about: those of the user that Django's session knows."""

from importlib import import_module

from django.conf import settings
from django.contrib.auth import get_user
from django.db import close_old_connections
from django.http import HttpRequest
from starlette.requests import Request

from evented_agent import RunInfo
from evented_agent.web import Action, Principal

sessions = import_module(settings.SESSION_ENGINE)


def authorize(request: Request, _action: Action, _run: RunInfo | None) -> Principal | None:
    """Who asks is whoever has signed in; they see their own runs, and those of nobody else."""
    stored = sessions.SessionStore(request.cookies.get(settings.SESSION_COOKIE_NAME))
    asked = HttpRequest()
    # A copy: `get_user` may renew a session, of which this answer could not tell the browser.
    asked.session = sessions.SessionStore()
    try:
        asked.session.update(stored.items())
        user = get_user(asked)
    finally:
        # Django does so after its own requests; this one is none of them.
        close_old_connections()
    if not user.is_authenticated:
        return None
    return Principal(name=user.get_username(), resource_id=str(user.pk))
