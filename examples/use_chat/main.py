"""The web side: the page, and the agent in the protocol of the AI SDK below /agents/ai."""

import os
import secrets
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse
from starlette.middleware.sessions import SessionMiddleware

from evented_agent import RunInfo, Runs
from evented_agent.web import Action, Principal, create_app
from use_chat.agents import app

HERE = Path(__file__).parent
#: The same in every process; a random one makes everybody a new visitor at each start.
SECRET = os.environ.get("SECRET_KEY") or secrets.token_urlsafe(32)

web = FastAPI()
web.add_middleware(SessionMiddleware, secret_key=SECRET, same_site="lax")


def authorize(request: Request, _action: Action, _run: RunInfo | None) -> Principal | None:
    """Each browser is a visitor of its own; your sign-in takes its place."""
    visitor = request.session.get("visitor")
    return None if visitor is None else Principal(name=visitor, resource_id=visitor)


web.mount("/agents", create_app(Runs.of(app), authorize=authorize))


@web.get("/", include_in_schema=False)
async def page(request: Request) -> FileResponse:
    request.session.setdefault("visitor", secrets.token_urlsafe(16))
    return FileResponse(HERE / "page.html")


@web.get("/page.js", include_in_schema=False)
async def script() -> FileResponse:
    return FileResponse(Path(os.environ.get("PAGE_JS", HERE / "page.js")))
