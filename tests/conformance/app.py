"""The Celery application of the conformance suite."""

import os

from celery import Celery

from evented_agent import Settings
from evented_agent.engines.celery import create_evented_agent
from tests.conformance.agents import AGENTS
from tests.support.topologies import SentinelGroup

BROKER = os.environ.get("CONFORMANCE_BROKER", "redis://127.0.0.1:1/0")
LEDGER = os.environ.get("CONFORMANCE_LEDGER") or None
PREFIX = os.environ.get("CONFORMANCE_PREFIX", "conformance")


def broker_options(url: str, prefix: str) -> dict[str, str]:
    """Names apart for deployments that share a Redis, and how Sentinels call theirs."""
    named = {"global_keyprefix": f"{prefix}-broker:"}
    if url.startswith("sentinel"):
        return {**named, "master_name": SentinelGroup.NAME}
    return named if url.startswith("redis") else {}


app = Celery("tests.conformance.app")
app.conf.update(
    broker_url=BROKER,
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=1,
    broker_transport_options=broker_options(BROKER, PREFIX),
)
settings = Settings(prefix=PREFIX, shards=int(os.environ.get("CONFORMANCE_SHARDS", "1")))
evented = {
    agent.id: create_evented_agent(agent, app=app, redis_url=LEDGER, settings=settings)
    for agent in AGENTS
}
