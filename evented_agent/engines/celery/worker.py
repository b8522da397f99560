"""The worker's side: what is refused at start, the watchdog, and a stop that hands work back."""

import atexit
import logging
import multiprocessing
import os
import re
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from celery import Celery, bootsteps, current_app, signals
from celery.worker import state as worker_state

from evented_agent.client.listing import unfit_calls
from evented_agent.client.runs import Runs
from evented_agent.durations import in_seconds
from evented_agent.engines.celery.bystander import lacks_queue
from evented_agent.engines.celery.json_logs import wants_json_logs, write_json
from evented_agent.engines.celery.loop_bridge import Bridge
from evented_agent.engines.celery.notifier import NAMES, CeleryNotifier
from evented_agent.engines.celery.reserved import ReservedMessages, choose_prefetch
from evented_agent.errors import ConfigurationError, EventedAgentError
from evented_agent.execution.watchdog import Watchdog
from evented_agent.ledger.attempts import release
from evented_agent.ledger.runs import read
from evented_agent.ledger.workers import LiveWorker
from evented_agent.logs import add_run_fields, logger_of
from evented_agent.models.pricing import load_prices, pricing_if

logger = logger_of(__name__)

#: Seconds after which a stopping worker sends again what it handed back.
NOTIFY_AGAIN = 0.3
#: Seconds that a worker whose threads are held may take for the rest of its stop.
_EXIT_GRACE = 3.0
#: Calls that a starting worker looks at, of each status.
MOST_NAMED = 200
#: What our tasks are called, as Flower shows them.
_OURS = re.compile(rf"(?:{'|'.join(NAMES)})\[|evented_agent\.")
#: Pools whose threads are greenlets: an event loop beside them would never run.
GREEN_POOLS = ("gevent", "eventlet")


class AgentWorker:
    """One Celery worker that serves agents; lives in the worker's parent process."""

    def __init__(self, app: Celery, runs: Runs, bridge: Bridge, notifier: CeleryNotifier) -> None:
        self._app = app
        self._runs = runs
        self._bridge = bridge
        self._notifier = notifier
        self._queues: Sequence[str] = ()
        self._worker: Any = None
        self._pool = ""
        self._slots = 1
        self._watchdog: Watchdog | None = None
        self._reserved: ReservedMessages | None = None
        self._drain_thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._is_cold = False
        self._is_process = False
        self._exit_code = 0
        self._handed_back: set[str] = set()
        self._pid = 0

    def prepare(self, worker: Any) -> None:
        """Check the worker before its pool forks; exits with a sentence for what would break."""
        self._queues = list(self._app.amqp.queues.consume_from)
        if not self._serves():
            if self._runs.agents and _pool_name(worker) not in GREEN_POOLS:
                lacks_queue(self._runs, worker, list(self._queues))
            return
        try:
            self._refuse(worker)
            self._runs.provide()
            self._runs.check()
        except EventedAgentError as error:
            raise SystemExit(f"evented_agent: {error}") from None
        if pricing_if(is_wanted=self._runs.settings.pricing) is not None:
            # Before the pool forks, so that its children share the prices.
            load_prices()
        choose_prefetch(worker)
        if _pool_name(worker) == "threads":
            # After a lost connection Celery restores the count from threads of the pool, over the
            # channel that the main thread reads: with AMQP two readers tear each other's frames.
            self._app.conf.worker_enable_prefetch_count_reduction = False
        if _pool_name(worker) == "prefork":
            _leave_no_folder()
            self._bridge.share_with_children(int(worker.concurrency or 1))
            signals.worker_process_shutdown.connect(self._stop_counting, weak=False)
        # Known before the fork, so that the parent can hand back what its children run.
        self._bridge.node = worker.hostname
        self._bridge.worker_id = f"{worker.hostname}/{secrets.token_hex(4)}"

    def start(self, worker: Any) -> None:
        """Start the watchdog once the pool is up."""
        if not self._serves():
            return
        self._worker = worker
        self._pool = _pool_name(worker)
        self._slots = int(worker.concurrency or 1)
        runs = self._runs
        self._watchdog = Watchdog(
            runs.keys,
            runs.redis_url,
            settings=runs.settings,
            notify=self._notifier.notify,
            myself=self._myself,
        )
        self._pid = os.getpid()
        self._notifier.consumed = self._connection
        self._watchdog.start()
        self._reserved = ReservedMessages(runs, self._notifier, self._bridge.worker_id)
        self._reserved.start()
        # The same process may have had a worker before, as a test does.
        self._stopping.clear()
        self._bridge.is_draining = self._is_cold = False
        self._exit_code = 0
        self._is_process = threading.current_thread() is threading.main_thread()
        threading.Thread(target=self._warn, name="evented-agent-warn", daemon=True).start()
        drain = threading.Thread(target=self._drain, name="evented-agent-drain", daemon=True)
        drain.start()
        self._drain_thread = drain
        atexit.register(self._wait_for_drain)
        signals.worker_shutting_down.connect(self._shutting_down, weak=False)

    def stop(self, *, cold: bool) -> None:
        """Hand back what runs and leave the fleet, however the worker's end came about.

        Returns when that is done: after `shutdown_grace` at most, and a little.
        """
        drain, watchdog = self._drain_thread, self._watchdog
        if drain is None or watchdog is None:
            return
        self._is_cold = self._is_cold or cold
        self._stopping.set()
        drain.join(timeout=in_seconds(self._runs.settings.shutdown_grace) + 10)
        watchdog.stop()
        self._bridge.stop_counting()
        self._drain_thread = self._watchdog = None
        signals.worker_shutting_down.disconnect(self._shutting_down)
        atexit.unregister(self._wait_for_drain)

    def _stop_counting(self, **_: object) -> None:
        """A child's last act: what it has done is counted."""
        self._bridge.stop_counting()

    def _warn(self) -> None:
        """Name the calls that wait for a person, and that this version could not make."""
        try:
            unfit = self._runs.ledger.run(unfit_calls(self._runs, limit=MOST_NAMED))
        except EventedAgentError as error:
            logger.debug("The calls that wait for people could not be looked at: %s", error)
            return
        for pending, why in unfit:
            logger.warning(
                "Call %s of run %s waits for a person and no longer fits: %s",
                pending.tool_call_id,
                pending.run_id,
                " ".join(why.split()),
            )

    def _wait_for_drain(self) -> None:
        """Let what was begun on SIGTERM come to its end before the process does."""
        if self._stopping.is_set() and self._drain_thread is not None:
            self._drain_thread.join(timeout=5)

    def _serves(self) -> bool:
        """Whether this worker consumes a queue of agents, rather than only the user's own."""
        return self._runs.settings.queue in self._queues or bool(
            self._app.conf.get("evented_agent_queues", ())
            and set(self._app.conf["evented_agent_queues"]) & set(self._queues)
        )

    def _refuse(self, worker: Any) -> None:
        pool = _pool_name(worker)
        if pool in GREEN_POOLS:
            raise ConfigurationError(
                f"The {pool} pool cannot run agents. Start this worker with --pool threads, or "
                f"without the queue {self._runs.settings.queue!r}."
            )
        accepted = self._app.conf.accept_content
        if accepted and not {"json", "application/json"} & set(accepted):
            raise ConfigurationError(
                f"accept_content = {list(accepted)!r} refuses agent messages, which are JSON. Set "
                "accept_content = ['json', …]."
            )

    def _myself(self) -> LiveWorker:
        busy, stuck = len(_active()), self._bridge.abandoned
        if stuck * 2 > self._slots:
            self._leave_for(stuck)
        return LiveWorker(
            id=self._bridge.worker_id,
            node=self._bridge.node,
            queues=self._consumed(),
            agents=sorted(self._runs.agents),
            pool=self._pool,
            slots=self._slots,
            busy=min(busy, self._slots),
            abandoned=min(stuck, self._slots),
        )

    def _consumed(self) -> Sequence[str]:
        """The queues of now: `celery control add_consumer` changes them."""
        try:
            return [queue.name for queue in self._worker.consumer.task_consumer.queues]
        except (AttributeError, TypeError):
            # Not connected yet, or between two connections.
            return self._queues

    def _connection(self) -> Any:
        """The connection that the worker consumes over, of now; its children know an old one."""
        if os.getpid() != self._pid:
            return None
        return getattr(getattr(self._worker, "consumer", None), "connection", None)

    def _leave_for(self, stuck: int) -> None:
        """Stop as on SIGTERM: a supervisor starts a worker that has all its slots."""
        if self._stopping.is_set():
            return
        logger.error(
            "%d of %d slots are held by tools that ran out of time and still run: this worker "
            "stops, with exit code %d, for a supervisor to start another",
            stuck,
            self._slots,
            os.EX_TEMPFAIL,
        )
        self._exit_code = os.EX_TEMPFAIL
        self._stopping.set()
        # Celery looks at it at least once a second.
        worker_state.should_stop = os.EX_TEMPFAIL  # type: ignore[assignment]

    def _shutting_down(self, how: str = "", **_: object) -> None:
        # A signal handler: only set flags, a thread does the work.
        self._is_cold = how == "Cold"
        self._stopping.set()

    def _drain(self) -> None:
        """Wait for SIGTERM, then for the grace; then hand back what still runs."""
        self._stopping.wait()
        assert self._watchdog is not None
        assert self._reserved is not None
        self._reserved.stop()
        self._bridge.is_draining = True
        self._watchdog.leave()
        grace = 0.0 if self._is_cold else in_seconds(self._runs.settings.shutdown_grace)
        ends = time.monotonic() + grace
        while time.monotonic() < ends and not self._is_cold and self._each_run(self._still_runs):
            time.sleep(0.1)
        self._each_run(self._hand_back)
        self._bridge.release_all()
        self._notify_again()
        if self._is_process and self._bridge.abandoned:
            self._exit_with_threads()

    def _exit_with_threads(self) -> None:
        """End the process although tools that were given up hold threads: no exit waits for them.

        What the user's own tasks still do is waited for, as Celery does.
        """
        ends = time.monotonic() + _EXIT_GRACE
        while _others() or time.monotonic() < ends:
            if not self._bridge.abandoned:
                return
            time.sleep(0.1)
        logger.warning("%d abandoned calls end with this process", self._bridge.abandoned)
        self._bridge.stop_counting()
        logging.shutdown()
        os._exit(self._exit_code)

    def _notify_again(self) -> None:
        """Send once more what no worker has taken.

        A message may have gone to this very worker, whose last request for one is still open at
        the broker when it stops; there is no other after that.
        """
        time.sleep(NOTIFY_AGAIN)
        for run_id in self._handed_back | self._bridge.refused:
            try:
                record = self._runs.ledger.send(read(self._runs.keys, run_id), retry_for=0)
            except EventedAgentError:
                continue
            if dues := record.queued():
                self._notifier.notify(dues)

    def _each_run(self, act: Callable[[str], bool]) -> bool:
        """Whether *act* is true of any run that this worker executes."""
        run_ids = {request.id.partition(":")[0] for request in _active()}
        done = [act(run_id) for run_id in run_ids]
        return any(done)

    def _still_runs(self, run_id: str) -> bool:
        try:
            record = self._runs.ledger.send(read(self._runs.keys, run_id), retry_for=0)
        except EventedAgentError:
            return False
        owner = f"{self._bridge.node}/"
        return any(
            task.state == "running" and (task.owner or "").startswith(owner)
            for task in record.tasks
        )

    def _hand_back(self, run_id: str) -> bool:
        call = release(self._runs.keys, run_id, worker=self._bridge.worker_id, reason="shutdown")
        try:
            dues = self._runs.ledger.send(call, retry_for=1)
        except EventedAgentError as error:
            logger.warning("Run %s is left to its lease: %s", run_id, error)
            return False
        if dues:
            logger.info("Handed back %s", ", ".join(due.task_id for due in dues))
            self._handed_back.add(run_id)
            self._notifier.notify(dues)
        return bool(dues)


class _NoReceipts(logging.Filter):
    """Leaves out that a message of ours came: its task has a line when it ends."""

    def filter(self, record: logging.LogRecord) -> bool:
        name = str((getattr(record, "data", None) or {}).get("name", ""))
        return _OURS.match(name) is None


def prepare_logs() -> None:
    """Let the lines of a worker name their runs: ours, and those of tools and hooks."""
    strategy = logging.getLogger("celery.worker.strategy")
    if not any(isinstance(found, _NoReceipts) for found in strategy.filters):
        strategy.addFilter(_NoReceipts())
    for signal in (signals.after_setup_logger, signals.after_setup_task_logger):
        signal.connect(_set_up_logger, weak=False, dispatch_uid="evented-agent-logs")


def _set_up_logger(logger: logging.Logger, **_: object) -> None:
    add_run_fields(logger)
    if wants_json_logs(current_app):
        write_json(logger)


def add_worker_steps(app: Celery, agent_worker: AgentWorker) -> None:
    """Hook into the life of workers of *app*: before the pool forks, and after it is up."""

    class Prepare(bootsteps.Step):
        """Before the pool: a refusal here starts nothing."""

        name = "evented-agent-prepare"

        def __init__(self, worker: Any, **_: Any) -> None:
            agent_worker.prepare(worker)

    class Watch(bootsteps.StartStopStep):
        """After the pool."""

        name = "evented-agent-watch"
        requires = ("celery.worker.components:Pool",)

        def start(self, parent: Any) -> None:
            agent_worker.start(parent)

        def stop(self, parent: Any) -> None:  # noqa: ARG002 - Celery's
            agent_worker.stop(cold=False)

        def terminate(self, parent: Any) -> None:  # noqa: ARG002 - Celery's
            agent_worker.stop(cold=True)

    prepare_logs()
    app.steps["worker"].add(Prepare)
    app.steps["worker"].add(Watch)


def _leave_no_folder() -> None:
    """Let the pool keep its shared memory in the temporary folder, not in one made for it.

    Its file has no name as soon as it is open; an empty ``pymp-…`` would stay after a SIGKILL.
    """
    # A private name of the standard library, which billiard asks: without it the folder is made.
    config = getattr(multiprocessing.current_process(), "_config", None)
    if isinstance(config, dict):
        config.setdefault("tempdir", tempfile.gettempdir())


def _active() -> list[Any]:
    """The requests for agent tasks that run in this worker, in whichever pool."""
    names = NAMES.values()
    # Not request.name, which is what Flower shows.
    return [r for r in list(worker_state.active_requests) if r.task.name in names]


def _others() -> bool:
    """Whether the user's own tasks run in this worker."""
    names = NAMES.values()
    return any(r.task.name not in names for r in list(worker_state.active_requests))


def _pool_name(worker: Any) -> str:
    module = getattr(worker.pool_cls, "__module__", str(worker.pool_cls))
    name = module.rpartition(".")[2]
    return "threads" if name == "thread" else name
