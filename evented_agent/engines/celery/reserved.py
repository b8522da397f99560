"""Messages that a worker holds while all of its slots are busy go to a worker that has one free.

Celery takes messages in advance, its prefetch, so a run could wait behind a long tool although
another worker is idle. The message is sent again; whichever worker is first claims the task, and
the copy of the other one does nothing.
"""

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

from celery.worker import state as worker_state

from evented_agent.client.runs import Runs
from evented_agent.engines.celery.notifier import NAMES, CeleryNotifier
from evented_agent.errors import EventedAgentError
from evented_agent.ledger.runs import read
from evented_agent.ledger.workers import LiveWorker, live_workers

logger = logging.getLogger(__name__)

#: Seconds between two looks, and for how long a message may be held before it is sent again.
TICK, HELD = 0.5, 1.0
#: Celery's own prefetch, messages per slot, where nobody chose another; and ours.
CELERY_PREFETCH, PREFETCH = 4, 1
#: Messages that are sent again in one look.
MOST_AT_ONCE = 20


class ReservedMessages:
    """Looks at what this worker has taken and not begun, from a thread of its own."""

    def __init__(self, runs: Runs, notifier: CeleryNotifier, worker_id: str) -> None:
        self._runs = runs
        self._notifier = notifier
        self._worker_id = worker_id
        self._since: dict[str, float] = {}
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="evented-agent-reserved")
        self._thread.daemon = True

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._is_stopped.set()

    def _run(self) -> None:
        while not self._is_stopped.wait(TICK):
            try:
                self._look()
            except EventedAgentError as error:
                logger.debug("Messages that wait here could not be sent again: %s", error)
            except Exception:
                # They wait here then, as Celery's do.
                logger.exception("A look at the messages that wait here failed; continuing")

    def _look(self) -> None:
        now = time.monotonic()
        waiting = _waiting()
        self._since = {id_: self._since.get(id_, now) for id_ in waiting}
        held = [id_ for id_, since in self._since.items() if now - since >= HELD]
        if not held:
            return
        workers = self._runs.ledger.send(live_workers(self._runs.keys))
        free = [each for each in workers if each.id != self._worker_id and each.busy < each.slots]
        for id_ in held[:MOST_AT_ONCE] if free else ():
            self._since[id_] = now
            self._send_again(id_, free)

    def _send_again(self, task_id: str, free: Sequence[LiveWorker]) -> None:
        record = self._runs.ledger.send(read(self._runs.keys, task_id.partition(":")[0]))
        dues = [due for due in record.queued() if due.task_id == task_id]
        if any(
            due.queue in each.queues and due.agent in each.agents for due in dues for each in free
        ):
            self._notifier.notify(dues)


def choose_prefetch(worker: Any) -> None:
    """Take as many messages in advance as there are slots, unless somebody chose a number."""
    if worker.prefetch_multiplier == CELERY_PREFETCH:
        worker.prefetch_multiplier = PREFETCH


def _waiting() -> Sequence[str]:
    """The agent tasks that this worker has taken and not begun, by id."""
    try:
        taken, active = list(worker_state.reserved_requests), set(worker_state.active_requests)
    except RuntimeError:
        # The sets changed meanwhile: looked at again soon.
        return ()
    names = NAMES.values()
    return [
        request.id
        for request in taken
        if request not in active and request.task.name in names and request.id is not None
    ]
