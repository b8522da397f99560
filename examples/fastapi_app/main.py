"""The web side: users who sign in, and the HTTP API of their runs below /agents."""

import os
import secrets
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Form, HTTPException, Request
from fastapi.responses import FileResponse, RedirectResponse
from starlette.middleware.sessions import SessionMiddleware

from evented_agent import RunInfo, Runs
from evented_agent.web import Action, Principal, create_app
from fastapi_app.agents import app

#: Name and password. Your own users take their place.
USERS = {"ann": "tea", "bob": "coffee"}
#: The same in every process; a random one lets everybody sign in anew at each start.
SECRET = os.environ.get("SECRET_KEY") or secrets.token_urlsafe(32)

web = FastAPI()
web.add_middleware(SessionMiddleware, secret_key=SECRET, same_site="lax")


def authorize(request: Request, _action: Action, _run: RunInfo | None) -> Principal | None:
    """Who asks is whoever has signed in; they see their own runs, and those of nobody else."""
    user = request.session.get("user")
    return None if user is None else Principal(name=user.title(), resource_id=user)


web.mount("/agents", create_app(Runs.of(app), authorize=authorize, token_keys=[SECRET]))


@web.get("/me")
async def me(request: Request) -> dict[str, str]:
    if "user" not in request.session:
        raise HTTPException(401, "Sign in.")
    return {"user": request.session["user"]}


@web.post("/login")
async def login(
    request: Request, username: Annotated[str, Form()], password: Annotated[str, Form()]
) -> RedirectResponse:
    known = USERS.get(username)
    if known is None or not secrets.compare_digest(known.encode(), password.encode()):
        return RedirectResponse("/?refused", status_code=303)
    request.session["user"] = username
    return RedirectResponse("/", status_code=303)


@web.post("/logout")
async def logout(request: Request) -> RedirectResponse:
    request.session.clear()
    return RedirectResponse("/", status_code=303)


@web.get("/", include_in_schema=False)
async def page() -> FileResponse:
    return FileResponse(Path(__file__).with_name("page.html"))
