"""A worker that could serve agents and does not: says so once at its start, and to who looks.

It lacks their queue, or the module that registers them was not imported.
"""

import os
import secrets
import threading
from typing import Any

from celery import Celery, signals

from evented_agent.client.runs import Runs
from evented_agent.engines.celery.redis_url import redis_url_of
from evented_agent.errors import ConfigurationError, EventedAgentError
from evented_agent.ledger.settings import Settings
from evented_agent.ledger.workers import LiveWorker, announce, announce_leaving
from evented_agent.logs import logger_of

logger = logger_of(__name__)

#: Seconds between two announcements; after 10 s of silence a worker counts as gone.
_INTERVAL = 3.0
#: What such a worker has instead of a pool for agents.
BYSTANDER = "bystander"


class Presence:
    """Announces a worker that takes no tasks of agents, so that `waiting_for` can name it."""

    def __init__(self, runs: Runs, worker: Any, queues: list[str]) -> None:
        self._runs = runs
        self._me = LiveWorker(
            id=f"{worker.hostname}/{os.getpid()}/{secrets.token_hex(4)}",
            node=worker.hostname,
            queues=queues,
            agents=sorted(runs.agents),
            pool=BYSTANDER,
            slots=0,
        )
        self._is_stopped = threading.Event()

    def start(self) -> None:
        """Announce it from a thread of its own until the worker stops."""
        signals.worker_shutting_down.connect(self._stop, weak=False)
        threading.Thread(target=self._run, name="evented-agent-presence", daemon=True).start()

    def _stop(self, *_: object, **__: object) -> None:
        self._is_stopped.set()

    def _run(self) -> None:
        while True:
            self._send(announce(self._runs.keys, self._me))
            if self._is_stopped.wait(_INTERVAL):
                break
        self._send(announce_leaving(self._runs.keys, self._me.id))

    def _send(self, command: Any) -> None:
        try:
            self._runs.ledger.send(command, retry_for=0)
        except EventedAgentError as error:
            logger.debug("The worker could not announce itself: %s", error)


def lacks_queue(runs: Runs, worker: Any, queues: list[str]) -> None:
    """Warn that a worker has agents and not their queue."""
    queue = runs.settings.queue
    logger.warning(
        "This worker has imported agents (%s) and executes none of their runs: it consumes %s, not "
        "queue %r. Start it with -Q %s, unless another worker does that.",
        ", ".join(sorted(runs.agents)),
        ", ".join(map(repr, queues)) or "no queue",
        queue,
        ",".join(dict.fromkeys([*queues, queue])),
    )
    Presence(runs, worker, queues).start()


def lacks_agents(app: Celery, worker: Any) -> None:
    """Warn that a worker consumes the queue of agents, and has none."""
    queues = list(app.amqp.queues.consume_from)
    settings = Settings()
    ours = {settings.queue, *(app.conf.get("evented_agent_queues") or ())}
    if not ours & set(queues):
        return
    logger.warning(
        "This worker consumes %s and has imported no agents: it drops the messages of their runs. "
        "Import the module that calls create_evented_agent(agent, app=app) in the module that "
        "-A names, or list it in app.conf.include.",
        ", ".join(repr(queue) for queue in queues if queue in ours),
    )
    try:
        url = redis_url_of(app)
    except ConfigurationError:
        return
    if url is not None:
        Presence(Runs(url, settings=settings), worker, queues).start()


def watch_for_bystanders() -> None:
    """Look at each worker of this process that is about to start, whatever its app has imported."""
    signals.celeryd_after_setup.connect(_look, weak=False, dispatch_uid="evented-agent-bystander")


def _look(instance: Any = None, **_: object) -> None:
    app = instance.app
    if Runs.registered(app) is None:
        lacks_agents(app, instance)
