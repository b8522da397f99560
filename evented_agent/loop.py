"""The agent loop as pure functions: fold the journal, then decide what follows.

Knows neither storage nor models nor clocks: the same journal gives the same decision, anywhere.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pydantic_core

from evented_agent.chunks import ErrorInfo, Usage
from evented_agent.messages import (
    AssistantMessage,
    Message,
    SystemMessage,
    ToolCall,
    ToolMessage,
    UserMessage,
    dump_messages,
    load_messages,
)
from evented_agent.transcript import PARAGRAPH

_dumps = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


@dataclass(frozen=True, slots=True)
class Turn:
    """A completed model call; *seen* is how much of the journal the model had been shown."""

    step: int
    texts: Sequence[str]
    calls: Sequence[ToolCall]
    reason: str
    usage: Usage = field(default_factory=Usage)
    reasoning: str = ""
    model: str = ""
    provider: Mapping[str, Any] = field(default_factory=dict)
    seen: int = 0

    @property
    def text(self) -> str:
        return PARAGRAPH.join(text for text in self.texts if text)


@dataclass(frozen=True, slots=True)
class Denied:
    """Why a call was not approved, and who said so."""

    reason: str | None = None
    by: str | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What a tool call came to; *is_placeholder* until a deferred call has come to something."""

    step: int
    call: str
    name: str
    result: Any = None
    error: ErrorInfo | None = None
    denied: Denied | None = None
    is_placeholder: bool = False


@dataclass(frozen=True, slots=True)
class Suspension:
    """A call waits for a person; *number* is the seq of the chunk that asks."""

    step: int
    call: str
    number: int
    kind: str


@dataclass(frozen=True, slots=True)
class Resumed:
    """A person decided about a suspended call; *data* is all that was passed."""

    call: str
    number: int
    kind: str
    data: Any = None
    by: str | None = None


@dataclass(frozen=True, slots=True)
class Decided:
    """A step's end task decided what follows.

    *feedback* is put before the model as what a user said; after an *is_last* one the run ends.
    *notice* tells the model what has become of deferred calls; a new turn begins with it.
    """

    step: int
    follows: str
    feedback: str | None = None
    is_last: bool = False
    notice: str | None = None


@dataclass(frozen=True, slots=True)
class History:
    """What was said in the run's thread before it began."""

    messages: Sequence[Message]


Entry = Turn | Result | Suspension | Resumed | Decided | History


@dataclass(frozen=True, slots=True)
class Step:
    """One trip around the loop, as far as the journal tells."""

    turn: Turn
    results: Mapping[str, Result] = field(default_factory=dict)
    decided: Decided | None = None
    deferred: frozenset[str] = frozenset()

    @property
    def number(self) -> int:
        return self.turn.step

    @property
    def open_calls(self) -> Sequence[ToolCall]:
        """Calls without a result, in the model's order."""
        return [call for call in self.turn.calls if call.id not in self.results]


@dataclass(frozen=True, slots=True)
class State:
    """All that is known of a run: its completed steps, the last perhaps with open calls."""

    steps: Sequence[Step] = ()
    history: Sequence[Message] = ()
    #: Deferred calls that came to something which no model call has been shown.
    arrived: Sequence[Result] = ()

    @property
    def outstanding(self) -> Sequence[Result]:
        """The placeholders of deferred calls that have come to nothing yet."""
        results = (result for step in self.steps for result in step.results.values())
        return [result for result in results if result.is_placeholder]

    @property
    def turn_start(self) -> int:
        """The first step of the turn that is under way: the run's, or a follow-up."""
        noticed = [step.number for step in self.steps[:-1] if step.decided and step.decided.notice]
        return noticed[-1] + 1 if noticed else 1

    @property
    def usage(self) -> Usage:
        return sum((step.turn.usage for step in self.steps), Usage())

    @property
    def text(self) -> str:
        """All that the agent said; paragraphs are kept apart."""
        return PARAGRAPH.join(step.turn.text for step in self.steps if step.turn.text)

    @property
    def call_ids(self) -> set[str]:
        return {call.id for step in self.steps for call in step.turn.calls}

    def messages(self) -> list[Message]:
        """The conversation since the run's input: turns and results, in the model's order."""
        said: list[Message] = []
        for step in self.steps:
            said.append(_assistant(step.turn))
            answered = [call.id for call in step.turn.calls if call.id in step.results]
            said.extend(_tool_message(step.results[id_]) for id_ in answered)
            if step.decided is not None and step.decided.feedback is not None:
                said.append(UserMessage(content=step.decided.feedback))
            if step.decided is not None and step.decided.notice is not None:
                said.append(SystemMessage(content=step.decided.notice))
        return said

    def closed_messages(self) -> list[Message]:
        """`messages`, every call answered: no model takes a conversation with open calls."""
        steps = [replace(step, results=_all_results(step)) for step in self.steps]
        said = [step for step in steps if step.turn.text or step.turn.calls]
        # Notices are for the run itself; the results that they tell of are in their places.
        messages = State(said).messages()
        return [message for message in messages if not isinstance(message, SystemMessage)]


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


Decision = CallModel | CallTools | FinishRun


def fold(entries: Iterable[bytes | str]) -> State:
    """Fold a journal into the state of the run.

    Raises `ValueError` for an entry that is not one of ours; nothing is guessed.
    """
    folding = _Folding()
    for at, stored in enumerate(entries):
        folding.take(at, load_entry(stored))
    return folding.state()


class _Folding:
    """A state taking shape."""

    def __init__(self) -> None:
        self._steps: list[Step] = []
        self._history: Sequence[Message] = ()
        self._arrived: dict[int, Result] = {}

    def take(self, at: int, entry: Entry) -> None:
        """Take in the entry that stands at *at* in the journal."""
        match entry:
            case History(messages):
                self._history = messages
            case Turn():
                self._steps.append(Step(entry))
            case Result():
                self._answer(at, entry)
            case Resumed():
                self._steps = [_edited(step, entry) for step in self._steps]
            case Decided():
                self._steps[-1:] = [replace(step, decided=entry) for step in self._steps[-1:]]
            case Suspension():
                pass

    def state(self) -> State:
        seen = self._steps[-1].turn.seen if self._steps else 0
        arrived = [each for at, each in self._arrived.items() if at >= seen]
        return State(tuple(self._steps), self._history, arrived)

    def _answer(self, at: int, result: Result) -> None:
        place = _position(self._steps, result)
        step = self._steps[place]
        before = step.results.get(result.call)
        if before is not None and before.is_placeholder:
            self._arrived[at] = result
        deferred = step.deferred | ({result.call} if result.is_placeholder else set())
        results = {**step.results, result.call: result}
        self._steps[place] = replace(step, results=results, deferred=deferred)


def decide(state: State, *, max_steps: int, is_stopped: bool = False) -> Decision:
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


def dump_entry(entry: Entry) -> str:
    """Return the stored form of a journal entry."""
    return _dumps(_stored(entry))


def _stored(entry: Entry) -> dict[str, Any]:
    match entry:
        case Turn():
            return _dump_turn(entry)
        case Result():
            return _dump_result(entry)
        case Suspension():
            place = {"step": entry.step, "call": entry.call, "n": entry.number}
            return {"k": "suspended", **place, "kind": entry.kind}
        case Resumed():
            place = {"call": entry.call, "n": entry.number, "kind": entry.kind}
            return {"k": "resumed", **place, "data": entry.data, "by": entry.by}
        case Decided():
            return _dump_decided(entry)
        case History(messages):
            return {"k": "history", "messages": dump_messages(messages)}


def _dump_decided(entry: Decided) -> dict[str, Any]:
    stored: dict[str, Any] = {"k": "decision", "step": entry.step, "follows": entry.follows}
    if entry.feedback is not None:
        stored |= {"feedback": entry.feedback, "last": entry.is_last}
    if entry.notice is not None:
        stored["notice"] = entry.notice
    return stored


def _dump_result(result: Result) -> dict[str, Any]:
    named = {"k": "result", "step": result.step, "call": result.call, "name": result.name}
    if result.is_placeholder:
        return {**named, "result": result.result, "placeholder": True}
    if result.denied is not None:
        return {**named, "denied": {"reason": result.denied.reason, "by": result.denied.by}}
    if result.error is not None:
        return {**named, "error": result.error.model_dump()}
    return {**named, "result": result.result}


def _dump_turn(turn: Turn) -> dict[str, Any]:
    stored: dict[str, Any] = {
        "k": "turn",
        "step": turn.step,
        "texts": list(turn.texts),
        "calls": [call.model_dump(mode="json", exclude_defaults=True) for call in turn.calls],
        "reason": turn.reason,
        "usage": {name: n for name, n in turn.usage.model_dump().items() if n},
        "reasoning": turn.reasoning,
        "model": turn.model,
        "provider": dict(turn.provider),
        "seen": turn.seen,
    }
    return {name: value for name, value in stored.items() if value not in ({}, [], "", 0)}


def load_entry(stored: bytes | str) -> Entry:
    """Read a journal entry; `ValueError` for anything that `dump_entry` did not write."""
    try:
        return _loaded(pydantic_core.from_json(stored))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"A journal entry cannot be read ({error}): {stored[:80]!r}") from None


def _loaded(entry: Any) -> Entry:
    match entry["k"]:
        case "turn":
            return _load_turn(entry)
        case "result":
            return _load_result(entry)
        case "suspended":
            return Suspension(entry["step"], entry["call"], entry["n"], entry["kind"])
        case "resumed":
            place = (entry["call"], entry["n"], entry["kind"])
            return Resumed(*place, entry.get("data"), entry.get("by"))
        case "decision":
            feedback, is_last = entry.get("feedback"), entry.get("last", False)
            told = (feedback, is_last, entry.get("notice"))
            return Decided(entry["step"], entry["follows"], *told)
        case "history":
            return History(load_messages(entry["messages"]))
        case kind:
            raise ValueError(f"unknown kind {kind!r}")


def _load_result(entry: Mapping[str, Any]) -> Result:
    error = ErrorInfo(**entry["error"]) if "error" in entry else None
    denied = Denied(**entry["denied"]) if "denied" in entry else None
    place = (entry["step"], entry["call"], entry["name"])
    is_placeholder = entry.get("placeholder", False)
    return Result(*place, entry.get("result"), error, denied, is_placeholder)


def _load_turn(entry: Mapping[str, Any]) -> Turn:
    return Turn(
        step=entry["step"],
        texts=entry.get("texts", ()),
        calls=[ToolCall(**call) for call in entry.get("calls", ())],
        reason=entry["reason"],
        usage=Usage(**entry.get("usage", {})),
        reasoning=entry.get("reasoning", ""),
        model=entry.get("model", ""),
        provider=entry.get("provider", {}),
        seen=entry.get("seen", 0),
    )


def _position(steps: Sequence[Step], result: Result) -> int:
    for at in range(len(steps) - 1, -1, -1):
        if steps[at].number == result.step:
            return at
    raise ValueError(f"The journal has a result of step {result.step} before its turn.")


def _edited(step: Step, resumed: Resumed) -> Step:
    """The step as it went on: a call runs with the arguments with which it was approved."""
    edited = edited_arguments(resumed.data)
    if edited is None or resumed.kind != "approval":
        return step
    calls = [
        call.model_copy(update={"arguments": edited}) if call.id == resumed.call else call
        for call in step.turn.calls
    ]
    return replace(step, turn=replace(step.turn, calls=calls))


def _all_results(step: Step) -> dict[str, Result]:
    why = ErrorInfo(name="RunEnded", message="The run ended before the call was answered.")
    never = {
        call.id: Result(step.number, call.id, call.name, error=why) for call in step.open_calls
    }
    return {**step.results, **never}


def edited_arguments(data: Any) -> dict[str, Any] | None:
    """The arguments that an approval gives in the place of the model's, if it does."""
    if not isinstance(data, dict) or data.get("approved") is not True:
        return None
    edited = data.get("args")
    return edited if isinstance(edited, dict) else None


def _assistant(turn: Turn) -> AssistantMessage:
    return AssistantMessage(
        content=turn.text,
        reasoning=turn.reasoning,
        tool_calls=list(turn.calls),
        provider=dict(turn.provider),
    )


def _tool_message(result: Result) -> ToolMessage:
    if result.denied is not None:
        why = f": {result.denied.reason}" if result.denied.reason else "."
        said = f"The call was declined by a person{why}"
        return ToolMessage(tool_call_id=result.call, name=result.name, result=said, is_error=True)
    if result.error is not None:
        said = f"{result.error.name}: {result.error.message}"
        return ToolMessage(tool_call_id=result.call, name=result.name, result=said, is_error=True)
    return ToolMessage(tool_call_id=result.call, name=result.name, result=result.result)
