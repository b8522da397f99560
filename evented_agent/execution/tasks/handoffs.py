"""Handing a run over: the calls for it, and what the end of their step makes of them."""

from evented_agent.agents.agent import Agent
from evented_agent.agents.handoffs import HandoffTarget
from evented_agent.chunks import (
    ErrorInfo,
    ToolError,
    ToolErrorPayload,
    ToolResult,
    ToolResultPayload,
)
from evented_agent.execution.attempt import Attempt
from evented_agent.ledger.records import HandOver
from evented_agent.models.messages import ToolCall
from evented_agent.state.fold import State
from evented_agent.state.journal import Result
from evented_agent.state.new_run import declared_fields


def answered(attempt: Attempt, step: int, call: ToolCall, *, is_first: bool) -> Result:
    """What a call for a hand-off comes to, at once: of several in a turn the first counts."""
    made = attempt.agent.handoffs[call.name]
    if is_first:
        said = f"The agent {made.agent_id} goes on."
        result = ToolResultPayload(tool_call_id=call.id, tool_name=call.name, result=said)
        attempt.writer.put(ToolResult, result)
        return Result(step, call.id, call.name, said)
    why = "The conversation is handed over to another agent already."
    error = ErrorInfo(name="HandoffRefused", message=why)
    failure = ToolErrorPayload(tool_call_id=call.id, tool_name=call.name, error=error)
    attempt.writer.put(ToolError, failure)
    return Result(step, call.id, call.name, error=error)


def handoff_in(attempt: Attempt, state: State) -> HandoffTarget | None:
    """Who goes on after the last step, if its model has handed the run over."""
    last = state.steps[-1]
    if last.decided is not None and last.decided.agent is not None:
        return None
    for call in last.turn.calls:
        made = attempt.agent.handoffs.get(call.name)
        result = last.results.get(call.id)
        if made is not None and result is not None and result.error is None:
            return made
    return None


def hand_over(attempt: Attempt, made: HandoffTarget) -> HandOver:
    """What the record says of the agent that goes on."""
    agent: Agent | None = attempt.process.agents.get(made.agent_id, made.agent)
    if agent is None:
        # Its code is elsewhere; what scripts know of this one's hooks stays.
        return HandOver(made.agent_id, {})
    options = attempt.options.of_another_agent()
    fields = declared_fields(agent, options, attempt.claim.thread)
    return HandOver(agent.id, {"tells": "", "output_type": "", **fields})
