"""The web side: start a run, follow it, look at it, abort it, delete it.  No run executes here."""

import os
import secrets
from pathlib import Path
from typing import Annotated

from fastapi import Cookie, Depends, FastAPI, Header, HTTPException, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from pydantic import BaseModel, Field

from evented_agent import (
    EventedAgentError,
    InvalidCursor,
    LedgerUnavailable,
    RunDeleted,
    RunExpired,
    RunNotFound,
    TooLarge,
)
from fastapi_app.agents import evented

#: Seconds of silence after which a comment is sent: proxies close idle connections, often at 60.
HEARTBEAT = float(os.environ.get("SSE_HEARTBEAT", "15"))
SSE_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}
STATUS = {
    RunNotFound: 404,
    RunDeleted: 410,
    RunExpired: 410,
    TooLarge: 413,
    LedgerUnavailable: 503,
}

web = FastAPI()


class Question(BaseModel):
    """What a visitor asks."""

    message: str = Field(min_length=1)


def visitor(response: Response, visitor: Annotated[str | None, Cookie()] = None) -> str:
    """Who asks: whoever has this cookie. Your own sign-in takes its place."""
    if visitor is None:
        visitor = secrets.token_urlsafe(16)
        response.set_cookie("visitor", visitor, httponly=True, samesite="lax")
    return visitor


#: Runs belong to their visitor: to anybody else they look as if they did not exist.
Visitor = Annotated[str, Depends(visitor)]


@web.post("/runs", status_code=202)
async def start(question: Question, visitor: Visitor) -> dict[str, str]:
    """Start a run. It is durable before this returns; nobody has to wait for it here."""
    run = await evented.astream(question.message, resource_id=visitor)
    return {"run_id": run.run_id}


@web.get("/runs/{run_id}/events")
async def events(
    run_id: str,
    visitor: Visitor,
    last_event_id: Annotated[str | None, Header()] = None,
    after: str = "0",
) -> Response:
    """Follow a run from its start or from a cursor, as often and from wherever one likes."""
    # The header wins: a browser that reconnects sends it with the URL it began with.
    try:
        run = await evented.aobserve(run_id, after=last_event_id or after, resource_id=visitor)
    except InvalidCursor as error:
        raise HTTPException(400, str(error)) from None
    if await run.is_over():
        # An EventSource comes back after each end; only this makes it stay away.
        return Response(status_code=204)
    return StreamingResponse(
        run.sse(heartbeat=HEARTBEAT), media_type="text/event-stream", headers=SSE_HEADERS
    )


@web.get("/runs/{run_id}")
async def info(run_id: str, visitor: Visitor) -> dict[str, str | int | None]:
    """Tell how a run is doing."""
    run = await evented.aget(run_id, resource_id=visitor)
    return {
        "run_id": run.run_id,
        "status": run.status,
        "step": run.step,
        "cursor": run.cursor,
        "waiting_for": run.waiting_for,
        "error": run.error.message if run.error else None,
    }


@web.post("/runs/{run_id}/abort", status_code=202)
async def abort(run_id: str, visitor: Visitor) -> dict[str, bool]:
    """Ask that a run ends; false if it had ended before."""
    is_asked = await evented.aabort(run_id, reason="asked for on the web", resource_id=visitor)
    return {"aborted": is_asked}


@web.delete("/runs/{run_id}", status_code=204)
async def delete(run_id: str, visitor: Visitor) -> None:
    """Remove everything of a run."""
    await evented.adelete(run_id, resource_id=visitor)


@web.get("/", include_in_schema=False)
async def page() -> FileResponse:
    return FileResponse(Path(__file__).with_name("page.html"))


@web.exception_handler(EventedAgentError)
async def refuse(_: Request, error: EventedAgentError) -> JSONResponse:
    status = STATUS.get(type(error), 500)
    # What concerns our servers is for our logs.
    detail = str(error) if status < 500 else "Please try again later."
    return JSONResponse({"detail": detail}, status_code=status)
