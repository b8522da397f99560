"""A model that follows a script.

It keeps no state: the conversation says which answer is due, so that any process can go on with
the run of another.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from evented_agent.chunks import Usage
from evented_agent.models.guard import blocked
from evented_agent.models.messages import AssistantMessage, ToolCall, UserMessage
from evented_agent.models.protocol import (
    AnswerEnded,
    CallPiece,
    CallStarted,
    ModelEvent,
    ModelRequest,
    ReasoningPiece,
    TextPiece,
)


@dataclass(frozen=True, slots=True)
class Say:
    """One answer in full: text, tool calls, and how it ends.

    Attributes:
        text: What the model says.
        calls: The tools that it calls, made with `tool_call`.
        reasoning: Its reasoning, said before the text.
        reason: Why it stops; "tool-calls" or "stop", unless given.
        usage: The tokens that it claims.
    """

    text: str = ""
    calls: Sequence[ToolCall] = ()
    reasoning: str = ""
    reason: str = ""
    usage: Usage = field(
        default_factory=lambda: Usage(input_tokens=10, output_tokens=5, total_tokens=15)
    )


#: What a script holds: text, tool calls, both, an error to raise, or a function of the request.
Scripted = (
    str | Say | Sequence[ToolCall] | BaseException | Callable[[ModelRequest], "str | Say | Any"]
)


def tool_call(name: str, /, **arguments: Any) -> ToolCall:
    """A tool call for a script; its id is made from its place in the answer."""
    return ToolCall(id="", name=name, arguments=arguments)


class ScriptedModel:
    """Answers the n-th turn after the last user message with the n-th entry of *script*.

    Args:
        script: Text, lists of `tool_call`, `Say`, exceptions, or functions of the request. After
            its end the last entry is repeated.
        pause: Seconds between two pieces of text, for tests of what happens meanwhile.
        name: What people see.
    """

    def __init__(
        self, script: Sequence[Scripted], *, pause: float = 0.0, name: str = "scripted/model"
    ) -> None:
        self._script = list(script)
        self._pause = pause
        self._name = name
        self.requests: list[ModelRequest] = []

    @property
    def name(self) -> str:
        """What people see."""
        return self._name

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        """Say the entry of the script that is due, a word at a time."""
        self.requests.append(request)
        turn = _turn_of(request)
        say = _full(self._script[min(turn, len(self._script) - 1)], request)
        for event in _events(say, turn):
            yield event
            if self._pause and isinstance(event, TextPiece):
                await asyncio.sleep(self._pause)


@contextmanager
def block_real_models() -> Iterator[None]:
    """Make every call of a real model in this process fail, with a sentence that says why."""
    is_outermost = "a test" not in blocked
    blocked.add("a test")
    try:
        yield
    finally:
        if is_outermost:
            blocked.discard("a test")


def _turn_of(request: ModelRequest) -> int:
    turn = 0
    for message in request.messages:
        if isinstance(message, UserMessage):
            turn = 0
        elif isinstance(message, AssistantMessage):
            turn += 1
    return turn


def _full(entry: Any, request: ModelRequest) -> Say:
    if callable(entry):
        entry = entry(request)
    if isinstance(entry, BaseException):
        raise entry
    if isinstance(entry, str):
        return Say(entry)
    if isinstance(entry, Say):
        return entry
    return Say(calls=list(entry))


def _events(say: Say, turn: int) -> Iterator[ModelEvent]:
    for piece in _pieces(say.reasoning):
        yield ReasoningPiece(piece)
    for piece in _pieces(say.text):
        yield TextPiece(piece)
    for index, call in enumerate(say.calls):
        yield CallStarted(index, call.id or f"call_{turn + 1}_{index}", call.name)
        arguments = call.invalid if call.invalid is not None else json.dumps(call.arguments)
        yield CallPiece(index, arguments)
    reason = say.reason or ("tool-calls" if say.calls else "stop")
    yield AnswerEnded(reason, say.usage)  # type: ignore[arg-type]


def _pieces(text: str) -> Iterator[str]:
    word, gap, rest = text.partition(" ")
    while word or gap:
        yield word + gap
        word, gap, rest = rest.partition(" ")
