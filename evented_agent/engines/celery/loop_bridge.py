"""From Celery's thread to the event loop and back: one loop per process, made at first use."""

import asyncio
import mmap
import os
import threading
from collections.abc import Awaitable, Callable
from queue import SimpleQueue
from typing import Any, TypeVar

from billiard.process import current_process

from evented_agent.client.runs import Runs
from evented_agent.execution.abandoned import ThreadCall, ThreadCalls
from evented_agent.execution.attempt import Ending, Process
from evented_agent.execution.counts import Counts
from evented_agent.execution.event_loop import run_loop
from evented_agent.execution.executor import Executor, Outcome
from evented_agent.ledger.attempts import Worker
from evented_agent.logs import logger_of
from evented_agent.models.pricing import pricing_if

logger = logger_of(__name__)

_T = TypeVar("_T")


class Bridge:
    """The event loop of this process and the executor on it; made anew in a forked child."""

    def __init__(
        self,
        runs: Runs,
        taker_of_results: Callable[[], Callable[[Ending], None] | None],
        on_deleted: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._runs = runs
        self._taker_of_results = taker_of_results
        self._on_deleted = on_deleted
        self._lock = threading.Lock()
        self._pid = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._executor: Executor | None = None
        self._counts: Counts | None = None
        self.worker_id = ""
        self.node = ""
        self.is_draining = False
        self.calls = ThreadCalls()
        #: A byte for each prefork child: whether a tool that was given up holds it.
        self.held_children: bytearray | mmap.mmap = bytearray()
        #: Runs whose messages came after the worker was told to stop.
        self.refused: set[str] = set()

    def execute(self, run_id: str, task_key: str, send: Callable[[Outcome], None]) -> Outcome:
        """Run a task's attempt on the loop; `def` tools run here, in the calling thread.

        *send* is called once with the outcome, here, or in another thread while a tool that has
        run out of time still holds this one.
        """
        if self.is_draining:
            self.refused.add(run_id)
            return Outcome(handed_back="draining")
        loop, executor = self._running_loop()
        visit = _Visit(loop, send)
        future = asyncio.run_coroutine_threadsafe(
            executor.execute(run_id, task_key, visit.in_thread), loop
        )
        future.add_done_callback(visit.done)
        try:
            visit.work()
        except BaseException:
            # A time limit or a revoke interrupts this thread: the attempt ends first, handing its
            # task back, then the thread.
            future.cancel()
            visit.work()
            raise
        return future.result()

    def release_all(self) -> None:
        """Stop every attempt of this process."""
        with self._lock:
            loop, executor = self._loop, self._executor
        if loop is not None and executor is not None and self._pid == os.getpid():
            loop.call_soon_threadsafe(executor.release_all)

    def stop_counting(self) -> None:
        """Add what this process has done to what was counted; for its end."""
        if self._counts is not None and self._pid == os.getpid():
            self._counts.stop()

    @property
    def abandoned(self) -> int:
        """How many slots of this worker are held by tools that were given up, children included."""
        return self.calls.abandoned + sum(self.held_children[:])

    def share_with_children(self, slots: int) -> None:
        """Before the pool forks: let each child tell whether it is held."""
        self.held_children = mmap.mmap(-1, slots)

    @property
    def busy(self) -> int:
        executor = self._executor
        return len(executor.heartbeats.leases()) if executor is not None else 0

    def _running_loop(self) -> tuple[asyncio.AbstractEventLoop, Executor]:
        with self._lock:
            if self._loop is None or self._executor is None or self._pid != os.getpid():
                self._pid = os.getpid()
                self.calls = _calls_of_child(self.held_children)
                self._loop = asyncio.new_event_loop()
                self._executor = Executor(self._process(), self._loop)
                threading.Thread(
                    target=run_loop, args=(self._loop,), name="evented-agent-loop", daemon=True
                ).start()
            return self._loop, self._executor

    def _process(self) -> Process:
        runs = self._runs
        if not self.worker_id:
            logger.warning(
                "This worker runs agents, but consumes no queue that it knows as theirs: it "
                "watches no alarms and hands nothing back when it stops. Add its queue to "
                "app.conf.evented_agent_queues."
            )
        self._counts = Counts(runs.keys, runs.ledger)
        return Process(
            keys=runs.keys,
            ledger=runs.ledger,
            worker=Worker(
                id=self.worker_id or f"unannounced/{os.getpid()}",
                owner=f"{self.node or 'unannounced'}/{os.getpid()}",
                lease_ms=runs.settings.lease_ms,
            ),
            settings=runs.settings,
            agents=runs.agents,
            counts=self._counts,
            on_ending=self._taker_of_results(),
            on_deleted=self._on_deleted,
            notify=runs.notifier.notify,
            calls=self.calls,
            pricing=pricing_if(is_wanted=runs.settings.pricing),
        )


class _ChildCalls(ThreadCalls):
    """Tells the parent, in one byte of shared memory, whether this child is held."""

    def __init__(self, held: "bytearray | mmap.mmap", index: int) -> None:
        super().__init__()
        self._held = held
        self._index = index
        held[index] = 0

    def changed(self, call: ThreadCall, *, is_left: bool) -> bool:
        is_news = super().changed(call, is_left=is_left)
        self._held[self._index] = super().abandoned > 0
        return is_news

    @property
    def abandoned(self) -> int:
        # The parent counts the byte.
        return 0


def _calls_of_child(held: "bytearray | mmap.mmap") -> ThreadCalls:
    """Where this process notes the calls that it gave up; prefork numbers its children."""
    index = getattr(current_process(), "index", None)
    return ThreadCalls() if index is None or index >= len(held) else _ChildCalls(held, index)


class _Visit:
    """One task's stay in its Celery thread, which waits and runs what the loop asks for."""

    def __init__(self, loop: asyncio.AbstractEventLoop, send: Callable[[Outcome], None]) -> None:
        self._loop = loop
        self._send = send
        self._asked: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._is_busy = False

    def in_thread(self, function: Callable[[], _T]) -> Awaitable[_T]:
        future: asyncio.Future[_T] = self._loop.create_future()

        def run() -> None:
            try:
                value = function()
            except BaseException as error:  # noqa: BLE001 - carried over to the loop
                self._settle(future, error=error)
            else:
                self._settle(future, value)

        self._asked.put(run)
        return future

    def work(self) -> None:
        """Run what is asked for until the attempt is over."""
        while (asked := self._asked.get()) is not None:
            self._is_busy = True
            try:
                asked()
            finally:
                self._is_busy = False

    def done(self, future: Any) -> None:
        """The attempt is over; called on the loop's thread."""
        if not future.cancelled() and future.exception() is None:
            outcome: Outcome = future.result()
            if self._is_busy:
                # A tool that ignored its timeout holds the thread; the run must not wait for it.
                threading.Thread(target=self._send, args=(outcome,), daemon=True).start()
            else:
                self._asked.put(lambda: self._send(outcome))
        self._asked.put(None)

    def _settle(
        self, future: Any, value: Any = None, *, error: BaseException | None = None
    ) -> None:
        def settle() -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(value)

        self._loop.call_soon_threadsafe(settle)
