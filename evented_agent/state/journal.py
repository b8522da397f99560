"""The journal: its kinds of entries, and their stored form."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pydantic_core

from evented_agent.chunks import PARAGRAPH, ErrorInfo, Usage
from evented_agent.chunks.base import dump_json
from evented_agent.models.cost import (
    CallCost,
    Cost,
    cost_in,
    counts_of,
    nano_usd_of,
    usd_of,
    without_costs,
)
from evented_agent.models.messages import Message, ToolCall, dump_messages, load_messages


@dataclass(frozen=True, slots=True)
class Turn:
    """A completed model call; *seen* is how much of the journal the model had been shown.

    *instructions* are those that a function gave for the turn that begins with it. *cost* is None
    where the worker that committed it priced nothing.
    """

    step: int
    texts: Sequence[str]
    calls: Sequence[ToolCall]
    reason: str
    usage: Usage = field(default_factory=Usage)
    reasoning: str = ""
    model: str = ""
    provider: Mapping[str, Any] = field(default_factory=dict)
    seen: int = 0
    instructions: str | None = None
    cost: CallCost | None = None

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
    """What a tool call came to; *is_placeholder* until a deferred call has come to something.

    *usage* are the tokens of the child run that answered it, *cost* is what that has cost.
    """

    step: int
    call: str
    name: str
    result: Any = None
    error: ErrorInfo | None = None
    denied: Denied | None = None
    is_placeholder: bool = False
    usage: Usage | None = None
    cost: Cost | None = None


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
    *notice* tells the model what has become of deferred calls; a new turn begins with it. *agent*
    is the one that goes on from here, where the run is handed over.
    """

    step: int
    follows: str
    feedback: str | None = None
    is_last: bool = False
    notice: str | None = None
    agent: str | None = None


@dataclass(frozen=True, slots=True)
class Received:
    """A message that somebody sent to the run, before the first turn that had seen it."""

    id: str
    messages: Sequence[Message]
    by: str | None = None


@dataclass(frozen=True, slots=True)
class Dropped:
    """The run ended before these messages were answered."""

    ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class History:
    """What was said in the run's thread before it began."""

    messages: Sequence[Message]


Entry = Turn | Result | Suspension | Resumed | Decided | Received | Dropped | History


def dump_entry(entry: Entry) -> str:
    """Return the stored form of a journal entry."""
    return dump_json(_stored(entry))


def _stored(entry: Entry) -> dict[str, Any]:
    match entry:
        case Turn():
            return _dump_turn(entry)
        case Result():
            return _dump_result(entry)
        case Decided():
            return _dump_decided(entry)
        case Suspension() | Resumed():
            return _dump_of_person(entry)
        case _:
            return _dump_of_conversation(entry)


def _dump_of_person(entry: Suspension | Resumed) -> dict[str, Any]:
    place = {"call": entry.call, "n": entry.number, "kind": entry.kind}
    if isinstance(entry, Suspension):
        return {"k": "suspended", "step": entry.step, **place}
    return {"k": "resumed", **place, "data": entry.data, "by": entry.by}


def _dump_of_conversation(entry: Received | Dropped | History) -> dict[str, Any]:
    match entry:
        case Received():
            by = {} if entry.by is None else {"by": entry.by}
            return {"k": "message", "id": entry.id, "said": dump_messages(entry.messages), **by}
        case Dropped(ids):
            return {"k": "dropped", "ids": list(ids)}
        case History(messages):
            return {"k": "history", "messages": dump_messages(messages)}


def _dump_decided(entry: Decided) -> dict[str, Any]:
    stored: dict[str, Any] = {"k": "decision", "step": entry.step, "follows": entry.follows}
    if entry.feedback is not None:
        stored |= {"feedback": entry.feedback, "last": entry.is_last}
    if entry.notice is not None:
        stored["notice"] = entry.notice
    if entry.agent is not None:
        stored["agent"] = entry.agent
    return stored


def _dump_result(result: Result) -> dict[str, Any]:
    named: dict[str, Any] = {"k": "result", "step": result.step}
    named |= {"call": result.call, "name": result.name}
    if result.usage is not None:
        # As a record of a run has both.
        named["usage"] = _dump_usage(result.usage) | (counts_of(result.cost) if result.cost else {})
    if result.is_placeholder:
        return {**named, "result": result.result, "placeholder": True}
    if result.denied is not None:
        return {**named, "denied": {"reason": result.denied.reason, "by": result.denied.by}}
    if result.error is not None:
        return {**named, "error": result.error.model_dump()}
    return {**named, "result": result.result}


def _dump_usage(usage: Usage) -> dict[str, int]:
    return {name: n for name, n in usage.model_dump().items() if n}


def _dump_turn(turn: Turn) -> dict[str, Any]:
    stored: dict[str, Any] = {
        "k": "turn",
        "step": turn.step,
        "texts": list(turn.texts),
        "calls": [call.model_dump(mode="json", exclude_defaults=True) for call in turn.calls],
        "reason": turn.reason,
        "usage": _dump_usage(turn.usage),
        "reasoning": turn.reasoning,
        "model": turn.model,
        "provider": dict(turn.provider),
        "seen": turn.seen,
        # In a list, so that an empty text is kept too.
        "told": [] if turn.instructions is None else [turn.instructions],
        "cost": {} if turn.cost is None else _dump_cost(turn.cost),
    }
    return {name: value for name, value in stored.items() if value not in ({}, [], "", 0)}


def _dump_cost(cost: CallCost) -> dict[str, Any]:
    stored = {
        "nano_usd": None if cost.usd is None else nano_usd_of(cost.usd),
        "prices": cost.prices,
        "as": cost.priced_as,
        "why": cost.reason,
    }
    return {name: value for name, value in stored.items() if value is not None}


def load_entry(stored: bytes | str) -> Entry:
    """Read a journal entry; `ValueError` for anything that `dump_entry` did not write."""
    try:
        return _loaded(pydantic_core.from_json(stored))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"A journal entry cannot be read ({error}): {stored[:80]!r}") from None


def _loaded(entry: Any) -> Entry:
    kind = entry["k"]
    load = _LOADERS.get(kind)
    if load is None:
        raise ValueError(f"unknown kind {kind!r}")
    return load(entry)


def _load_resumed(entry: Mapping[str, Any]) -> Resumed:
    place = (entry["call"], entry["n"], entry["kind"])
    return Resumed(*place, entry.get("data"), entry.get("by"))


def _load_decided(entry: Mapping[str, Any]) -> Decided:
    feedback, is_last = entry.get("feedback"), entry.get("last", False)
    told = (feedback, is_last, entry.get("notice"), entry.get("agent"))
    return Decided(entry["step"], entry["follows"], *told)


def _load_result(entry: Mapping[str, Any]) -> Result:
    error = ErrorInfo(**entry["error"]) if "error" in entry else None
    denied = Denied(**entry["denied"]) if "denied" in entry else None
    place = (entry["step"], entry["call"], entry["name"])
    is_placeholder = entry.get("placeholder", False)
    counts = entry.get("usage") or {}
    usage = Usage(**without_costs(counts)) if counts else None
    result = entry.get("result")
    return Result(*place, result, error, denied, is_placeholder, usage, cost_in(counts))


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
        instructions=next(iter(entry.get("told", ())), None),
        cost=_load_cost(entry["cost"]) if "cost" in entry else None,
    )


def _load_cost(stored: Mapping[str, Any]) -> CallCost:
    usd = usd_of(int(stored["nano_usd"])) if "nano_usd" in stored else None
    return CallCost(usd, stored.get("prices", ""), stored.get("as"), stored.get("why"))


def edited_arguments(data: Any) -> dict[str, Any] | None:
    """The arguments that an approval gives in the place of the model's, if it does."""
    if not isinstance(data, dict) or data.get("approved") is not True:
        return None
    edited = data.get("args")
    return edited if isinstance(edited, dict) else None


_LOADERS: Mapping[str, Callable[[Mapping[str, Any]], Entry]] = {
    "turn": _load_turn,
    "result": _load_result,
    "suspended": lambda entry: Suspension(entry["step"], entry["call"], entry["n"], entry["kind"]),
    "resumed": _load_resumed,
    "decision": _load_decided,
    "message": lambda entry: Received(entry["id"], load_messages(entry["said"]), entry.get("by")),
    "dropped": lambda entry: Dropped(entry["ids"]),
    "history": lambda entry: History(load_messages(entry["messages"])),
}
