"""The in-process engine: the same ledger and semantics, without Celery.

One event loop in a thread of its own runs the attempts; a watchdog picks up what another process
left behind.
"""

import asyncio
import atexit
import contextvars
import dataclasses
import os
import secrets
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from evented_agent.agents.agent import Agent
from evented_agent.agents.generics import Out
from evented_agent.client.deployment import Deployment, check_agent
from evented_agent.client.diversion import current_diversion
from evented_agent.client.durable_agent import DurableAgent
from evented_agent.client.runs import Runs
from evented_agent.errors import EventedAgentError
from evented_agent.execution.attempt import Process
from evented_agent.execution.counts import Counts
from evented_agent.execution.event_loop import run_loop
from evented_agent.execution.executor import Executor, Outcome
from evented_agent.execution.tasks.mcp_tools import close_mcp_servers
from evented_agent.execution.watchdog import Watchdog
from evented_agent.ledger.attempts import Worker, release
from evented_agent.ledger.keys import Keys
from evented_agent.ledger.records import Due
from evented_agent.ledger.settings import Settings
from evented_agent.ledger.workers import LiveWorker, add_prefix
from evented_agent.logs import logger_of
from evented_agent.models.pricing import pricing_if

logger = logger_of(__name__)

_T = TypeVar("_T")

#: Attempts at the same time, and threads for `def` tools.
SLOTS = 100


def create_durable_agent(
    agent: Agent[Any, Out],
    *,
    redis_url: str | None = None,
    settings: Settings | None = None,
    allow_blocking: bool = False,
) -> "InProcessAgent[Out]":
    """Serve *agent* in this process: durable runs without Celery.

    *redis_url* is by default ``EVENTED_AGENT_REDIS_URL``, else the embedded server. A run that a
    dead process left is picked up by the next one that serves its agent. Nothing is started before
    the first run; `start()` does it earlier, to take up what was left.  Keys begin with
    ``<prefix>.<agent id>``; ``evented-agent runs`` lists them all.
    """
    check_agent(agent)
    settings = settings or Settings()
    # Only a process that serves the agent can answer its alarms, and there is no broker to find
    # one: each agent's runs are watched apart, by the processes that serve it.
    listed_under = settings.prefix
    settings = dataclasses.replace(settings, prefix=f"{settings.prefix}.{agent.id}")
    runs = Runs(redis_url, settings=settings, allow_blocking=allow_blocking)
    runs.add(agent)
    return InProcessAgent(agent, runs, listed_under=listed_under)


class InProcessAgent(DurableAgent[Out]):
    """A `DurableAgent` whose runs execute in this process."""

    def __init__(
        self, agent: Agent[Any, Out], runs: Runs, *, listed_under: str | None = None
    ) -> None:
        super().__init__(agent, runs)
        self._listed_under = listed_under
        self._engine: LocalEngine | None = None
        self._lock = threading.Lock()
        runs.start_engine = self._started

    @property
    def _deployment(self) -> Deployment:
        # Who serves an agent has its runs, also before anything else needs a server.
        self._runs.provide()
        return self._runs

    def start(self) -> None:
        """Start the engine now: it also picks up runs that a dead process left."""
        self._started()

    def close(self) -> None:
        """Hand back what runs, for another process, and stop the engine."""
        with self._lock:
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()

    def _started(self) -> Deployment:
        if (diversion := current_diversion()) is not None:
            diversion.serve(self._runs)
            return self._runs
        with self._lock:
            if self._engine is None or self._engine.pid != os.getpid():
                self._runs.provide()
                self._engine = LocalEngine(self._runs, self._listed_under)
                self._engine.start()
        return self._runs


class LocalEngine:
    """Executes tasks of one `Runs` on an event loop in a thread of this process."""

    def __init__(self, runs: Runs, listed_under: str | None = None) -> None:
        self.pid = os.getpid()
        self._runs = runs
        self._listed_under = listed_under
        owner = f"local@{socket.gethostname()}/{self.pid}"
        self._worker = Worker(
            id=f"{owner}/{secrets.token_hex(4)}", owner=owner, lease_ms=runs.settings.lease_ms
        )
        self._loop = asyncio.new_event_loop()
        self._loop_thread = threading.Thread(
            target=run_loop, args=(self._loop,), name="evented-agent-loop", daemon=True
        )
        self._threads = ThreadPoolExecutor(SLOTS, thread_name_prefix="evented-agent-tool")
        self._is_stopping = False
        self._counts = Counts(runs.keys, runs.ledger)
        process = Process(
            keys=runs.keys,
            ledger=runs.ledger,
            worker=self._worker,
            settings=runs.settings,
            agents=runs.agents,
            counts=self._counts,
            on_ending=None,
            on_deleted=_ignore,
            notify=self.notify,
            pricing=pricing_if(is_wanted=runs.settings.pricing),
        )
        self._calls = process.calls
        self._executor = Executor(process, self._loop)
        self._running: dict[asyncio.Task[None], str] = {}
        self._watchdog = Watchdog(
            runs.keys,
            runs.redis_url,
            settings=runs.settings,
            notify=self.notify,
            myself=self._live_worker,
        )

    def start(self) -> None:
        self._runs.check()
        if self._listed_under is not None:
            self._runs.ledger.send(add_prefix(Keys(self._listed_under), self._runs.keys.prefix))
        self._loop_thread.start()
        self._runs.notifier = self
        self._watchdog.start()
        atexit.register(self.close)

    def notify(self, dues: Sequence[Due]) -> bool:
        """Start tasks on the engine's loop."""
        if self._is_stopping:
            return False
        for due in dues:
            self._loop.call_soon_threadsafe(self._start, due)
        return True

    def close(self) -> None:
        """Hand back what runs and stop; unfinished runs are logged with their ids."""
        if self._is_stopping or self.pid != os.getpid():
            return
        self._is_stopping = True
        atexit.unregister(self.close)
        self._watchdog.leave()
        self._watchdog.stop()
        stopped = asyncio.run_coroutine_threadsafe(self._stop_attempts(), self._loop).result()
        for run_id in stopped:
            self._hand_back(run_id)
        if stopped:
            logger.warning("Left for the next process: %s", ", ".join(sorted(stopped)))
        self._executor.heartbeats.stop()
        close_mcp_servers(
            server for agent in self._runs.agents.values() for server in agent.mcp_servers
        )
        self._counts.stop()
        self._threads.shutdown(wait=False, cancel_futures=True)
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._loop_thread.join()
        self._loop.close()
        self._runs.ledger.close()

    async def _close(self) -> None:
        await self._runs.ledger.aclose()
        await self._loop.shutdown_asyncgens()

    async def _stop_attempts(self) -> set[str]:
        # Also those whose claim is on its way: Redis may have granted it.
        run_ids = set(self._running.values())
        self._executor.release_all()
        running = list(self._running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=1)
        return run_ids

    def _hand_back(self, run_id: str) -> None:
        call = release(self._runs.keys, run_id, worker=self._worker.id, reason="shutdown")
        try:
            self._runs.ledger.send(call, retry_for=1)
        except EventedAgentError as error:
            logger.warning("Run %s is left to its lease: %s", run_id, error)

    def _start(self, due: Due) -> None:
        # As in a worker: nothing of the caller's context, nor of the task before.
        task = self._loop.create_task(self._execute(due), context=contextvars.Context())
        self._running[task] = due.run_id
        task.add_done_callback(lambda task: self._running.pop(task, None) and None)

    async def _execute(self, due: Due) -> None:
        outcome: Outcome = await self._executor.execute(due.run_id, due.key, self._in_thread)
        if outcome.failure is not None:
            self._log(due, outcome)
        if not self._is_stopping:
            for following in outcome.sends:
                self._start(following)

    def _log(self, due: Due, outcome: Outcome) -> None:
        failure = outcome.failure
        if outcome.is_handled:
            logger.info("Task %s of run %s failed: %r", due.key, due.run_id, failure)
            logger.debug("The model is told of this error", exc_info=failure)
        elif not isinstance(failure, EventedAgentError):
            # The line of the run's end has no traceback.
            logger.error("Task %s of run %s failed", due.key, due.run_id, exc_info=failure)

    def _in_thread(self, function: Callable[[], _T]) -> Awaitable[_T]:
        return self._loop.run_in_executor(self._threads, function)

    def _live_worker(self) -> LiveWorker:
        return LiveWorker(
            id=self._worker.id,
            node=self._worker.owner,
            queues=[self._runs.settings.queue],
            agents=sorted(self._runs.agents),
            pool="local",
            slots=SLOTS,
            busy=min(SLOTS, len(self._running) + self._calls.abandoned),
            abandoned=self._calls.abandoned,
        )


def _ignore(_: object) -> None:
    """There is no result backend in this engine."""
