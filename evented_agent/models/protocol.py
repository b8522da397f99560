"""What the engine needs from a model: one streamed call.  Knows no provider."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from evented_agent.chunks import Usage
from evented_agent.models.messages import Message

FinishReason = Literal["stop", "tool-calls", "length", "content-filter", "error", "other"]

#: "auto", "none", "required", or the name of the one tool to call as {"tool": name}.
ToolChoice = Literal["auto", "none", "required"] | Mapping[Literal["tool"], str]


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as a model sees it; *parameters* is a JSON schema of type object."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One call: the whole conversation, the tools on offer and JSON settings."""

    messages: Sequence[Message]
    instructions: str = ""
    tools: Sequence[ToolSpec] = ()
    tool_choice: ToolChoice = "auto"
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TextPiece:
    """More text; another *part* begins a new paragraph of the answer."""

    text: str
    part: int = 0


@dataclass(frozen=True, slots=True)
class ReasoningPiece:
    """More of the model's reasoning, as far as the provider shows it."""

    text: str
    part: int = 0


@dataclass(frozen=True, slots=True)
class CallStarted:
    """The model begins a tool call; *index* names it within this answer.

    *id* is the provider's, possibly empty or repeated.
    """

    index: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class CallPiece:
    """More of the JSON text of a call's arguments."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class AnswerEnded:
    """The provider said that the answer is complete.  An answer without this one was cut off.

    *provider* is JSON to hand back on the next call, under the provider's name.
    """

    reason: FinishReason
    usage: Usage = field(default_factory=Usage)
    provider: Mapping[str, Any] = field(default_factory=dict)


ModelEvent = TextPiece | ReasoningPiece | CallStarted | CallPiece | AnswerEnded


@runtime_checkable
class Model(Protocol):
    """A language model that streams its answer.

    Implement it for a provider that this library does not know.  One object serves many calls at
    the same time, on one event loop per process; it must survive a fork, so connect lazily.
    """

    @property
    def name(self) -> str:
        """What people see: provider and model, such as ``openai/gpt-5.5``."""
        ...

    def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        """Call the model once, without retries.

        The last event is `AnswerEnded`; its absence means the answer was cut off.  Raises
        `ModelError` for every failure.  Closing the iterator closes the connection.
        """
        ...
