"""A message as a client has it so far, and the events that are made again and again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

#: One event: what its `data:` line holds, as JSON.
UiEvent = dict[str, Any]
#: A call that is made; one that has an output, though not its last; one that is complete.
Progress = Literal["called", "shown", "complete"]


@dataclass(slots=True)
class ShownMessage:
    """A message as the client has it.

    Attributes:
        suffix: What names calls of other messages that are shown in it.
        step: The step that began last in it.
        is_step_shown: Whether the client shows it: not before it has a part.
        names: What calls are named in it, by their names in the run.
        again: Those of other messages that are shown in it again.
        calls: The calls of the last step that the client shows, and how far it takes each to be.
        told: What was told in that step by others than its model, which no reset of the model
            undoes; the last of each kind and id.
    """

    suffix: str
    step: int = 0
    is_step_shown: bool = False
    names: dict[str, str] = field(default_factory=dict)
    again: set[str] = field(default_factory=set)
    calls: dict[str, Progress] = field(default_factory=dict)
    told: dict[object, UiEvent] = field(default_factory=dict)

    def begin_step(self, step: int) -> None:
        self.step = step
        self.is_step_shown = False
        self.told.clear()

    def show_step(self) -> None:
        """The step has a part; only now is it the last one for the client."""
        if not self.is_step_shown:
            self.is_step_shown = True
            self.calls.clear()

    def reset_step(self) -> Sequence[UiEvent]:
        """The client has dropped the step; what is to be told of it again."""
        if self.is_step_shown:
            kept = {event.get("toolCallId") for event in self.told.values()}
            self.calls = {call: how for call, how in self.calls.items() if call in kept}
        return list(self.told.values())

    def add(self, call: str, name: str) -> None:
        """A call is shown in its last step, under a name."""
        self.show_step()
        self.names[call] = name
        self.calls[name] = "called"

    def mark(self, name: str, progress: Progress) -> None:
        if name in self.calls:
            self.calls[name] = progress

    def about(self, event: UiEvent, name: str) -> Sequence[UiEvent]:
        """Something about a call; told again after a reset where the call is of this step alone."""
        if name in self.calls and name in self.again:
            self.told[event["type"], name] = event
        return [event]


def input_start(call: str, tool: str) -> UiEvent:
    named = {"toolCallId": call, "toolName": tool}
    return {"type": "tool-input-start", **named, "dynamic": True}


def input_of(call: str, tool: str, arguments: Any) -> UiEvent:
    named = {"toolCallId": call, "toolName": tool}
    return {"type": "tool-input-available", **named, "input": arguments, "dynamic": True}


def finish(reason: str) -> UiEvent:
    return {"type": "finish", "finishReason": reason}


def given(**fields: Any) -> Mapping[str, Any]:
    """The fields that have a value: the client takes null for none of them."""
    return {name: value for name, value in fields.items() if value is not None}
