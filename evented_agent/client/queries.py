"""Looking at runs and threads: their state, their results, what waits for people."""

import asyncio
from collections.abc import Sequence
from typing import Any

from evented_agent.agents.output_types import OutputType
from evented_agent.agents.run_options import RunOptions
from evented_agent.agents.tools.approvals import Pending
from evented_agent.client.deployment import Deployment
from evented_agent.client.listing import RunPage, Wanted, oldest_first
from evented_agent.ledger import runs, threads, workers
from evented_agent.ledger.keys import thread_name
from evented_agent.ledger.records import Record
from evented_agent.models.messages import Message, load_thread
from evented_agent.state.run_info import RunInfo, info_of, is_waiting
from evented_agent.state.run_result import BackgroundTask, RunResult, background_tasks_of, result_of

#: The statuses of runs in which a call may wait for a person.
MAY_WAIT = ("suspended", "running")
#: Most runs of a thread whose messages are returned.
MOST_TURNS = 1000


class Looking(Deployment):
    """What a door shows."""

    def get(self, run_id: str) -> RunInfo:
        """The state of a run now.  Raises `RunNotFound`, `RunDeleted`."""
        self._may_block("get")
        record = self.ledger.send(runs.read(self.keys, run_id))
        if not is_waiting(record):
            return info_of(record)
        return info_of(record, self.ledger.send(workers.live_workers(self.keys)))

    async def aget(self, run_id: str) -> RunInfo:
        """`get` for the running event loop."""
        record = await self.ledger.asend(runs.read(self.keys, run_id))
        if not is_waiting(record):
            return info_of(record)
        return info_of(record, await self.ledger.asend(workers.live_workers(self.keys)))

    def result(self, run_id: str) -> RunResult:
        """What the run came to, so far.  Raises `RunNotFound`, `RunDeleted`.

        Its *output* has the type that the agent declares where this process has the agent's code,
        elsewhere it is plain JSON.
        """
        self._may_block("result")
        record, entries = self._journal(run_id)
        return result_of(record, entries, self._output_type(record))

    async def aresult(self, run_id: str) -> RunResult:
        """`result` for the running event loop."""
        record, entries = await self._ajournal(run_id)
        return result_of(record, entries, self._output_type(record))

    def _journal(self, run_id: str) -> tuple[Record, Sequence[bytes]]:
        record = self.ledger.send(runs.read(self.keys, run_id, journal=True))
        names = _pointers(record.entries)
        blobs = self.keys.of(run_id).blobs
        found = self.ledger.fetch_blobs(blobs, names) if names else []
        return record, _filled(record.entries, found)

    async def _ajournal(self, run_id: str) -> tuple[Record, Sequence[bytes]]:
        record = await self.ledger.asend(runs.read(self.keys, run_id, journal=True))
        names = _pointers(record.entries)
        blobs = self.keys.of(run_id).blobs
        found = await self.ledger.afetch_blobs(blobs, names) if names else []
        return record, _filled(record.entries, found)

    def _output_type(self, record: Record) -> OutputType | None:
        agent = self.agents.get(record.fields["agent"])
        if agent is None:
            return None
        name = RunOptions.load(record.fields.get("options") or "{}").output_type
        return agent.output_type if name is None else agent.output_types.get(name)

    def runs(self, *, limit: int = 50, page: str | None = None, **chosen: Any) -> RunPage:
        """The newest runs that match all that is given, at most *limit*.

        Takes ``status``, ``agent``, ``thread_id``, ``resource_id``, and ``since``, a datetime.
        The `next_page` of what it returns, passed as *page*, gives those that follow.
        """
        self._may_block("runs")
        steps = Wanted(self.keys, _checked(chosen), limit=limit, page=page).steps()
        calls = next(steps)
        while True:
            try:
                calls = steps.send(self.ledger.send_all(calls))
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]

    async def aruns(self, *, limit: int = 50, page: str | None = None, **chosen: Any) -> RunPage:
        """`runs` for the running event loop."""
        steps = Wanted(self.keys, _checked(chosen), limit=limit, page=page).steps()
        calls = next(steps)
        while True:
            sent = (self.ledger.asend(call) for call in calls)
            replies = await asyncio.gather(*sent, return_exceptions=True)
            try:
                calls = steps.send(replies)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]

    def pending(self, *, limit: int = 50, **chosen: Any) -> list[Pending]:
        """The calls that wait for a person, the oldest first; at most of *limit* runs a status.

        Takes ``agent``, ``thread_id``, ``resource_id`` and ``since``.
        """
        return oldest_first([self.runs(status=each, limit=limit, **chosen) for each in MAY_WAIT])

    async def apending(self, *, limit: int = 50, **chosen: Any) -> list[Pending]:
        """`pending` for the running event loop."""
        found = [await self.aruns(status=each, limit=limit, **chosen) for each in MAY_WAIT]
        return oldest_first(found)

    def background_tasks(self, run_id: str) -> list[BackgroundTask]:
        """The background calls of a run, in the model's order.

        Raises `RunNotFound`, `RunDeleted`.
        """
        self._may_block("background_tasks")
        record, entries = self._journal(run_id)
        return background_tasks_of(record, entries)

    async def abackground_tasks(self, run_id: str) -> list[BackgroundTask]:
        """`background_tasks` for the running event loop."""
        record, entries = await self._ajournal(run_id)
        return background_tasks_of(record, entries)

    def background_task(self, task_id: str) -> BackgroundTask | None:
        """One background call, ``<run id>:<tool call id>``; None where the run has no such call.

        Raises `RunNotFound`, `RunDeleted`.
        """
        return _with_id(task_id, self.background_tasks(_run_of(task_id)))

    async def abackground_task(self, task_id: str) -> BackgroundTask | None:
        """`background_task` for the running event loop."""
        return _with_id(task_id, await self.abackground_tasks(_run_of(task_id)))

    def thread(self, thread_id: str, *, resource_id: str | None = None) -> list[Message]:
        """The conversation that runs with this *thread_id* and *resource_id* have had so far.

        Empty for one that is unknown, or that an agent's own `Memory` keeps.
        """
        self._may_block("thread")
        name = thread_name(thread_id, resource_id)
        return load_thread(self.ledger.send(threads.recall(self.keys, name, most=MOST_TURNS)))

    async def athread(self, thread_id: str, *, resource_id: str | None = None) -> list[Message]:
        """`thread` for the running event loop."""
        call = threads.recall(self.keys, thread_name(thread_id, resource_id), most=MOST_TURNS)
        return load_thread(await self.ledger.asend(call))

    def workers(self) -> Sequence[workers.LiveWorker]:
        """The workers that were heard of in the last 10 s."""
        self._may_block("workers")
        return self.ledger.send(workers.live_workers(self.keys))


def _run_of(task_id: str) -> str:
    """The run of a background call."""
    return task_id.partition(":")[0]


def _with_id(task_id: str, found: list[BackgroundTask]) -> BackgroundTask | None:
    return next((task for task in found if task.task_id == task_id), None)


def _checked(chosen: dict[str, Any]) -> dict[str, Any]:
    known = ("status", "agent", "thread_id", "resource_id", "since")
    for name in chosen:
        if name not in known:
            raise TypeError(f"Runs are not found by {name!r}; use {', '.join(known)}.")
    return chosen


def _pointers(entries: Sequence[bytes]) -> list[str]:
    return [entry[1:].decode() for entry in entries if entry[:1] == b"@"]


def _filled(entries: Sequence[bytes], payloads: Sequence[Any]) -> list[bytes]:
    found = iter(payloads)
    return [next(found) if entry[:1] == b"@" else entry for entry in entries]
