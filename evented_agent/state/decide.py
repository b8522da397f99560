"""What follows a step.  Pure: the same journal gives the same decision, anywhere."""

from collections.abc import Sequence
from dataclasses import dataclass

from evented_agent.models.messages import ToolCall
from evented_agent.state.fold import State


@dataclass(frozen=True, slots=True)
class CallModel:
    step: int


@dataclass(frozen=True, slots=True)
class CallTools:
    step: int
    calls: Sequence[ToolCall]


@dataclass(frozen=True, slots=True)
class FinishRun:
    reason: str


NextAction = CallModel | CallTools | FinishRun


def decide(state: State, *, max_steps: int, is_stopped: bool = False) -> NextAction:
    """Say what follows; *is_stopped* is the answer of the agent's stop conditions.

    A turn ends when the model asks for no tool, at *max_steps* model calls of it, when it is
    stopped, or after a step that was to be the last; calls are always answered first.
    """
    if not state.steps:
        return CallModel(1)
    last = state.steps[-1]
    if last.open_calls:
        return CallTools(last.number, last.open_calls)
    if not last.turn.calls:
        return FinishRun(last.turn.reason)
    before = state.steps[-2].decided if len(state.steps) > 1 else None
    was_last = before is not None and before.is_last
    if is_stopped or was_last or last.number - state.turn_start + 1 >= max_steps:
        return FinishRun("tool-calls")
    return CallModel(last.number + 1)
