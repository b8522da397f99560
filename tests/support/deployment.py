"""What the apps of the tests have in common; callers and workers learn it from the environment."""

import os
from datetime import timedelta
from pathlib import Path

from celery import Celery

from evented_agent import Agent, EventedAgent, Settings
from evented_agent.engines.celery import create_evented_agent

BROKER = os.environ.get("TEST_BROKER_URL", "redis://127.0.0.1:1/0")
LEDGER = os.environ.get("TEST_REDIS_URL", BROKER)
PREFIX = os.environ.get("TEST_PREFIX", "test")
QUEUE = os.environ.get("TEST_QUEUE", "agents")
GRACE = float(os.environ.get("TEST_GRACE", "10"))
#: Where tools leave marks that tests count.
MARKS = Path(os.environ.get("TEST_MARKS", "/nonexistent"))

#: Loading the prices takes a second of each worker's start.
PRICING = os.environ.get("TEST_PRICING") == "1"

settings = Settings(
    prefix=PREFIX, queue=QUEUE, shutdown_grace=timedelta(seconds=GRACE), pricing=PRICING
)


def broker_options(url: str) -> dict[str, str]:
    """Names apart for deployments that share a Redis."""
    shares = url.startswith("redis") and "TEST_PLAIN_BROKER" not in os.environ
    return {"global_keyprefix": f"{PREFIX}-broker:"} if shares else {}


def make_app(name: str) -> Celery:
    """An app on the broker of the tests; workers are started with ``-A`` and its name."""
    app = Celery(name)
    app.conf.update(
        broker_url=BROKER,
        broker_write_url=os.environ.get("TEST_BROKER_WRITE_URL"),
        broker_connection_retry_on_startup=True,
        worker_prefetch_multiplier=1,
        result_backend=os.environ.get("TEST_RESULT_BACKEND"),
        broker_transport_options=broker_options(BROKER),
    )
    if queues := os.environ.get("TEST_QUEUES"):
        app.conf.evented_agent_queues = [queues]
    return app


def serve(app: Celery, *agents: Agent) -> dict[str, EventedAgent]:
    """Serve agents from an app, by id."""
    return {
        agent.id: create_evented_agent(agent, app=app, redis_url=LEDGER, settings=settings)
        for agent in agents
    }


def mark(name: str, line: str) -> None:
    """Append a line to a file of marks; appends of one line are atomic."""
    with (MARKS / name).open("a") as file:
        file.write(f"{line}\n")
