"""What the engine needs from a model: one streamed call.  Imports no provider."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from evented_agent.chunks import Usage
from evented_agent.models.messages import Message

#: Why a model stopped.
FinishReason = Literal["stop", "tool-calls", "length", "content-filter", "error", "other"]

#: "auto", "none", "required", or the name of the one tool to call as {"tool": name}.
ToolChoice = Literal["auto", "none", "required"] | Mapping[Literal["tool"], str]


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as a model sees it.

    Attributes:
        name: What the model calls it.
        description: What the model is told of it.
        parameters: The JSON schema (of type object) of its arguments.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """What a model is asked in one call.

    Attributes:
        messages: The whole conversation so far.
        instructions: What the agent is told; they come before the conversation.
        tools: The tools on offer.
        tool_choice: "auto", "none", "required", or ``{"tool": name}``.
        settings: JSON, such as ``{"temperature": 0}``; what it may hold is the provider's matter.
    """

    messages: Sequence[Message]
    instructions: str = ""
    tools: Sequence[ToolSpec] = ()
    tool_choice: ToolChoice = "auto"
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TextPiece:
    """More text of an answer.

    Attributes:
        text: What is added.
        part: Which part of the answer it belongs to: 0, 1, …; another one begins a new paragraph.
    """

    text: str
    part: int = 0


@dataclass(frozen=True, slots=True)
class ReasoningPiece:
    """More of the model's reasoning, as far as the provider shows it.

    Attributes:
        text: What is added.
        part: Which part of the reasoning it belongs to: 0, 1, …
    """

    text: str
    part: int = 0


@dataclass(frozen=True, slots=True)
class CallStarted:
    """The model begins a tool call.

    Attributes:
        index: Names the call within this answer.
        id: The provider's name for it, possibly empty or repeated.
        name: The tool that is called.
    """

    index: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class CallPiece:
    """More of the JSON text of a call's arguments.

    Attributes:
        index: Which call of this answer, as in `CallStarted`.
        text: What is added.
    """

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class SourceFound:
    """The model cites a source.

    Attributes:
        url: Where it is; None for what is no page.
        title: What it is called.
        data: All that the provider says of it, as JSON.
    """

    url: str | None = None
    title: str | None = None
    data: Any = None


@dataclass(frozen=True, slots=True)
class ItemFound:
    """A part of the answer that is neither text nor reasoning nor a call of one of our tools.

    Attributes:
        kind: The provider's name for it, such as "web_search_call".
        item: All that it says of it, as JSON.
    """

    kind: str
    item: Any = None


@dataclass(frozen=True, slots=True)
class AnswerEnded:
    """The provider said that the answer is complete.  An answer without this one was cut off.

    Attributes:
        reason: Why the model stopped: "stop", "tool-calls", "length", "content-filter", "error" or
            "other".
        usage: The tokens of this call.
        provider: JSON to hand back on the next call, under the provider's name.
        model: The model that answered, by the provider's own name, where it says so; its price is
            looked up by it.
    """

    reason: FinishReason
    usage: Usage = field(default_factory=Usage)
    provider: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = field(default=None, compare=False)


#: What a model streams; its class tells what it is.
ModelEvent = (
    TextPiece | ReasoningPiece | CallStarted | CallPiece | SourceFound | ItemFound | AnswerEnded
)


@runtime_checkable
class Model(Protocol):
    """A language model that streams its answer.

    Implement it for a provider that this library does not know.  One object serves many calls at
    the same time, on one event loop per process; it must survive a fork, so connect lazily.

    It may have an attribute ``priced_as``, such as ``"openai/gpt-5.5"``: under which provider and
    model its price is looked up, if not under its name.
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
