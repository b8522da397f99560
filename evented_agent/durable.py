"""An agent whose runs outlive the process that asked for them: the API both engines share."""

import asyncio
import hashlib
import json
import uuid
from collections.abc import Mapping
from typing import Any, TypedDict, Unpack

from evented_agent.agents import Agent
from evented_agent.chunks import encode
from evented_agent.errors import DeclarationError, TooLarge
from evented_agent.ledger import operations
from evented_agent.ledger.call import Call
from evented_agent.ledger.keys import is_run_id
from evented_agent.ledger.records import Due, NewTask
from evented_agent.messages import Input, dump_messages, parse_messages
from evented_agent.options import RunOptions
from evented_agent.results import Pending, RunInfo, RunResult
from evented_agent.runs import Runs, indexes, record_fields, refuse_on_loop
from evented_agent.stream import AsyncRunStream, RunStream, Starting
from evented_agent.topic import Cursor

#: Ids of the caller that runs are found by, and the most characters of one.
LABELS, MOST_LABEL = ("thread_id", "resource_id"), 256

_dumps = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


class StreamOptions(TypedDict, total=False):
    """What one call of `stream` may choose beside its input; all of it JSON.

    Attributes:
        run_id: Makes the call idempotent: the same id and input is the same run.
        thread_id: The conversation that the run belongs to, to find it by.
        resource_id: Whose run it is, to find it by.
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
    context: Any


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
        *run_id* belongs to another input, `LedgerUnavailable` when Redis cannot be reached.
        """
        refuse_on_loop("stream", "astream", allowed=self._runs.allow_blocking)
        runs = self._door()
        run_id, call, due = self._creation(runs, input, options)
        runs.agree()
        if runs.ledger.send(call):
            runs.bell.ring([due])
        return RunStream(runs, run_id)

    def astream(self, input: Input, **options: Unpack[StreamOptions]) -> Starting:
        """`stream` for the running event loop: await it, or ``async with`` it."""

        async def start() -> AsyncRunStream:
            runs = self._door()
            run_id, call, due = self._creation(runs, input, options)
            await runs.aagree()
            if await runs.ledger.asend(call):
                # A broker that hangs must not hang the caller's event loop.
                await asyncio.to_thread(runs.bell.ring, [due])
            return AsyncRunStream(runs, run_id)

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

    def observe(self, run_id: str, *, after: Cursor = 0, timeout: float | None = None) -> RunStream:
        """Follow a run from any process; see `Runs.observe`."""
        return self._runs.observe(run_id, after=after, timeout=timeout)

    async def aobserve(
        self, run_id: str, *, after: Cursor = 0, timeout: float | None = None
    ) -> AsyncRunStream:
        return await self._runs.aobserve(run_id, after=after, timeout=timeout)

    def get(self, run_id: str) -> RunInfo:
        """The state of a run now; see `Runs.get`."""
        return self._runs.get(run_id)

    async def aget(self, run_id: str) -> RunInfo:
        return await self._runs.aget(run_id)

    def runs(self, **wanted: Any) -> list[RunInfo]:
        """The newest runs of this agent; see `Runs.runs`."""
        return self._runs.runs(agent=self.agent.id, **wanted)

    async def aruns(self, **wanted: Any) -> list[RunInfo]:
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

    def delete(self, run_id: str) -> None:
        """Remove everything of a run; see `Runs.delete`."""
        self._runs.delete(run_id)

    async def adelete(self, run_id: str) -> None:
        await self._runs.adelete(run_id)

    # Creating -------------------------------------------------------------------------------------

    def _door(self) -> Runs:
        """Where runs are created; an engine may have to be started first."""
        return self._runs

    def _creation(
        self, runs: Runs, given: Input, chosen: StreamOptions
    ) -> tuple[str, Call[bool], Due]:
        rest: dict[str, Any] = dict(chosen)
        run_id = _name(rest.pop("run_id", None) or uuid.uuid4().hex, "run_id")
        thread, resource = (_label(rest.pop(name, None), name) for name in LABELS)
        queue = rest.pop("queue", None) or runs.settings.queue
        options = RunOptions.parse(rest)
        self._check_tools(options)
        self._check_policy(options.require_tool_approval)
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
        return run_id, call, Due(run_id, "1:model", 1, "model", None, queue, self.agent.id)

    def _check_policy(self, chosen: bool | str | None) -> None:
        if isinstance(chosen, str) and chosen not in self.agent.policies:
            known = ", ".join(self.agent.policies) or "none"
            raise DeclarationError(
                f"Agent {self.agent.id!r} has no policy {chosen!r} (it has: {known}). Declare it "
                "with Agent(policies={…})."
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


def _present(fields: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value}


def _digest(*parts: str | None) -> str:
    return hashlib.sha256(_dumps(list(parts)).encode()).hexdigest()[:32]
