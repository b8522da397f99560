"""The five tasks on the user's app.  Their bodies decode, execute and report; nothing more."""

import contextlib
from collections.abc import Callable
from typing import NoReturn

from celery import Celery, Task
from celery.exceptions import Ignore, Retry

from evented_agent.engines.celery.loop_bridge import Bridge
from evented_agent.engines.celery.notifier import NAMES, CeleryNotifier
from evented_agent.execution.attempt import Ending
from evented_agent.execution.executor import Outcome
from evented_agent.logs import logger_of

logger = logger_of(__name__)

#: Seconds; a limit of its own per task, so that a global one does not apply. The engine has its
#: own timeouts, which hand work on instead of killing it.
NO_LIMIT = 365 * 24 * 3600


#: An attribute of exceptions that a model was told of.
_MARK = "_evented_agent_is_handled"


class _HandledType(type):
    def __instancecheck__(cls, error: object) -> bool:
        return getattr(error, _MARK, False) is True


class Handled(Exception, metaclass=_HandledType):
    """Any exception that the model was told of: the run goes on, so it is no error of the worker.

    Celery logs it in one line at INFO; the task still counts as failed, in Flower too.
    """


class AgentTask(Task):  # type: ignore[type-arg]
    """A task whose options no configuration changes: the ledger's promises rest on them."""

    abstract = True
    Request = "evented_agent.engines.celery.revoke:AgentRequest"
    # The ledger redelivers: a message only says that a task is due, and may be lost or doubled.
    acks_late = False
    acks_on_failure_or_timeout = True
    reject_on_worker_lost = False
    max_retries = 0
    ignore_result = True
    store_errors_even_if_ignored = False
    serializer = "json"
    throws = (Handled,)
    track_started = True
    time_limit = NO_LIMIT
    soft_time_limit = NO_LIMIT
    expires = None
    typing = False

    @property
    def rate_limit(self) -> str:
        """No limit; None would mean: as configured."""
        return "0/s"

    @rate_limit.setter
    def rate_limit(self, limit: object) -> None:
        """`celery control rate_limit` would stall runs that have workers."""
        if limit not in (None, "0/s"):
            logger.warning(
                "%s keeps no rate limit (%s): runs would stand still. Limit the model, or the "
                "tools with Background(key_concurrency=…).",
                self.name,
                limit,
            )

    @classmethod
    def annotate(cls) -> None:
        """Take no annotations from the configuration."""


def add_tasks(app: Celery, bridge: Bridge, notifier: CeleryNotifier) -> None:
    """Register the tasks on *app*, and on no other."""

    def execute(run_id: str, task_key: str) -> None:
        def send(outcome: Outcome) -> None:
            if outcome.sends:
                notifier.notify(outcome.sends)

        _report(bridge.execute(str(run_id), str(task_key), send))

    for name in NAMES.values():
        app.task(name=name, base=AgentTask, shared=False)(execute)


def _report(outcome: Outcome) -> None:
    """Report to Celery, and so to Flower and Sentry, how the attempt ended."""
    if outcome.failure is not None:
        if outcome.is_handled:
            logger.debug("The model is told of this error", exc_info=outcome.failure)
            with contextlib.suppress(AttributeError, TypeError):
                vars(outcome.failure)[_MARK] = True
        raise outcome.failure
    if outcome.retried is not None:
        _retried(outcome.retried)
    if outcome.handed_back is not None:
        logger.debug("Handed back: %s", outcome.handed_back)
        raise Ignore(outcome.handed_back)


def _retried(reason: str) -> NoReturn:
    raise Retry(reason, exc=RuntimeError(reason))


def taker_of_results(app: Celery) -> Callable[[Ending], None] | None:
    """What keeps results in the app's result backend; None where it has none."""
    if type(app.backend).__name__ == "DisabledBackend":
        return None
    return lambda ending: _store_result(app, ending)


def _store_result(app: Celery, ending: Ending) -> None:
    """Store the final result where ``AsyncResult(run_id).get()`` finds it.

    Only a copy: the run's record is what counts, so a backend that is down delays nothing.
    """
    backend = app.backend
    result = {"text": ending.text, "finish_reason": ending.reason, "status": ending.status}
    try:
        if ending.error is None:
            backend.store_result(ending.run_id, result, "SUCCESS")
        else:
            error = RuntimeError(f"{ending.error['name']}: {ending.error['message']}")
            backend.store_result(ending.run_id, error, "FAILURE")
    except Exception:
        logger.exception("The result of run %s could not be stored", ending.run_id)


def forget_result(app: Celery, run_id: str) -> None:
    """Remove what `store_result` has stored.  Raises what the backend does."""
    try:
        app.backend.forget(run_id)
    except NotImplementedError:
        # Without a backend nothing was stored; one that cannot forget passes results on only.
        logger.debug("The result backend has nothing to forget of run %s", run_id)
