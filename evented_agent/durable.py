"""An agent whose runs outlive the process that asked for them: the API both engines share."""

import asyncio
import hashlib
import json
import uuid
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, TypedDict, Unpack

from evented_agent.agents import Agent
from evented_agent.chunks import encode
from evented_agent.connected import refuse_on_loop
from evented_agent.deciding import indexes
from evented_agent.errors import DeclarationError, RunDeleted, RunNotFound, ThreadBusy, TooLarge
from evented_agent.execution.threads import is_done
from evented_agent.ledger import operations, threads
from evented_agent.ledger.call import Call
from evented_agent.ledger.keys import is_run_id, thread_name
from evented_agent.ledger.records import Due, NewTask, Record
from evented_agent.listing import RunPage
from evented_agent.messages import Input, Message, dump_messages, parse_messages
from evented_agent.options import RunOptions
from evented_agent.policies import Pending
from evented_agent.results import BackgroundTask, RunInfo, RunResult
from evented_agent.runs import Runs, record_fields
from evented_agent.settings import milliseconds
from evented_agent.stream import AsyncRunStream, RunStream, Starting
from evented_agent.topic import Cursor

#: Ids of the caller that runs are found by, and the most characters of one.
LABELS, MOST_LABEL = ("thread_id", "resource_id"), 256

#: Seconds that deferred calls may take between two turns with ``until_idle=True``.
UNTIL_IDLE = 300.0

_dumps = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


class StreamOptions(TypedDict, total=False):
    """What one call of `stream` may choose beside its input; all of it JSON.

    Attributes:
        run_id: Makes the call idempotent: the same id and input is the same run.
        thread_id: The conversation that the run belongs to: the model sees what was said before,
            and what this run adds is kept. Within one resource.
        resource_id: Whose run it is.
        when_busy: What to do while another run has its turn in the thread: "queue" for it, "reject"
            this call with `ThreadBusy`, "interrupt" the other, or run in "parallel".
        until_idle: Stay with the run's deferred calls, and the turns that follow them, until there
            are none: True, or for how long at most they may take between two turns (seconds or a
            timedelta; 5 minutes). Without it the end waits as their tools' ``wait_timeout`` says.
        deadline: Seconds, or a timedelta, after which the run is aborted, wherever it is.
        queue: The Celery queue, by default that of the settings. Name another one in
            ``app.conf.evented_agent_queues``, so that its workers know that they serve agents.
        max_steps: At most so many model calls, instead of the agent's number.
        tool_choice: "auto", "none", "required" or {"tool": name}, instead of the agent's.
        active_tools: The names of the tools on offer, instead of the agent's.
        instructions: Instead of the agent's.
        model_settings: Over the agent's.
        tool_call_concurrency: At most so many tool calls of the run at the same time.
        require_tool_approval: Whether calls wait for approval, or the name of one of the agent's
            policies, instead of the agent's; what tools require of themselves still counts.
        stop_when: Names of the agent's policies that may end the run, beside its ``stop_when``.
        prepare_step: The name of one of the agent's policies, instead of its ``prepare_step``.
        output_type: One of the agent's output types, or its name, instead of the default.
        close_on_suspend: Whether the stream ends where the run waits for people alone; else it
            stays open, and goes on with the run.
        context: For the tools, as ``ctx.context``, and for the agent's instructions.
    """

    run_id: str
    thread_id: str
    resource_id: str
    queue: str
    max_steps: int
    tool_choice: Any
    active_tools: list[str]
    instructions: str
    model_settings: dict[str, Any]
    tool_call_concurrency: int
    require_tool_approval: bool | str
    when_busy: Literal["queue", "reject", "interrupt", "parallel"]
    until_idle: bool | float | timedelta
    deadline: float | timedelta
    stop_when: str | list[str]
    prepare_step: str
    output_type: Any
    close_on_suspend: bool
    context: Any


@dataclass(frozen=True, slots=True)
class _Creation:
    """What starts a run: the script, the first message, and a place in its thread."""

    run_id: str
    call: Call[bool]
    due: Due
    thread: str | None = None
    thread_id: str = ""
    is_rejecting: bool = False


class DurableAgent:
    """An agent together with where its runs are.  Made by `create_durable_agent`."""

    def __init__(self, agent: Agent, runs: Runs) -> None:
        self.agent = agent
        self._runs = runs

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.agent.id!r}>"

    @property
    def runs_door(self) -> Runs:
        """The `Runs` that this agent's runs belong to."""
        return self._runs

    # Starting -------------------------------------------------------------------------------------

    def stream(self, input: Input, **options: Unpack[StreamOptions]) -> RunStream:
        """Start a run and return at once with its stream.

        *input* is a string or a list of messages. On return the run is durable: it goes on
        whatever happens to the caller, to workers or to the broker. Nothing is read before the
        first iteration, so fire-and-forget costs nothing.

        Raises `DeclarationError` for wrong input or options, `TooLarge`, `RunConflict` where the
        *run_id* belongs to another input, `ThreadBusy` with ``when_busy="reject"``, and
        `LedgerUnavailable` when Redis cannot be reached.
        """
        refuse_on_loop("stream", "astream", allowed=self._runs.allow_blocking)
        runs = self._door()
        new = self._creation(runs, input, options)
        runs.agree()
        steps = _take_place(runs, new)
        call: Call[Any] | None = next(steps, None)
        while call is not None:
            [found] = runs.ledger.send_all([call])
            call = _sent(steps, found)
        if runs.ledger.send(new.call):
            runs.bell.ring([new.due])
        close = options.get("close_on_suspend", True)
        return RunStream(runs, new.run_id, close_on_suspend=close)

    def astream(self, input: Input, **options: Unpack[StreamOptions]) -> Starting:
        """`stream` for the running event loop: await it, or ``async with`` it."""

        async def start() -> AsyncRunStream:
            runs = self._door()
            new = self._creation(runs, input, options)
            await runs.aagree()
            steps = _take_place(runs, new)
            call: Call[Any] | None = next(steps, None)
            while call is not None:
                replies = await asyncio.gather(runs.ledger.asend(call), return_exceptions=True)
                call = _sent(steps, replies[0])
            if await runs.ledger.asend(new.call):
                # A broker that hangs must not hang the caller's event loop.
                await asyncio.to_thread(runs.bell.ring, [new.due])
            close = options.get("close_on_suspend", True)
            return AsyncRunStream(runs, new.run_id, close_on_suspend=close)

        return Starting(start)

    def generate(
        self, input: Input, *, timeout: float | None = None, **options: Unpack[StreamOptions]
    ) -> RunResult:
        """Start a run and wait for its result, at most *timeout* seconds.

        Raises what `stream` does, `RunFailed`, `RunAborted`, or `TimeoutError`, which leaves the
        run running.
        """
        refuse_on_loop("generate", "agenerate", allowed=self._runs.allow_blocking)
        return self.stream(input, **options).result(timeout)

    async def agenerate(
        self, input: Input, *, timeout: float | None = None, **options: Unpack[StreamOptions]
    ) -> RunResult:
        """`generate` for the running event loop."""
        run = await self.astream(input, **options)
        return await run.result(timeout)

    # Later ----------------------------------------------------------------------------------------

    def observe(self, run_id: str, *, after: Cursor = 0, **how: Any) -> RunStream:
        """Follow a run from any process; see `Runs.observe`."""
        return self._runs.observe(run_id, after=after, **how)

    async def aobserve(self, run_id: str, *, after: Cursor = 0, **how: Any) -> AsyncRunStream:
        return await self._runs.aobserve(run_id, after=after, **how)

    def get(self, run_id: str) -> RunInfo:
        """The state of a run now; see `Runs.get`."""
        return self._runs.get(run_id)

    async def aget(self, run_id: str) -> RunInfo:
        return await self._runs.aget(run_id)

    def runs(self, **wanted: Any) -> RunPage:
        """The newest runs of this agent; see `Runs.runs`."""
        return self._runs.runs(agent=self.agent.id, **wanted)

    async def aruns(self, **wanted: Any) -> RunPage:
        return await self._runs.aruns(agent=self.agent.id, **wanted)

    def abort(self, run_id: str, *, reason: str | None = None) -> bool:
        """Ask that a run ends; see `Runs.abort`."""
        return self._runs.abort(run_id, reason=reason)

    async def aabort(self, run_id: str, *, reason: str | None = None) -> bool:
        return await self._runs.aabort(run_id, reason=reason)

    def resume(self, run_id: str, data: Any, **which: Any) -> RunStream:
        """Answer a suspended call; see `Runs.resume`."""
        return self._door().resume(run_id, data, **which)

    async def aresume(self, run_id: str, data: Any, **which: Any) -> AsyncRunStream:
        return await self._door().aresume(run_id, data, **which)

    def approve(self, run_id: str, **which: Any) -> RunStream:
        """Approve a call; see `Runs.approve`."""
        return self._door().approve(run_id, **which)

    async def aapprove(self, run_id: str, **which: Any) -> AsyncRunStream:
        return await self._door().aapprove(run_id, **which)

    def decline(self, run_id: str, **which: Any) -> RunStream:
        """Decline a call; see `Runs.decline`."""
        return self._door().decline(run_id, **which)

    async def adecline(self, run_id: str, **which: Any) -> AsyncRunStream:
        return await self._door().adecline(run_id, **which)

    def pending(self, **wanted: Any) -> list[Pending]:
        """The calls of this agent that wait for a person; see `Runs.pending`."""
        return self._runs.pending(agent=self.agent.id, **wanted)

    async def apending(self, **wanted: Any) -> list[Pending]:
        return await self._runs.apending(agent=self.agent.id, **wanted)

    def background_tasks(self, run_id: str) -> list[BackgroundTask]:
        """The background calls of a run; see `Runs.background_tasks`."""
        return self._runs.background_tasks(run_id)

    async def abackground_tasks(self, run_id: str) -> list[BackgroundTask]:
        return await self._runs.abackground_tasks(run_id)

    def cancel(self, task_id: str, **why: Any) -> bool:
        """End a background call; see `Runs.cancel`."""
        return self._runs.cancel(task_id, **why)

    async def acancel(self, task_id: str, **why: Any) -> bool:
        return await self._runs.acancel(task_id, **why)

    def retry(self, run_id: str) -> RunStream:
        """Let a failed run go on where it failed; see `Runs.retry`."""
        return self._door().retry(run_id)

    async def aretry(self, run_id: str) -> AsyncRunStream:
        return await self._door().aretry(run_id)

    def thread(self, thread_id: str, *, resource_id: str | None = None) -> list[Message]:
        """A conversation so far; see `Runs.thread`."""
        return self._runs.thread(thread_id, resource_id=resource_id)

    async def athread(self, thread_id: str, *, resource_id: str | None = None) -> list[Message]:
        return await self._runs.athread(thread_id, resource_id=resource_id)

    def delete(self, run_id: str) -> None:
        """Remove everything of a run; see `Runs.delete`."""
        self._runs.delete(run_id)

    async def adelete(self, run_id: str) -> None:
        await self._runs.adelete(run_id)

    # Creating -------------------------------------------------------------------------------------

    def _door(self) -> Runs:
        """Where runs are created; an engine may have to be started first."""
        return self._runs

    def _creation(self, runs: Runs, given: Input, chosen: StreamOptions) -> _Creation:
        rest = self._plain(chosen)
        run_id = _name(rest.pop("run_id", None) or uuid.uuid4().hex, "run_id")
        thread, resource = (_label(rest.pop(name, None), name) for name in LABELS)
        queue = rest.pop("queue", None) or runs.settings.queue
        options = RunOptions.parse(rest)
        self._check_tools(options)
        self._check_policies(options)
        messages = _dumps(dump_messages(parse_messages(given)))
        stored_options = options.json()
        size = _size(messages) + _size(stored_options)
        if size > runs.settings.max_bytes:
            raise TooLarge("input", size, runs.settings.max_bytes)
        fields = record_fields(
            runs.settings, self.agent, messages=messages, options=stored_options, queue=queue
        )
        limit = options.tool_call_concurrency or self.agent.tool_call_concurrency
        fields |= {"tool_limit": limit, **_present({"thread": thread, "resource": resource})}
        fields |= self._more_fields(options, thread)
        call = operations.create(
            runs.keys,
            run_id,
            digest=_digest(self.agent.id, messages, stored_options, thread, resource, queue),
            fields=fields,
            indexes=indexes(self.agent.id, thread, resource),
            first=NewTask("1:model", "model", 1),
            chunks=[
                encode("start", None, {"id": self.agent.id}),
                encode("step-start", None, {"step": 1}),
            ],
        )
        due = Due(run_id, "1:model", 1, "model", None, queue, self.agent.id)
        if thread is None or options.when_busy == "parallel":
            return _Creation(run_id, call, due)
        name = thread_name(thread, resource)
        return _Creation(run_id, call, due, name, thread, options.when_busy == "reject")

    def _plain(self, chosen: StreamOptions) -> dict[str, Any]:
        """The options as JSON."""
        plain: dict[str, Any] = dict(chosen)
        plain.pop("close_on_suspend", None)
        if isinstance(plain.get("stop_when"), str):
            plain["stop_when"] = [plain["stop_when"]]
        for name in ("deadline", "until_idle"):
            if isinstance(plain.get(name), timedelta):
                plain[name] = plain[name].total_seconds()
        if plain.get("until_idle") is True:
            plain["until_idle"] = UNTIL_IDLE
        elif plain.get("until_idle") is False:
            del plain["until_idle"]
        wanted = plain.get("output_type")
        if wanted is not None:
            plain["output_type"] = self._output_name(wanted)
        return plain

    def _output_name(self, wanted: Any) -> str:
        for name, each in self.agent.output_types.items():
            if wanted == name or wanted is each.declared:
                return name
        known = ", ".join(self.agent.output_types) or "none"
        raise DeclarationError(
            f"Agent {self.agent.id!r} has no output type {wanted!r} (it has: {known}). Declare it "
            "with Agent(output_types=[…])."
        )

    def _more_fields(self, options: RunOptions, thread: str | None) -> dict[str, str | int]:
        """What scripts have to know of the agent's declaration and the run's options."""
        hooks = self.agent.hooks
        told = {
            "suspended": "on_suspended" in hooks,
            "failed": thread is not None or "on_error" in hooks,
            "aborted": thread is not None or "on_abort" in hooks,
        }
        default = self.agent.output_type
        output = options.output_type or (default.name if default else None)
        return {
            **_present({"tells": " ".join(what for what, is_told in told.items() if is_told)}),
            **_present({"output_type": output}),
            **({"deadline_in": int(options.deadline * 1000)} if options.deadline else {}),
        }

    def _check_policies(self, options: RunOptions) -> None:
        names = [*options.stop_when, options.prepare_step, options.require_tool_approval]
        for name in names:
            if isinstance(name, str) and name not in self.agent.policies:
                known = ", ".join(self.agent.policies) or "none"
                raise DeclarationError(
                    f"Agent {self.agent.id!r} has no policy {name!r} (it has: {known}). Declare "
                    "it with Agent(policies={…})."
                )

    def _check_tools(self, options: RunOptions) -> None:
        names = list(options.active_tools or ())
        if isinstance(options.tool_choice, Mapping):
            names.append(options.tool_choice["tool"])
        for name in names:
            if self.agent.tool_named(name) is None:
                known = ", ".join(tool.name for tool in self.agent.tools) or "none"
                raise DeclarationError(
                    f"Agent {self.agent.id!r} has no tool {name!r} (it has: {known})."
                )


def _take_place(runs: Runs, new: _Creation) -> Generator[Call[Any], Any, None]:
    """Queue in the thread, in the order of the calls; raises `ThreadBusy` for who will not wait.

    Without I/O: yields calls, and is sent what they return.
    """
    if new.thread is None:
        return
    ttl_ms = milliseconds(runs.settings.thread_ttl)
    enter = threads.enter(runs.keys, new.thread, new.run_id, ttl_ms=ttl_ms)
    holder = yield enter
    while new.is_rejecting and holder != new.run_id:
        record = yield operations.read(runs.keys, holder)
        is_gone = isinstance(record, RunNotFound | RunDeleted)
        if not is_gone and not (isinstance(record, Record) and is_done(record)):
            yield threads.leave(runs.keys, new.thread, new.run_id)
            raise ThreadBusy(holder, new.thread_id)
        yield threads.leave(runs.keys, new.thread, holder)
        holder = yield enter


def _sent(steps: Generator[Call[Any], Any, None], found: Any) -> Call[Any] | None:
    """Go on with what a call returned; the next call, if there is one."""
    if isinstance(found, BaseException) and not isinstance(found, RunNotFound | RunDeleted):
        raise found
    try:
        return steps.send(found)
    except StopIteration:
        return None


def _name(value: object, what: str) -> str:
    if not isinstance(value, str) or not is_run_id(value):
        raise DeclarationError(f"{what}={value!r}: use 1 to 128 letters, digits, '.', '_' or '-'.")
    return value


def _label(value: object, what: str) -> str | None:
    """A user's own id, of whatever characters."""
    if value is None or (isinstance(value, str) and 0 < len(value) <= MOST_LABEL):
        return value
    raise DeclarationError(f"{what}={value!r}: use a text of 1 to {MOST_LABEL} characters.")


def _size(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise DeclarationError(
            f"The input has {text[error.start]!r} in it, which is no character. Decode it with "
            "errors='replace' where it comes from."
        ) from None


def _present(fields: Mapping[str, str | None]) -> dict[str, str | int]:
    return {name: value for name, value in fields.items() if value}


def _digest(*parts: str | None) -> str:
    return hashlib.sha256(_dumps(list(parts)).encode()).hexdigest()[:32]
