"""Settings of this repository's Celery application; beside each, why it is not the default."""

import os

from evented_agent.ledger.embedded_server import ensure_server

#: The broker; without one, the embedded server, so that there is nothing to set up.
broker_url = (
    os.environ.get("EVENTED_AGENT_BROKER_URL")
    or os.environ.get("EVENTED_AGENT_REDIS_URL")
    or ensure_server().broker_url
)

# A worker started before its broker waits for it.
broker_connection_retry_on_startup = True

# kombu notes each message in Redis until it is acknowledged, to send it again should the worker
# die. Runs do that by themselves, faster, and without repeating a long task: this saves a fifth of
# the time between two tasks. Leave the line out if other tasks use this configuration.
broker_transport_options = {"ack_emulation": False}

# Agent tasks wait for models, not for processors: threads, one event loop beside them.
worker_pool = "threads"
worker_concurrency = 100

# A message that waits in a worker's memory is lost with the worker, and sent again only 5 s later.
worker_prefetch_multiplier = 1

# Flower and `celery events` show what happens.
worker_send_task_events = True

# JSON only: nothing that a message holds is ever executed.
task_serializer = "json"
accept_content = ["json"]

# Results live in the runs; a backend is only needed by callers that use AsyncResult.
task_ignore_result = True
