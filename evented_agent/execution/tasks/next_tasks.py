"""The tasks of a turn's tool calls, and which of them wait for approval."""

from dataclasses import dataclass, field

import pydantic_core

from evented_agent.agents.tools.approvals import ApprovalPolicy, ApprovalRequest
from evented_agent.agents.tools.background import Background
from evented_agent.agents.tools.tool import InvalidArguments, Tool
from evented_agent.chunks import (
    BackgroundTaskStarted,
    ErrorInfo,
    ToolAskPayload,
    ToolCallApproval,
    ToolError,
    ToolErrorPayload,
)
from evented_agent.chunks.codec import encode_chunk
from evented_agent.execution.attempt import Attempt
from evented_agent.execution.tasks.background import emit_background_chunk, placeholder, plan
from evented_agent.execution.tasks.handoffs import answered
from evented_agent.ledger.records import NewTask
from evented_agent.logs import logger_of
from evented_agent.models.messages import ToolCall
from evented_agent.state.journal import Result, Turn

logger = logger_of(__name__)

#: Calls of one turn; those beyond are errors that the model sees.
MOST_CALLS = 128

#: Arguments over so many bytes are in their chunk only, not beside the task.
MOST_ARGS = 32 * 1024


@dataclass(slots=True)
class Following:
    """The tasks of a turn's calls, and the results that are known at once."""

    tasks: list[NewTask] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)


async def next_tasks(attempt: Attempt, turn: Turn) -> Following:
    """One task for each call, with the policy that any worker or script may have to apply.

    A background call also gets a chunk, and a deferred one a placeholder as its result.
    """
    following, is_handed = Following(), False
    for at, call in enumerate(turn.calls):
        if at >= MOST_CALLS:
            why = f"Too many calls in one turn: at most {MOST_CALLS} are made. Call again later."
            following.results.append(_refused(attempt, turn.step, call, why))
            continue
        if call.name in attempt.agent.handoffs:
            is_first = not is_handed
            following.results.append(answered(attempt, turn.step, call, is_first=is_first))
            is_handed = True
            continue
        tool = attempt.tools.get(call.name)
        made = None if tool is None else await plan(attempt, tool, call)
        if isinstance(made, str):
            following.results.append(_refused(attempt, turn.step, call, made))
            continue
        following.tasks.append(await _tool_task(attempt, turn.step, call, made))
        if made is not None:
            emit_background_chunk(attempt, BackgroundTaskStarted, call, arguments=call.arguments)
            if made.disposition == "deferred":
                following.results.append(placeholder(attempt, turn.step, call))
    return following


def _refused(attempt: Attempt, step: int, call: ToolCall, why: str) -> Result:
    error = ErrorInfo(name="TooManyCalls", message=why)
    payload = ToolErrorPayload(tool_call_id=call.id, tool_name=call.name, error=error)
    attempt.writer.put(ToolError, payload)
    return Result(step, call.id, call.name, error=error)


async def _tool_task(
    attempt: Attempt, step: int, call: ToolCall, made: Background | None
) -> NewTask:
    key = f"{step}:tool:{call.id.removeprefix(attempt.task.id_prefix)}"
    tool = attempt.tools.get(call.name)
    if tool is None:
        return NewTask(key=key, kind="tool", step=step, call=call.id, tool=call.name)
    return NewTask(
        key=key,
        kind="tool",
        step=step,
        call=call.id,
        tool=call.name,
        args=_shown(call),
        policy=tool.policy.stored(made),
        ask=await _question(attempt, key, tool, call),
    )


async def _question(attempt: Attempt, key: str, tool: Tool, call: ToolCall) -> str | None:
    """The chunk that asks for approval; None where none is needed."""
    if call.invalid is not None or not await _must_ask(attempt, tool, call):
        return None
    payload = ToolAskPayload(tool_call_id=call.id, tool_name=call.name, arguments=call.arguments)
    key = f"{attempt.task.id_prefix}{key}"
    return await attempt.writer.stored(encode_chunk(ToolCallApproval, key, payload))


async def _must_ask(attempt: Attempt, tool: Tool, call: ToolCall) -> bool:
    chosen = attempt.options.require_tool_approval
    if isinstance(chosen, str):
        # A run of another version may name a policy that this one lacks: ask, to be safe.
        rule = attempt.agent.policies.get(chosen, True)
    else:
        rule = attempt.agent.require_tool_approval if chosen is None else chosen
    rules = [each for each in (tool.policy.requires_approval, rule) if each is not False]
    if not rules:
        return False
    try:
        tool.validate(call.arguments)
    except InvalidArguments:
        # The call cannot run: the model sees the error at once.
        return False
    if True in rules:
        return True
    request = ApprovalRequest(
        run_id=attempt.task.own_run_id,
        tool_call_id=call.id,
        tool_name=call.name,
        arguments=call.arguments,
        context=attempt.options.context,
        thread_id=attempt.claim.thread,
        resource_id=attempt.claim.resource,
    )
    for policy in rules:
        if callable(policy) and await _needs_approval(attempt, policy, request):
            return True
    return False


async def _needs_approval(
    attempt: Attempt, policy: ApprovalPolicy, request: ApprovalRequest
) -> bool:
    try:
        return bool(await attempt.call_user(policy, request))
    except Exception:
        logger.exception("The approval policy failed on %s; asking a person", request.tool_name)
        return True


def _shown(call: ToolCall) -> str:
    text = pydantic_core.to_json(call.arguments).decode()
    return text if len(text) <= MOST_ARGS else "{}"
