"""Waiting for a run inside of a worker that executes runs: a deadlock once all slots do so."""

from celery import Celery

from evented_agent.client.runs import Runs
from evented_agent.engines.celery.notifier import NAMES
from evented_agent.errors import BlockingCall
from evented_agent.logs import current_work, logger_of

logger = logger_of(__name__)

_ADVICE = (
    "Once all slots of such workers wait, no run goes on. Start the run with stream() and leave: "
    "its on_finish hook, or another process, has the result by the run id. Or serve the tasks that "
    "wait by another worker, without -Q {queue}."
)
#: Tools that were warned about in this process.
_warned: set[str] = set()


def refuse_to_wait(app: Celery, runs: Runs, verb: str) -> None:
    """Refuse to wait in a Celery task on the slots of agents; warn where one of their tools does.

    Raises `BlockingCall`, as Celery raises for `get()` within a task.
    """
    queue = runs.settings.queue
    work = current_work()
    if work is not None:
        if work.agent not in _warned:
            _warned.add(work.agent)
            logger.warning(
                "%s in task %s of agent %s holds its slot until another run has ended. %s",
                verb,
                work.task,
                work.agent,
                _ADVICE.format(queue=queue),
            )
        return
    task = app.current_worker_task
    if task is None or task.name in NAMES.values() or task.request.is_eager:
        return
    if queue in app.amqp.queues.consume_from and not runs.allow_blocking:
        raise BlockingCall(
            verb,
            "stream",
            f"{verb}() in task {task.name!r} would wait for a run in a worker of queue {queue!r}, "
            f"where runs need its slots. {_ADVICE.format(queue=queue)} allow_blocking=True waits "
            "nevertheless.",
        )
