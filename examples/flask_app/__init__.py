"""A chat behind Flask, as an application factory: users who sign in, and the API of their runs."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from celery import Celery
from flask import Flask, redirect, request, send_file, session
from flask.typing import ResponseReturnValue
from starlette.requests import Request
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from evented_agent import RunInfo, Runs
from evented_agent.web import Action, Principal, create_wsgi_app
from flask_app.agents import evented

#: Name and password. Your own users take their place.
USERS = {"ann": "tea", "bob": "coffee"}


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Make the Flask app, and the Celery app as ``extensions["celery"]``."""
    app = Flask(__name__)
    # The same in every process; a random one lets everybody sign in anew at each start.
    app.secret_key = os.environ.get("SECRET_KEY") or secrets.token_urlsafe(32)
    app.config["SESSION_COOKIE_SAMESITE"] = "Lax"
    app.config["CELERY"] = {"broker_url": os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")}
    app.config.from_mapping(config)
    celery_app = Celery(app.name)
    celery_app.config_from_object(app.config["CELERY"])
    app.extensions["celery"] = celery_app
    evented.register(celery_app)

    app.add_url_rule("/", view_func=page)
    app.add_url_rule("/me", view_func=me)
    app.add_url_rule("/login", view_func=login, methods=["POST"])
    app.add_url_rule("/logout", view_func=logout, methods=["POST"])
    mount_agents(app, celery_app)
    return app


def mount_agents(app: Flask, celery_app: Celery) -> None:
    """Serve the HTTP API of runs below /agents, to whoever has signed in to *app*."""

    def authorize(asked: Request, _action: Action, _run: RunInfo | None) -> Principal | None:
        with app.request_context(asked.scope["wsgi.environ"]):
            user = session.get("user")
        return None if user is None else Principal(name=user.title(), resource_id=user)

    agents = create_wsgi_app(Runs.of(celery_app), authorize=authorize)
    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/agents": agents})  # type: ignore[method-assign]


def page() -> ResponseReturnValue:
    return send_file(Path(__file__).with_name("page.html"))


def me() -> ResponseReturnValue:
    return {"user": session["user"]} if "user" in session else ({"error": "Sign in."}, 401)


def login() -> ResponseReturnValue:
    user, password = request.form["username"], request.form["password"]
    known = USERS.get(user)
    if known is None or not secrets.compare_digest(known.encode(), password.encode()):
        return redirect("/?refused", 303)
    session["user"] = user
    return redirect("/", 303)


def logout() -> ResponseReturnValue:
    session.clear()
    return redirect("/", 303)
