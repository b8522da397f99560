"""Child runs: the call that begins one, and what its end says to the run of that call."""

from collections.abc import Mapping
from typing import Any

import pydantic_core

from evented_agent.agents.tools.agent_tool import AgentTool
from evented_agent.chunks import (
    BackgroundPayload,
    BackgroundTaskCompleted,
    ToolResult,
    ToolResultPayload,
)
from evented_agent.chunks.base import dump_json
from evented_agent.chunks.codec import encode_chunk
from evented_agent.execution.attempt import Attempt
from evented_agent.execution.tasks.background import task_id
from evented_agent.ledger.attempts import MOST_CHILDREN, MOST_DEPTH, MOST_LIVE_CHILDREN
from evented_agent.ledger.records import RunEnd
from evented_agent.ledger.tree_records import NewChild, TreeFull
from evented_agent.models.messages import checked_messages, dump_messages
from evented_agent.state.fold import State
from evented_agent.state.journal import Result, dump_entry


class TooManyAgents(Exception):
    """The tree of child runs has no room for another one."""


def too_many(full: TreeFull) -> TooManyAgents:
    """What the model is told of a call for which there is no room."""
    said = {
        "depth": f"Agents call each other {MOST_DEPTH} levels deep at most.",
        "children": f"At most {MOST_CHILDREN} calls of agents are made in all.",
        "live": f"At most {MOST_LIVE_CHILDREN} calls of agents go on at a time.",
    }
    return TooManyAgents(said[full.limit])


def new_child(tool: AgentTool, arguments: Mapping[str, Any]) -> NewChild:
    """The child run that answers a call; raises whatever the tool's input raises as JSON."""
    messages = dump_json(dump_messages(checked_messages(tool.messages_for(arguments))))
    return NewChild(tool.agent.id, tool.agent.tool_call_concurrency, messages)


async def answered_call(attempt: Attempt, state: State, answer: Any) -> RunEnd:
    """How a child run finishes: its answer is the result of the call that it is for."""
    call = attempt.claim.answers
    assert call is not None
    last = state.steps[-1].turn
    value = last.text if answer is None else pydantic_core.to_jsonable_python(answer)
    payload = ToolResultPayload(tool_call_id=call.call, tool_name=call.tool, result=value)
    chunks = [encode_chunk(ToolResult, call.key, payload)]
    if call.background is not None:
        done = BackgroundPayload(
            task_id=task_id(attempt.task.run_id, call.call),
            tool_call_id=call.call,
            tool_name=call.tool,
            result=value,
        )
        chunks.insert(0, encode_chunk(BackgroundTaskCompleted, call.key, done))
    result = Result(call.step, call.call, call.tool, value, usage=state.usage, cost=state.cost)
    entry = dump_entry(result)
    stored = [await attempt.writer.stored(chunk) for chunk in chunks]
    return RunEnd("finished", last.reason, chunks=stored, entry=await attempt.writer.stored(entry))
