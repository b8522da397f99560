"""The web application of the benchmarks; everybody who asks is the same person."""

import os

from starlette.requests import Request

from benchmarks.app import agents
from benchmarks.speakers import OWNER
from evented_agent import RunInfo
from evented_agent.web import Action, Limits, Principal, create_app


async def authorize(_: Request, __: Action, ___: RunInfo | None) -> Principal:
    return Principal("somebody", OWNER)


limits = Limits(streams=1_000_000, stall_seconds=float(os.environ["BENCH_STALL_SECONDS"]))
web = create_app(agents["answer"].client, authorize=authorize, limits=limits)
