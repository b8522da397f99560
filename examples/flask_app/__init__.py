"""An assistant behind Flask, as an application factory.  No run executes in the web process."""

import os
import secrets
from collections.abc import Mapping
from typing import Any

from celery import Celery
from flask import Flask, Response, jsonify, request
from flask.typing import ResponseReturnValue

from evented_agent import InvalidCursor, RunDeleted, RunError, RunExpired, RunNotFound
from flask_app.agents import evented

SSE_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}
STATUS = {RunNotFound: 404, RunDeleted: 410, RunExpired: 410}


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Make the Flask app, and the Celery app as ``extensions["celery"]``."""
    app = Flask(__name__)
    app.config["CELERY"] = {"broker_url": os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")}
    app.config.from_mapping(config)
    celery_app = Celery(app.name)
    celery_app.config_from_object(app.config["CELERY"])
    app.extensions["celery"] = celery_app
    evented.register(celery_app)

    app.add_url_rule("/runs", view_func=start, methods=["POST"])
    app.add_url_rule("/runs/<run_id>/events", view_func=events)
    app.register_error_handler(RunError, refuse)
    return app


def start() -> ResponseReturnValue:
    """Start a run. It is durable before this returns; nobody has to wait for it here."""
    asked = request.get_json(silent=True)
    message = asked.get("message") if isinstance(asked, dict) else None
    if not message or not isinstance(message, str):
        return {"error": 'Send {"message": "…"} as JSON.'}, 400
    visitor = request.cookies.get("visitor") or secrets.token_urlsafe(16)
    run = evented.stream(message, resource_id=visitor)
    reply = jsonify(run_id=run.run_id)
    # Who asks is whoever has this cookie. Your own sign-in takes its place.
    reply.set_cookie("visitor", visitor, httponly=True, samesite="Lax")
    return reply, 202


def events(run_id: str) -> ResponseReturnValue:
    """Follow a run from its start or from a cursor; each reader holds a thread of the server."""
    # The header wins: a browser that reconnects sends it with the URL it began with.
    after = request.headers.get("Last-Event-ID") or request.args.get("after", "0")
    try:
        # Another visitor's run looks as if it did not exist.
        visitor = request.cookies.get("visitor", "")
        run = evented.observe(run_id, after=after, resource_id=visitor)
    except InvalidCursor as error:
        return {"error": str(error)}, 400
    if run.is_over():
        # An EventSource comes back after each end; only this makes it stay away.
        return Response(status=204)
    return Response(run.sse(), mimetype="text/event-stream", headers=SSE_HEADERS)


def refuse(error: RunError) -> ResponseReturnValue:
    return jsonify(error=str(error)), STATUS.get(type(error), 500)
