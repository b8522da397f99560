"""Agents on a Celery app: register once, in the module that both callers and workers import."""

import threading
from typing import Any, Self

from celery import Celery

from evented_agent.agents.agent import Agent
from evented_agent.agents.generics import Out
from evented_agent.client.deployment import Deployment, check_agent
from evented_agent.client.diversion import current_diversion
from evented_agent.client.durable_agent import DurableAgent
from evented_agent.client.runs import Runs
from evented_agent.engines.celery.loop_bridge import Bridge
from evented_agent.engines.celery.notifier import CeleryNotifier
from evented_agent.engines.celery.redis_url import redis_url_of
from evented_agent.engines.celery.tasks import add_tasks, forget_result, taker_of_results
from evented_agent.engines.celery.waiting import refuse_to_wait
from evented_agent.engines.celery.worker import AgentWorker, add_worker_steps
from evented_agent.engines.in_process import LocalEngine
from evented_agent.errors import ConfigurationError, DeclarationError
from evented_agent.ledger.settings import Settings

_registering = threading.Lock()


def create_evented_agent(
    agent: Agent[Any, Out],
    app: Celery | None = None,
    *,
    redis_url: str | None = None,
    settings: Settings | None = None,
    allow_blocking: bool = False,
) -> "EventedAgent[Out]":
    """Serve *agent* on a Celery app; without one, call `.register(app)` later (in a factory).

    The first agent of an app registers the tasks and decides *redis_url* and *settings*, which
    later ones may repeat or leave out. *redis_url* is by default
    ``app.conf.evented_agent_redis_url``, else ``EVENTED_AGENT_REDIS_URL``, else the broker if that
    is Redis, else the embedded server. Nothing connects here.

    Raises `ConfigurationError` for another agent under the same id, or other settings.
    """
    check_agent(agent)
    evented = EventedAgent(
        agent, redis_url=redis_url, settings=settings, allow_blocking=allow_blocking
    )
    if app is not None:
        evented.register(app)
    return evented


class EventedAgent(DurableAgent[Out]):
    """A `DurableAgent` whose runs execute in Celery workers."""

    def __init__(
        self,
        agent: Agent[Any, Out],
        *,
        redis_url: str | None = None,
        settings: Settings | None = None,
        allow_blocking: bool = False,
    ) -> None:
        self.agent = agent
        self._given = (redis_url, settings, allow_blocking)
        self._app: Celery | None = None
        self._eager: LocalEngine | None = None

    def register(self, app: Celery) -> Self:
        """Put the agent on *app*; again on the same app changes nothing.

        An application factory may be called more than once: runs start on the app that was
        registered last.
        """
        if not isinstance(app, Celery):
            raise DeclarationError(f"app={app!r} is no Celery app. Pass the app itself.")
        with _registering:
            runs = _runs_of(app, *self._given)
            runs.add(self.agent)
            self._app, self._runs = app, runs
            runs.start_engine = self._started
        return self

    def close(self) -> None:
        """Stop what runs in this process under ``task_always_eager``; elsewhere, nothing."""
        with _registering:
            engine, self._eager = self._eager, None
        if engine is not None:
            engine.close()

    def __getattr__(self, name: str) -> Any:
        # Only `_runs` can be missing, before register().
        if name == "_runs":
            raise ConfigurationError(
                f"Agent {self.agent.id!r} is on no Celery app yet. Call .register(app) first."
            )
        raise AttributeError(name)

    def _started(self) -> Deployment:
        runs = self._runs
        assert self._app is not None
        if (diversion := current_diversion()) is not None:
            diversion.serve(runs)
            return runs
        runs.provide()
        if self._app.conf.task_always_eager and self._eager is None:
            with _registering:
                if self._eager is None:
                    self._eager = LocalEngine(runs)
                    self._eager.start()
        return runs


def _runs_of(
    app: Celery, redis_url: str | None, settings: Settings | None, allow_blocking: bool
) -> Runs:
    known = Runs.registered(app)
    if known is not None:
        if settings is not None and settings != known.settings:
            raise ConfigurationError(
                f"{app!r} has agents with {known.settings!r}; all agents of an app share them. "
                "Give the settings with the first agent only."
            )
        if redis_url is not None and redis_url != known.named_url:
            raise ConfigurationError(
                f"{app!r} has agents on another Redis; all agents of an app share one. Give "
                "redis_url with the first agent only."
            )
        return known
    runs = Runs(
        redis_url or (lambda: redis_url_of(app)),
        settings=settings,
        allow_blocking=allow_blocking,
    )
    notifier = CeleryNotifier(app, runs.agents)
    runs.notifier = notifier
    runs.forget_copy = lambda run_id: forget_result(app, run_id)
    runs.check_wait = lambda verb: refuse_to_wait(app, runs, verb)
    bridge = Bridge(runs, lambda: taker_of_results(app), runs.forget_copy)
    add_tasks(app, bridge, notifier)
    add_worker_steps(app, AgentWorker(app, runs, bridge, notifier))
    Runs._of_app[app] = runs  # noqa: SLF001 - the registry of `Runs` itself
    return runs
