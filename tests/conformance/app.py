"""The Celery application of the conformance suite."""

import os

from celery import Celery

from evented_agent import Settings
from evented_agent.engines.celery import create_evented_agent
from tests.conformance.agents import AGENTS

BROKER = os.environ.get("CONFORMANCE_BROKER", "redis://127.0.0.1:1/0")
LEDGER = os.environ.get("CONFORMANCE_LEDGER", BROKER)
PREFIX = os.environ.get("CONFORMANCE_PREFIX", "conformance")

app = Celery("tests.conformance.app")
app.conf.update(
    broker_url=BROKER,
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=1,
)
if BROKER.startswith("redis"):
    app.conf.broker_transport_options = {"global_keyprefix": f"{PREFIX}-broker:"}
settings = Settings(prefix=PREFIX)
evented = {
    agent.id: create_evented_agent(agent, app=app, redis_url=LEDGER, settings=settings)
    for agent in AGENTS
}
