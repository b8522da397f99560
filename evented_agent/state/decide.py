"""What follows a step.  Pure: the same journal gives the same action, anywhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from evented_agent.models.messages import ToolCall
from evented_agent.state.fold import State
from evented_agent.state.journal import Decided


@dataclass(frozen=True, slots=True)
class CallModel:
    """Call the model again.

    *feedback* is put before it as what a user said, after an *is_last* call the run ends.
    *notice* tells it what has become of deferred calls, and begins a new turn. *agent* is the one
    that goes on, where the model has handed the run over.
    """

    step: int
    feedback: str | None = None
    is_last: bool = False
    notice: str | None = None
    agent: str | None = None


@dataclass(frozen=True, slots=True)
class CallTools:
    """Answer the calls of the step that have no result yet."""

    step: int
    calls: Sequence[ToolCall]


@dataclass(frozen=True, slots=True)
class Repair:
    """Call the model again because its answer does not have the output type."""

    step: int
    feedback: str


@dataclass(frozen=True, slots=True)
class Idle:
    """Wait until a deferred call has a result, or the time for that is over."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Cancel the deferred calls that have no result yet; then the run can end."""


@dataclass(frozen=True, slots=True)
class Tell:
    """The run is over for its readers; what hooks and threads make of it comes before its end."""


@dataclass(frozen=True, slots=True)
class FinishRun:
    reason: str


NextAction = CallModel | CallTools | Repair | Idle | Drop | FinishRun


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


#: What the journal calls each action.
_Word = Literal["step", "follow-up", "tools", "repair", "idle", "drop", "tell", "finish"]


def decided(step: int, action: NextAction | Tell) -> Decided:
    """The journal's entry for what follows *step*."""
    match action:
        case CallModel(feedback=feedback, is_last=is_last, notice=notice, agent=agent):
            word: _Word = "step" if notice is None else "follow-up"
            return Decided(step, word, feedback, is_last, notice, agent)
        case Repair(feedback=feedback):
            return Decided(step, "repair", feedback)
        case _:
            return Decided(step, _word(action))


def _word(action: CallTools | Idle | Drop | Tell | FinishRun) -> _Word:
    match action:
        case Tell():
            return "tell"
        case CallTools():
            return "tools"
        case Idle():
            return "idle"
        case Drop():
            return "drop"
        case FinishRun():
            return "finish"


def was_idle(state: State) -> bool:
    """Whether the turn had ended before: only deferred calls have gone on since."""
    return _last_word(state) in ("idle", "drop")


def has_dropped(state: State) -> bool:
    """Whether the run ends without waiting for its deferred calls any longer."""
    return _last_word(state) == "drop"


def told(state: State) -> FinishRun | None:
    """How the run ends, where that was decided before and only has to be told."""
    if _last_word(state) != "tell":
        return None
    turn = state.steps[-1].turn
    return FinishRun("tool-calls" if turn.calls else turn.reason)


def was_repaired(state: State) -> bool:
    """Whether the model has been asked once to repair its answer, in this turn."""
    turn = [step for step in state.steps if step.number >= state.turn_start]
    return any(step.decided and step.decided.follows == "repair" for step in turn)


def _last_word(state: State) -> str | None:
    last = state.steps[-1].decided
    return None if last is None else last.follows
