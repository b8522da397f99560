"""The Celery application of the benchmarks; callers and workers import it."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from datetime import timedelta

from celery import Celery

from evented_agent import Agent, Settings, create_evented_agent, tool
from evented_agent.models.protocol import AnswerEnded, Model, ModelEvent, ModelRequest, TextPiece

if "BENCH_TRACING" in os.environ:
    from benchmarks.tracing import trace_here

    trace_here()
app = Celery("benchmarks", broker=os.environ["BENCH_BROKER_URL"])
app.conf.broker_connection_retry_on_startup = True
app.conf.evented_agent_queues = ["traced"]
if "BENCH_CELERY_DEFAULTS" not in os.environ:
    # As celeryconfig.py has it.
    app.conf.worker_prefetch_multiplier = 1
    app.conf.broker_transport_options = {"ack_emulation": False}


@tool
def work(n: int) -> int:
    """Do a piece of work."""
    return n + 1


class Synthetic:
    """A model inside the worker: as fast as Python can say words."""

    name = "synthetic/words"

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        for n in range(int(str(request.settings["words"]))):
            yield TextPiece(f"w{n} ")
        yield AnswerEnded("stop")


class Clock:
    """A model inside the worker that says what time it is, on the clock of the machine."""

    name = "synthetic/clock"

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        for _ in range(int(str(request.settings["words"]))):
            yield TextPiece(f"{time.monotonic()} ")
            await asyncio.sleep(float(str(request.settings["gap"])))
        yield AnswerEnded("stop")


def agent(id_: str, model: str | Model) -> Agent:
    return Agent(id=id_, model=model, tools=[work], max_steps=50)


settings = Settings(shutdown_grace=timedelta(0))
agents = {
    agent.id: create_evented_agent(
        agent, app=app, redis_url=os.environ["BENCH_REDIS_URL"], settings=settings
    )
    for agent in (
        agent("steps", "openai-chat/mock-s10-t20"),
        agent("answer", "openai-chat/mock-t20"),
        agent("flood", "openai-chat/mock-t20000"),
        agent("small-flood", "openai-chat/mock-t2000"),
        agent("synthetic", Synthetic()),
        agent("clock", Clock()),
        agent("five-seconds", "openai-chat/mock-s4-d1000-t20"),
        agent("half-second", "openai-chat/mock-d500-t5"),
        agent("speaker", "openai-chat/mock-t200-g20"),
    )
}
