"""Background calls in a worker: whether a call is one, its slot under the limits, its chunks."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, TypedDict, Unpack

from evented_agent.agents.tools.background import ARGUMENT, SCHEMA, Background, chosen_background
from evented_agent.agents.tools.tool import Tool
from evented_agent.chunks import BackgroundPayload, ErrorInfo
from evented_agent.chunks.codec import ChunkWith
from evented_agent.errors import EventedAgentError
from evented_agent.execution.abandoned import ThreadCall
from evented_agent.execution.attempt import Attempt, Process, Requeue
from evented_agent.ledger import limits as slots
from evented_agent.ledger import watch
from evented_agent.ledger.records import Due
from evented_agent.logs import logger_of
from evented_agent.models.messages import ToolCall
from evented_agent.models.protocol import ToolSpec
from evented_agent.state.fold import State
from evented_agent.state.journal import Result

logger = logger_of(__name__)

#: Milliseconds that a slot is held without a renewal, and seconds between two renewals.
SLOT_MS, RENEWAL = 5_000, 1.0
#: Seconds between two polls for a free slot, doubling up to the most; a release mostly comes first.
_FIRST_POLL, _MOST_POLL = 1.0, 15.0
#: How many of the waiting calls are tried when a slot is released.
NEXT = 5


def task_id(run_id: str, call: str) -> str:
    """The public id of a background call."""
    return f"{run_id}:{call}"


def spec_of(attempt: Attempt, tool: Tool) -> ToolSpec:
    """A tool as the model sees it; one that may go to the background lets it choose."""
    parameters = tool.parameters
    if attempt.agent.background_of(tool) is not None:
        properties = {**parameters.get("properties", {}), ARGUMENT: dict(SCHEMA)}
        parameters = {**parameters, "properties": properties}
    return ToolSpec(tool.name, tool.description, parameters)


async def plan(attempt: Attempt, tool: Tool, call: ToolCall) -> Background | str | None:
    """Whether a call runs in the background, in the foreground (None), or not at all (why not)."""
    made = chosen_background(
        attempt.agent.background_of(tool),
        call.background,
        timeout=tool.policy.timeout,
        retries=tool.policy.retries,
    )
    if made is None or made.when_full == "queue" or call.invalid is not None:
        return made
    limits = limits_of(attempt, made, call.arguments)
    counts = slots.count_slots(attempt.process.keys, list(limits))
    held = await attempt.process.send(counts)
    if all(count < most for count, most in zip(held, limits.values(), strict=True)):
        return made
    if made.when_full == "foreground":
        return None
    return "Too many background calls are under way. Try again later."


def limits_of(
    attempt: Attempt, made: Background, arguments: Mapping[str, Any]
) -> Mapping[str, int]:
    """The limits that a call counts against, each with its number of slots."""
    agent = attempt.agent
    limits = {
        "all": attempt.process.settings.background_concurrency,
        f"agent:{agent.id}": agent.background_concurrency,
    }
    if made.key is not None:
        try:
            limits[f"key:{agent.id}:{made.key(arguments)}"] = made.key_concurrency
        except Exception:
            logger.exception("The background key of agent %s failed; the call has none", agent.id)
    return limits


def placeholder(attempt: Attempt, step: int, call: ToolCall) -> Result:
    """The result that the model sees until a deferred call has a real one."""
    id_ = task_id(attempt.task.run_id, call.id)
    text = f"Background task started. Task ID: {id_}. You will be told when it has completed."
    return Result(step, call.id, call.name, text, is_placeholder=True)


class BackgroundDetails(TypedDict, total=False):
    """What only some chunks of background calls have; see `BackgroundPayload`."""

    arguments: dict[str, Any]
    output: Any
    result: Any
    error: ErrorInfo
    reason: str | None
    suspend_payload: Any


def emit_background_chunk(
    attempt: Attempt,
    chunk: type[ChunkWith[BackgroundPayload]],
    call: ToolCall,
    **details: Unpack[BackgroundDetails],
) -> None:
    """Write a chunk about a background call."""
    id_ = task_id(attempt.task.run_id, call.id)
    payload = BackgroundPayload(task_id=id_, tool_call_id=call.id, tool_name=call.name, **details)
    attempt.writer.put(chunk, payload)


def notice_of(state: State) -> str:
    """The message to the model about deferred calls that have a result now."""
    lines = []
    for result in state.arrived:
        became = "has completed"
        if result.error is not None:
            became = "was cancelled" if result.error.name == "Cancelled" else "has failed"
        elif result.denied is not None:
            became = "was declined"
        lines.append(f"- {result.name} ({result.call}) {became}; its result is in its place above.")
    return "\n".join(["Background tasks:", *lines])


@contextlib.asynccontextmanager
async def slot(attempt: Attempt, made: Background | None, call: ToolCall) -> AsyncIterator[None]:
    """Hold a slot of each limit while a call runs; raises `Requeue` where none is free."""
    # One that a person let go on was put off, and never asked for a place.
    if attempt.task.background is None or attempt.task.is_put_off:
        yield
        return
    limits = limits_of(attempt, made or Background(), call.arguments)
    process = attempt.process
    holder = f"{attempt.task.run_id} {attempt.task.key}"
    take = slots.take_slot(process.keys, holder, limits, ttl_ms=SLOT_MS)
    if not await process.send(take):
        raise _no_free_slot(attempt)
    renewing = asyncio.create_task(_renew(process, holder, limits))
    try:
        yield
    finally:
        renewing.cancel()
        if attempt.left is None:
            attempt.sends.extend(await _release(process, holder, list(limits)))
        else:
            await _hold(attempt, attempt.left, holder, limits)


#: Slots that abandoned calls hold; a task that nobody refers to may be collected.
_holding: set["asyncio.Task[None]"] = set()


async def _hold(attempt: Attempt, left: ThreadCall, holder: str, limits: Mapping[str, int]) -> None:
    """Hold the slots on for a call that was given up, for as long as it runs.

    Under a name of its own: the call may be tried again, which takes a slot of its own.
    """
    process = attempt.process
    name = f"{holder} {attempt.task.token}"
    # It has its place already, so the limits do not count.
    no_limit = dict.fromkeys(limits, 2**31)
    with contextlib.suppress(EventedAgentError):
        await process.ledger.asend(slots.take_slot(process.keys, name, no_limit, ttl_ms=SLOT_MS))
        await process.ledger.asend(slots.release_slot(process.keys, holder, list(limits), most=0))

    async def until_it_ends() -> None:
        renewing = asyncio.create_task(_renew(process, name, no_limit))
        while left.is_running:  # noqa: ASYNC110 - it ends in a thread, which knows no loop
            await asyncio.sleep(RENEWAL / 4)
        renewing.cancel()
        # The attempt has ended: nobody else would send what this makes due.
        dues = await _release(process, name, list(limits))
        await asyncio.to_thread(process.notify, dues)

    task = asyncio.create_task(until_it_ends())
    _holding.add(task)
    task.add_done_callback(_holding.discard)


async def _renew(process: Process, holder: str, limits: Mapping[str, int]) -> None:
    while True:
        await asyncio.sleep(RENEWAL)
        take = slots.take_slot(process.keys, holder, limits, ttl_ms=SLOT_MS)
        with contextlib.suppress(EventedAgentError):
            await process.ledger.asend(take)


async def _release(process: Process, holder: str, limits: Sequence[str]) -> Sequence[Due]:
    """Release the slot, and wake the call that has waited longest and still does.

    Returns the message to send to it.
    """
    gone = list[str]()
    dues: Sequence[Due] = ()
    try:
        waiting = await process.ledger.asend(
            slots.release_slot(process.keys, holder, limits, most=NEXT)
        )
        for each in waiting:
            run_id, _, key = each.partition(" ")
            dues = await process.ledger.asend(watch.wake(process.keys, run_id, key))
            if dues:
                break
            gone.append(each)
        if gone:
            await process.ledger.asend(
                slots.release_slot(process.keys, holder, (), most=0, gone=gone)
            )
    except EventedAgentError as error:
        logger.warning("A slot for background calls could not be released; it expires: %s", error)
    return dues


def _no_free_slot(attempt: Attempt) -> Requeue:
    waited = attempt.task.waited
    delay = min(_FIRST_POLL * 2**waited, _MOST_POLL)
    why = "a free slot for background calls"
    return Requeue(delay, why, {"waited": min(waited + 1, 10)})
