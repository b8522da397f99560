"""What every attempt can use, and the ways in which it can end."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, Protocol, TypeVar

import pydantic_core

from evented_agent.agents.agent import Agent
from evented_agent.agents.callbacks import is_async
from evented_agent.agents.output_types import OutputType
from evented_agent.agents.run_options import RunOptions
from evented_agent.agents.tools.tool import Tool
from evented_agent.chunks import Error, ErrorInfo, ErrorPayload, Usage
from evented_agent.chunks.base import dump_json
from evented_agent.chunks.json_values import error_text, without_surrogates
from evented_agent.execution.abandoned import ThreadCall, ThreadCalls
from evented_agent.execution.chunk_writer import ChunkWriter
from evented_agent.execution.counts import Counts
from evented_agent.execution.lease import Lease, boottime
from evented_agent.execution.own_context import OwnContext, in_own_context
from evented_agent.execution.task_ledger import RETRY_FOR, TaskLedger
from evented_agent.ledger.attempts import Worker
from evented_agent.ledger.connection import Ledger
from evented_agent.ledger.keys import Keys
from evented_agent.ledger.records import (
    Claim,
    Committed,
    Due,
    Fenced,
    JournalChanged,
    RunEnd,
    Task,
    Work,
)
from evented_agent.ledger.script import Command
from evented_agent.ledger.settings import Settings
from evented_agent.ledger.tree_records import NewChild, TreeFull
from evented_agent.models.pricing import Pricing
from evented_agent.state.fold import State
from evented_agent.telemetry.spans import AttemptTrace
from evented_agent.telemetry.tracing import Tracing

_T = TypeVar("_T")

#: What became of closing a run: done, to be decided again, or it is being aborted.
Closed = Literal["closed", "grew", "aborted"]
#: Bytes of a chunk that are for what is around a value in it: ids, names, the step.
MARGIN = 1024
#: Most characters of the text and of the class name of an error that ends its run.
_MOST_ERROR, _MOST_NAME = 20_000, 200


class InThread(Protocol):
    """Runs a plain function in the thread that took the task, and awaits it."""

    def __call__(self, function: Callable[[], _T], /) -> Awaitable[_T]: ...


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run is about to end; passed to the engine before that is committed."""

    run_id: str
    agent: str
    status: str
    text: str
    reason: str
    usage: Usage
    error: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Process:
    """What all attempts of a process share."""

    keys: Keys
    ledger: Ledger
    worker: Worker
    settings: Settings
    agents: Mapping[str, Agent]
    counts: Counts
    #: Takes a copy of each result; None where nobody wants one.
    on_ending: Callable[[Ending], None] | None
    on_deleted: Callable[[str], None]
    #: Sends messages, as a broker may need time for; False if they are to be sent again later.
    notify: Callable[[Sequence[Due]], bool]
    calls: ThreadCalls = field(default_factory=ThreadCalls)
    tracing: Tracing = field(default_factory=Tracing)
    #: Prices model calls; None where nothing is priced.
    pricing: Pricing | None = None

    async def send(self, command: Command[_T]) -> _T:
        """Send a command that is not about one task; retried for as long as a task's writes are."""
        return await self.ledger.asend(command, retry_for=RETRY_FOR)


class Requeue(BaseException):
    """Raised to end the attempt and run the task again after *delay* seconds.

    Only the executor catches it; it is no `Exception`, so that an `except Exception` around user
    code lets it through. *change* holds fields of the task's record to set.
    """

    def __init__(self, delay: float, reason: str, change: Mapping[str, Any]) -> None:
        self.delay = delay
        self.reason = reason
        self.change = change
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Suspended:
    """The tool waits for a person: *ask* is the chunk that asks, *asked* its question as JSON.

    *kind* says what is decided: whether the call runs, or what its tool asks.
    """

    chunks: Sequence[str]
    ask: str
    asked: str
    kind: Literal["approval", "suspension"] = "suspension"


@dataclass(frozen=True, slots=True)
class Spawned:
    """A *child* run of *agent* answers the call.

    *refused* makes what the call comes to where none can.
    """

    chunks: Sequence[str]
    agent: Agent
    child: NewChild
    refused: Callable[[TreeFull], Awaitable["Done"]]


@dataclass(frozen=True, slots=True)
class Done:
    """The attempt completed; *failure* is an error to report to Celery, if there was one.

    With *is_handled* it is the model that deals with it: the run goes on.
    """

    work: Work
    failure: BaseException | None = None
    is_handled: bool = False


class Attempt:
    """One attempt of one task, as long as its lease holds."""

    def __init__(self, process: Process, claim: Claim, in_thread: InThread, since: float) -> None:
        current = asyncio.current_task()
        assert current is not None
        self.process = process
        self.claim = claim
        self.task: Task = claim.task
        self.trace: AttemptTrace = process.tracing.join(process.settings, claim)
        self.ledger = TaskLedger(process.keys, process.ledger, process.worker, claim.task)
        self.agent = process.agents[claim.agent]
        self._in_thread = in_thread
        #: Messages for tasks of other runs, to send when the attempt ends, whichever way.
        self.sends: list[Due] = []
        #: The call of a `def` tool that this attempt gave up while it ran.
        self.left: ThreadCall | None = None
        self.lease = Lease(
            claim.task,
            seconds=process.settings.lease_ms / 1000,
            since=since,
            on_stop=current.cancel,
        )
        self.writer = self._new_writer()
        self._added: Mapping[str, Tool] = {}
        #: Whether the engine was told of the run's end, which this attempt may fail to commit.
        self.has_told = False

    def count(self, name: str, by: int = 1) -> None:
        """Count something that this attempt has done."""
        self.process.counts.add(name, self.agent.id, by)

    def count_time(self, name: str, seconds: float) -> None:
        """Count something that took its time."""
        took = round(1000 * seconds)
        self.count(f"{name}s")
        self.count(f"{name}_ms", took)
        self.process.counts.peak(f"{name}_peak_ms", self.agent.id, took)

    def _new_writer(self) -> ChunkWriter:
        return ChunkWriter(
            self.ledger,
            self.lease,
            max_bytes=self.process.settings.max_bytes,
            on_signal=self.lease.take,
        )

    def decide_again(self, changed: JournalChanged) -> None:
        """Another task's result was committed first: start over from the journal with it."""
        self.claim = replace(
            self.claim, entries=changed.entries, journal_length=changed.journal_length
        )
        self.lease.unseal()
        self.writer = self._new_writer()

    async def close_run(self, work: Work) -> Closed:
        """Let nothing come in any more, with what *work* says, before anybody is told of the end.

        The attempt goes on if the run is closed, or from the journal that has grown meanwhile.
        Raises `Fenced` where another version is to go on.
        """
        self.lease.seal()
        reply = await self.ledger.close_run(
            work, sent=self.writer.sent, journal_length=self.claim.journal_length
        )
        if isinstance(reply, JournalChanged):
            self.decide_again(reply)
            return "grew"
        if isinstance(reply, Committed):
            if reply.is_newer:
                self.sends.extend(reply.sends)
                raise Fenced("newer")
            return "aborted"
        self.claim = replace(self.claim, journal_length=reply)
        self.lease.unseal()
        self.writer = self._new_writer()
        return "closed"

    @cached_property
    def options(self) -> RunOptions:
        options = RunOptions.load(self.claim.options)
        if self.task.branch:
            return options.of_child()
        is_own = self.claim.agent == self.claim.run_agent
        return options if is_own else options.of_another_agent()

    @cached_property
    def output_type(self) -> OutputType | None:
        """What the answer must be: the run's choice, else the agent's."""
        name = self.options.output_type
        return self.agent.output_type if name is None else self.agent.output_types.get(name)

    def policies(self, names: str | Sequence[str] | None) -> list[Any]:
        """The agent's functions that a run names; one it no longer declares is left out."""
        chosen = [names] if isinstance(names, str) else names or ()
        found = [self.agent.policies.get(name) for name in chosen]
        return [policy for policy in found if policy is not None]

    async def call_user(self, function: Callable[..., Any], argument: Any) -> Any:
        """Call a user's function: an `async` one here, a plain one in the task's thread.

        What it gives is awaited where it is to be: a plain function may wrap an `async` one.
        """
        if is_async(function):
            return await OwnContext(function(argument))
        answer = await self.in_thread(lambda: function(argument))
        return await OwnContext(answer) if inspect.isawaitable(answer) else answer

    async def in_thread(self, function: Callable[[], _T]) -> _T:
        """Call a plain function in the task's thread, in a context of its own."""
        return await self._in_thread(in_own_context(function))

    async def tell_engine(self, ending: Ending) -> None:
        """Tell the engine how the run is about to end."""
        tell = self.process.on_ending
        if tell is not None:
            self.has_told = True
            await self.in_thread(lambda: tell(ending))

    @property
    def tools(self) -> Mapping[str, Tool]:
        """All tools that the run may use, by name: the agent's, and those that were added."""
        own = self.agent.tools_by_name
        return {**self._added, **own} if self._added else own

    def add_tools(self, tools: Sequence[Tool]) -> None:
        """Add tools that the agent's declaration does not name; its own and hand-offs win."""
        added = {tool.name: tool for tool in tools if tool.name not in self.agent.handoffs}
        self._added = {**self._added, **added}

    @property
    def is_stopping(self) -> bool:
        return self.lease.stopped is not None

    def close(self) -> None:
        """The work is done: an abort now comes too late, and further chunks wait for the commit."""
        self.lease.seal()
        self.writer.freeze()

    async def check_lease(self) -> None:
        """Make sure that the lease still holds, right before a call that costs or acts.

        Raises `Fenced` if not: a worker that was frozen must not repeat another's model call.
        """
        if self.lease.is_valid:
            return
        since = boottime()
        await self.ledger.heartbeat()
        self.lease.renewed(since)
        if not self.lease.is_valid:
            raise Fenced("late")

    async def stored_text(self, name: str) -> str | None:
        """What `store_text` kept under *name*, perhaps of another attempt; None for nothing."""
        [found] = await self.stored_texts([name])
        return found

    async def stored_texts(self, names: Sequence[str]) -> list[str | None]:
        """`stored_text` for several names."""
        key = self.process.keys.of(self.task.run_id).blobs
        names = [f"{self.task.id_prefix}{name}" for name in names]
        found = await self.process.ledger.afetch_blobs(key, names)
        return [str(pydantic_core.from_json(each)) if each else None for each in found]

    async def store_text(self, name: str, text: str) -> None:
        """Keep *text* with the run, so that whoever tries this task again has the same."""
        await self.ledger.store_blob(f"{self.task.id_prefix}{name}", dump_json(text))

    async def entries(self) -> Sequence[bytes]:
        """The journal that came with the claim, with large entries fetched."""
        return await resolve_entries(self.process, self.task.run_id, self.claim.entries)


async def resolve_entries(
    process: Process, run_id: str, entries: Sequence[bytes]
) -> Sequence[bytes]:
    """Replace pointers by the large entries that they point to."""
    names = [entry[1:].decode() for entry in entries if entry[:1] == b"@"]
    if not names:
        return entries
    payloads = iter(await process.ledger.afetch_blobs(process.keys.of(run_id).blobs, names))
    return [next(payloads) if entry[:1] == b"@" else entry for entry in entries]


def backoff(tries: int, *, first: float, most: float) -> float:
    """Seconds to wait before try number *tries* + 1: doubling, at most *most*."""
    return float(min(first * 2**tries, most))


def error_info(error: BaseException, most: int = _MOST_ERROR) -> ErrorInfo:
    """An exception as data that can always be stored, whatever its class and text are."""
    name = without_surrogates(type(error).__name__)[:_MOST_NAME]
    return ErrorInfo(name=name, message=error_text(error)[:most])


def reportable(error: BaseException | None) -> BaseException | None:
    """*error* for Celery and Sentry, which print it; another one where it cannot be printed."""
    if error is None:
        return None
    info = error_info(error)
    try:
        is_plain = str(error) == error_text(error)
    except Exception:  # noqa: BLE001 - its own `__str__` fails
        is_plain = False
    return error if is_plain else RuntimeError(f"{info.name}: {info.message}")


async def failed_run(attempt: Attempt, state: State, error: BaseException) -> Done:
    """End the run with *error*; its partial text stays, as far as it could be written."""
    attempt.close()
    info = error_info(error)
    await attempt.writer.recover()
    attempt.writer.close_all()
    attempt.writer.put(Error, ErrorPayload(error=info))
    if not attempt.task.branch:
        ending = Ending(
            run_id=attempt.task.run_id,
            agent=attempt.agent.id,
            status="failed",
            text=state.text,
            reason="error",
            usage=state.usage,
            error=info.model_dump(),
        )
        await attempt.tell_engine(ending)
    finish = RunEnd("failed", "error", info.model_dump())
    work = Work(chunks=await attempt.writer.drain(), finish=finish)
    return Done(work, failure=reportable(error))
