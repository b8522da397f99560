"""One tool call: arguments checked, the user's function called, its result recorded."""

import asyncio
import inspect
from collections.abc import Awaitable
from typing import Any, Literal

import pydantic_core

from evented_agent.agents.tools.agent_tool import AgentTool
from evented_agent.agents.tools.context import Suspend, ToolContext
from evented_agent.agents.tools.tool import (
    InvalidArguments,
    Tool,
    ToolResultUnusable,
    dump_result,
)
from evented_agent.chunks import (
    BackgroundTaskCompleted,
    BackgroundTaskFailed,
    BackgroundTaskOutput,
    BackgroundTaskResumed,
    BackgroundTaskRunning,
    BackgroundTaskSuspended,
    ErrorInfo,
    ToolAskPayload,
    ToolCallApproval,
    ToolCallSuspended,
    ToolError,
    ToolErrorPayload,
    ToolOutput,
    ToolOutputPayload,
    ToolResult,
    ToolResultPayload,
)
from evented_agent.chunks.base import dump_json
from evented_agent.chunks.codec import encode_chunk
from evented_agent.chunks.json_values import MOST_DEPTH, error_text, for_log, without_surrogates
from evented_agent.errors import TooLarge
from evented_agent.execution.attempt import (
    MARGIN,
    Attempt,
    Done,
    Requeue,
    Spawned,
    Suspended,
    backoff,
    error_info,
    reportable,
)
from evented_agent.execution.isolated_tool import run_isolated
from evented_agent.execution.mcp.failures import MCPToolRefused
from evented_agent.execution.own_context import OwnContext
from evented_agent.execution.tasks.background import emit_background_chunk, slot
from evented_agent.execution.tasks.children import TooManyAgents, new_child, too_many
from evented_agent.execution.tasks.mcp_tools import load_mcp_tools
from evented_agent.ledger.records import Fenced, Work
from evented_agent.ledger.tree_records import TreeFull
from evented_agent.logs import logger_of
from evented_agent.models.messages import ToolCall
from evented_agent.state.journal import Result, Turn, dump_entry, edited_arguments, load_entry

logger = logger_of(__name__)

#: Seconds before a tool's second try, doubling up to the most.
_FIRST_WAIT, _MOST_WAIT = 1.0, 60.0
#: Most characters of an exception's text that the model is shown.
_MOST_TEXT = 4000


class ToolNotFound(Exception):
    """The model asked for a tool that it was not offered."""


class ToolTimeout(Exception):
    """The tool did not return in time."""


class ToolExit(Exception):
    """The tool raised a `BaseException`, which would end more than the call."""


class ToolFailed(Exception):
    """What is shown of an exception whose own text is not."""


#: What these say is ours, and has nothing of the tool's.
_OURS = (ToolNotFound, InvalidArguments, ToolTimeout, TooLarge, TooManyAgents)
#: These end a thread or an event loop unless they are caught.
_EXITS = (SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration, asyncio.CancelledError)


async def run_tool(attempt: Attempt) -> Done | Suspended | Spawned:
    """Run the call; a failure becomes a result that the model sees, not the end of the run."""
    call = await _call_of(attempt)
    if call.name not in attempt.tools:
        await load_mcp_tools(attempt)
    try:
        tool, arguments = _prepare(attempt, call)
    except (ToolNotFound, InvalidArguments) as error:
        if attempt.task.is_decided:
            return await _asked_again(attempt, error)
        return await _result(attempt, call, error=error)
    if isinstance(tool, AgentTool):
        return await _call_agent(attempt, call, tool, arguments)
    async with slot(attempt, attempt.agent.background_of(tool), call):
        return await _run(attempt, call, tool, arguments)


async def _call_agent(
    attempt: Attempt, call: ToolCall, tool: AgentTool, arguments: dict[str, Any]
) -> Done | Spawned:
    attempt.trace.begin_tool_call(tool, call)
    try:
        child = new_child(tool, arguments)
    except Exception as error:  # noqa: BLE001 - the serializers of an input are user code
        return await _result(attempt, call, error=error)
    if attempt.task.background is not None:
        emit_background_chunk(attempt, BackgroundTaskRunning, call)
    attempt.count("tool_calls")

    async def refused(full: TreeFull) -> Done:
        return await _result(attempt, call, error=too_many(full))

    attempt.close()
    return Spawned(await attempt.writer.drain(), tool.agent, child, refused)


async def _run(
    attempt: Attempt, call: ToolCall, tool: Tool, arguments: dict[str, Any]
) -> Done | Suspended:
    if attempt.task.background is not None:
        was_resumed = attempt.task.given or attempt.task.approval
        chunk = BackgroundTaskResumed if was_resumed else BackgroundTaskRunning
        emit_background_chunk(attempt, chunk, call)
    context = _context(attempt, call)
    await attempt.check_lease()
    attempt.trace.begin_tool_call(tool, call)
    attempt.count("tool_calls")
    try:
        returned = await _invoke(attempt, tool, arguments, context)
    except Fenced:
        raise
    except (ToolResultUnusable, MCPToolRefused) as error:
        return await _result(attempt, call, error=error)
    except Suspend as suspend:
        return await _suspended(attempt, call, suspend)
    except asyncio.CancelledError:
        return await _cancelled(attempt, call)
    except Exception as error:  # noqa: BLE001 - user code: whatever it raises is shown to the model
        return await _failed(attempt, call, tool, error)
    # The call has been made, whatever comes of its result: from here on it is never tried again.
    try:
        value = dump_result(returned)
        _check_size(attempt, value)
        attempt.trace.returned(value)
    except ValueError as error:
        why = f"{type(error).__name__}: {error}"
        return await _result(attempt, call, error=ToolResultUnusable(why))
    return await _result(attempt, call, value)


async def _cancelled(attempt: Attempt, call: ToolCall) -> Done:
    """The tool raised a cancellation of its own, or the attempt was cancelled."""
    current = asyncio.current_task()
    if current is None or current.cancelling() == 0:
        return await _result(attempt, call, error=ToolExit("CancelledError"))
    if attempt.lease.stopped != "aborted":
        raise asyncio.CancelledError
    return await _result(attempt, call, error=RuntimeError("The run was aborted."))


async def _failed(attempt: Attempt, call: ToolCall, tool: Tool, error: Exception) -> Done:
    tries = attempt.task.tries
    if tries >= attempt.task.most_retries:
        return await _result(attempt, call, error=error)
    delay = backoff(tries, first=_FIRST_WAIT, most=_MOST_WAIT)
    failure = for_log(f"{type(error).__name__}: {_shown_text(attempt, call, error)}")
    logger.warning("Tool %s failed, retry in %.0f s: %s", tool.name, delay, failure)
    raise Requeue(delay, failure, {"tries": tries + 1}) from error


def _shown_text(attempt: Attempt, call: ToolCall, error: BaseException) -> str:
    """What the model, readers and logs are shown of *error*."""
    choose = attempt.agent.tool_error
    if choose is None or isinstance(error, _OURS):
        return error_text(error)
    try:
        text = choose(error, call.name)
    except Exception as failure:  # noqa: BLE001 - user code
        # Without its text and its traceback, which may have what it should hide.
        logger.warning("tool_error of %r failed: %s", attempt.agent, type(failure).__name__)
        text = None
    return without_surrogates(text) if isinstance(text, str) else "The tool failed."


def _shown(attempt: Attempt, call: ToolCall, error: BaseException | None) -> BaseException | None:
    """*error* for Celery and Sentry, which print it with what it was raised from."""
    if error is None:
        return None
    if attempt.agent.tool_error is not None and not isinstance(error, _OURS):
        return ToolFailed(f"{type(error).__name__}: {_shown_text(attempt, call, error)}")
    return reportable(error)


async def _call_of(attempt: Attempt) -> ToolCall:
    call = await _model_call(attempt)
    edited = edited_arguments(_approval(attempt))
    return call if edited is None else call.model_copy(update={"arguments": edited})


async def _model_call(attempt: Attempt) -> ToolCall:
    """The call as the model made it."""
    [entry] = await attempt.entries()
    turn = load_entry(entry)
    assert isinstance(turn, Turn)
    return next(call for call in turn.calls if call.id == attempt.task.call)


def _approval(attempt: Attempt) -> Any:
    stored = attempt.task.approval
    return None if stored is None else pydantic_core.from_json(stored)


def _prepare(attempt: Attempt, call: ToolCall) -> tuple[Tool, dict[str, Any]]:
    agent, chosen = attempt.agent, attempt.options.active_tools
    active = agent.active_tools if chosen is None else chosen
    offered = [name for name in attempt.tools if active is None or name in active]
    tool = attempt.tools.get(call.name)
    if tool is None or tool.name not in offered:
        raise ToolNotFound(
            f"There is no tool {call.name!r}. Available tools: {', '.join(offered) or 'none'}."
        )
    if call.invalid is not None:
        raise InvalidArguments(
            "The arguments are not a JSON object, or none that can be kept (at most "
            f"{MOST_DEPTH} levels deep, of finite numbers): {call.invalid[:200]}"
        )
    return tool, tool.validate(call.arguments)


def _context(attempt: Attempt, call: ToolCall) -> ToolContext:
    loop = asyncio.get_running_loop()

    def put(data: Any) -> None:
        if attempt.task.background is not None:
            emit_background_chunk(attempt, BackgroundTaskOutput, call, output=data)
            return
        payload = ToolOutputPayload(tool_call_id=call.id, tool_name=call.name, output=data)
        attempt.writer.put(ToolOutput, payload)

    def emit(data: Any) -> None:
        data = dump_result(data)
        _check_size(attempt, data)
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is loop:
            put(data)
        else:
            asyncio.run_coroutine_threadsafe(_put_and_wait(attempt, put, data), loop).result()

    return ToolContext(
        run_id=attempt.task.own_run_id,
        tool_call_id=call.id,
        tool_name=call.name,
        step=attempt.task.step,
        attempt=attempt.task.generation,
        context=attempt.options.context,
        agent=attempt.agent.id,
        thread_id=attempt.claim.thread,
        resource_id=attempt.claim.resource,
        emit=emit,
        is_aborted=lambda: attempt.is_stopping,
        resumed=[pydantic_core.from_json(given) for given in attempt.task.given],
        approval=_approval(attempt),
    )


async def _put_and_wait(attempt: Attempt, put: Any, data: Any) -> None:
    put(data)
    await attempt.writer.wait_for_space()


async def _invoke(
    attempt: Attempt, tool: Tool, arguments: dict[str, Any], context: ToolContext
) -> Any:
    timeout_ms = attempt.task.timeout_ms
    limit = asyncio.timeout(None if timeout_ms is None else timeout_ms / 1000)
    try:
        async with limit:
            return await _call(attempt, tool, arguments, context)
    except TimeoutError:
        if limit.expired():
            late = f"No result within {(timeout_ms or 0) / 1000:g} s."
            if attempt.left is not None:
                late += " The call still runs in its thread: use isolate=True for a tool to kill."
            raise ToolTimeout(late) from None
        raise


async def _call(
    attempt: Attempt, tool: Tool, arguments: dict[str, Any], context: ToolContext
) -> Any:
    given = (context,) if tool.takes_context else ()
    if tool.is_async:
        return await _awaited(tool.function(*given, **arguments))
    if tool.policy.isolate:
        asked = await _call_of(attempt)
        return await run_isolated(tool, asked.arguments, context)

    call = attempt.process.calls.begin(tool.name, attempt.task.run_id)

    def function() -> Any:
        with call:
            try:
                return tool.function(*given, **arguments)
            except _EXITS as error:
                raise ToolExit(f"{type(error).__name__}: {error}") from error

    try:
        returned = await attempt.in_thread(function)
    except asyncio.CancelledError:
        if call.abandon():
            attempt.left = call
            attempt.count("abandoned_calls")
        raise
    # A plain function around an `async def` is one, whatever it looks like.
    return await _awaited(returned) if inspect.isawaitable(returned) else returned


async def _awaited(returned: Awaitable[Any]) -> Any:
    try:
        return await OwnContext(returned)
    except (SystemExit, KeyboardInterrupt) as error:
        raise ToolExit(f"{type(error).__name__}: {error}") from error


async def _suspended(attempt: Attempt, call: ToolCall, suspend: Suspend) -> Done | Suspended:
    """End the attempt with the tool's question; a payload that cannot be stored fails the call."""
    try:
        payload, schema = dump_result(suspend.payload), dump_result(suspend.resume_schema)
        _check_size(attempt, [payload, schema])
    except ValueError as error:
        return await _result(attempt, call, error=error)
    ask = ToolAskPayload(
        tool_call_id=call.id,
        tool_name=call.name,
        arguments=call.arguments,
        suspend_payload=payload,
        resume_schema=schema,
    )
    return await _ask(attempt, call, ask, "suspension")


async def _asked_again(attempt: Attempt, error: ToolNotFound | InvalidArguments) -> Suspended:
    """A person decided that the call runs, and with today's code it cannot: that is theirs to know.

    Approving it as it is runs what the model asked for.
    """
    call = await _model_call(attempt)
    run_id = attempt.task.run_id
    logger.warning("Call %s of run %s was decided and no longer fits: %s", call.id, run_id, error)
    ask = ToolAskPayload(
        tool_call_id=call.id,
        tool_name=call.name,
        arguments=call.arguments,
        suspend_payload={"reason": f"It was decided before, and no longer fits: {error}"},
    )
    return await _ask(attempt, call, ask, "approval")


async def _ask(
    attempt: Attempt, call: ToolCall, ask: ToolAskPayload, kind: Literal["approval", "suspension"]
) -> Suspended:
    payload = ask.suspend_payload
    attempt.close()
    if attempt.task.background is not None:
        emit_background_chunk(attempt, BackgroundTaskSuspended, call, suspend_payload=payload)
    asked = {"payload": payload, "resumeSchema": ask.resume_schema}
    chunk_class = ToolCallApproval if kind == "approval" else ToolCallSuspended
    chunk = encode_chunk(chunk_class, attempt.task.key, ask)
    return Suspended(
        chunks=await attempt.writer.drain(),
        ask=await attempt.writer.stored(chunk),
        asked=dump_json(asked),
        kind=kind,
    )


def _check_size(attempt: Attempt, value: Any) -> None:
    size = len(dump_json(value).encode())
    limit = attempt.process.settings.max_bytes - MARGIN
    if size > limit:
        raise TooLarge("tool result", size, limit)


def _emit_end(attempt: Attempt, call: ToolCall, value: Any, error: BaseException | None) -> None:
    if error is None:
        emit_background_chunk(attempt, BackgroundTaskCompleted, call, result=value)
    else:
        info = _error_info(attempt, call, error)
        emit_background_chunk(attempt, BackgroundTaskFailed, call, error=info)


def _error_info(attempt: Attempt, call: ToolCall, error: BaseException) -> ErrorInfo:
    info = error_info(error, _MOST_TEXT)
    text = _shown_text(attempt, call, error)
    return info.model_copy(update={"message": text[:_MOST_TEXT]})


async def _result(
    attempt: Attempt, call: ToolCall, value: Any = None, *, error: BaseException | None = None
) -> Done:
    attempt.close()
    info = None
    if attempt.task.background is not None:
        _emit_end(attempt, call, value, error)
    if error is None:
        result = ToolResultPayload(tool_call_id=call.id, tool_name=call.name, result=value)
        attempt.writer.put(ToolResult, result)
    else:
        info = _error_info(attempt, call, error)
        failure = ToolErrorPayload(tool_call_id=call.id, tool_name=call.name, error=info)
        attempt.writer.put(ToolError, failure)
    entry = dump_entry(Result(attempt.task.step, call.id, call.name, value, info))
    stored = await attempt.writer.stored(entry)
    return Done(
        Work(chunks=await attempt.writer.drain(), entries=[stored]),
        failure=_shown(attempt, call, error),
        is_handled=True,
    )
