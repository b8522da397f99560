"""The Celery application of the workload: one agent with all tools of all simulators.

The simulators' state is in Redis, so that any worker can take the next call; a call and its effect
are stored together under the call's idempotency key, so that a repeated call has no second effect.
"""

import os
import pickle
from functools import cache

import redis
from celery import Celery

from evented_agent import Agent, Settings, ToolContext, create_evented_agent
from tests.workload.dialogs import Call, apply, dialogs, simulators
from tests.workload.tools import all_tools

REDIS_URL = os.environ["WORKLOAD_REDIS_URL"]
#: Where the runs are, if that is elsewhere than the messages and the simulators.
LEDGER_URL = os.environ.get("WORKLOAD_LEDGER_URL") or REDIS_URL
SHARDS = int(os.environ.get("WORKLOAD_SHARDS") or 1)

app = Celery("tests.workload", broker=REDIS_URL)
app.conf.worker_prefetch_multiplier = 1
app.conf.broker_connection_retry_on_startup = True


@cache
def states() -> "redis.Redis":
    return redis.Redis.from_url(REDIS_URL)


def state_key(scope: str, dialog: str) -> str:
    return f"workload:{scope}:{dialog}:state"


def repeated_key(scope: str) -> str:
    """Counts the calls that were made once more."""
    return f"workload:{scope}:repeated"


def act(scope: str, dialog_id: str, key: str, call: Call) -> str:
    """Do a call in the dialog's simulators, once."""
    dialog, client = dialogs()[dialog_id], states()
    state, results = state_key(scope, dialog_id), f"workload:{scope}:{dialog_id}:results"

    def once(both: "redis.client.Pipeline") -> str:
        if (known := both.hget(results, key)) is not None:
            client.incr(repeated_key(scope))
            return bytes(known).decode()  # type: ignore[arg-type]
        stored = both.get(state)
        instances = pickle.loads(stored) if stored else simulators(dialog)  # type: ignore[arg-type]
        result = apply(dialog, instances, call)
        both.multi()
        both.set(state, pickle.dumps(instances))
        both.hset(results, key, result)
        return result

    # Not under a lock: a worker that wakes up after its lock has expired must not write.
    return str(
        client.transaction(once, state, results, value_from_callable=True)  # type: ignore[arg-type]
    )


def call_tool(ctx: ToolContext, call: Call) -> str:
    where = ctx.context
    return act(where["scope"], where["dialog"], ctx.idempotency_key, call)


# Read here rather than in a tool: parsing in several threads at once may fail (CPython 3.11's ast).
dialogs()
agent = Agent(
    id="bfcl",
    model="openai-chat/player",
    tools=all_tools(call_tool),
    max_steps=100,
)
evented = create_evented_agent(
    agent, app=app, redis_url=LEDGER_URL, settings=Settings(shards=SHARDS, retry_for=10)
)
