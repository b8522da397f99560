"""Chunks of what the agent says: text, reasoning, structured output."""

from typing import Any, ClassVar, Literal

from evented_agent.chunks.base import Chunk, Payload


class PartPayload(Payload):
    """Which part of the text or of the reasoning begins or ends.

    Attributes:
        id: Names the part within the run; what is said again after a `step-reset` has another id.
    """

    id: str


class TextStart(Chunk):
    """A part of the text begins: a paragraph of its own.

    Attributes:
        type: "text-start".
        payload: Which part.
    """

    type: Literal["text-start"] = "text-start"
    payload: PartPayload


class DeltaPayload(Payload):
    """More of a part of the text or of the reasoning.

    Attributes:
        id: The part that it belongs to.
        text: What is added at the part's end.
    """

    id: str
    text: str


class TextDelta(Chunk):
    """More text, as the model says it.

    Attributes:
        type: "text-delta".
        payload: The part, and what is added to it.
    """

    type: Literal["text-delta"] = "text-delta"
    payload: DeltaPayload


class TextEnd(Chunk):
    """A part of the text is complete.

    Attributes:
        type: "text-end".
        payload: Which part.
    """

    closes: ClassVar[type[Chunk] | None] = TextStart
    type: Literal["text-end"] = "text-end"
    payload: PartPayload


class ReasoningStart(Chunk):
    """A part of the model's reasoning begins, where the provider shows it.

    Attributes:
        type: "reasoning-start".
        payload: Which part.
    """

    type: Literal["reasoning-start"] = "reasoning-start"
    payload: PartPayload


class ReasoningDelta(Chunk):
    """More of the model's reasoning.

    Attributes:
        type: "reasoning-delta".
        payload: The part, and what is added to it.
    """

    type: Literal["reasoning-delta"] = "reasoning-delta"
    payload: DeltaPayload


class ReasoningEnd(Chunk):
    """A part of the model's reasoning is complete.

    Attributes:
        type: "reasoning-end".
        payload: Which part.
    """

    closes: ClassVar[type[Chunk] | None] = ReasoningStart
    type: Literal["reasoning-end"] = "reasoning-end"
    payload: PartPayload


class ObjectPayload(Payload):
    """The structured output so far; the last one of a finished run is whole and valid.

    Attributes:
        object: JSON, mostly incomplete: fields may be missing, texts may be cut off.
    """

    object: Any = None


class Object(Chunk):
    """What an answer with an output type is so far.

    Attributes:
        type: "object".
        payload: The object, all of it each time.
    """

    type: Literal["object"] = "object"
    payload: ObjectPayload


class SourcePayload(Payload):
    """Where something that the model says comes from.

    Attributes:
        url: Where it is; None for what is no page.
        title: What it is called.
        data: All that the provider says of it, as JSON.
    """

    url: str | None = None
    title: str | None = None
    data: Any = None


class Source(Chunk):
    """The model cites a source.

    Attributes:
        type: "source".
        payload: Where it is, and what it is called.
    """

    type: Literal["source"] = "source"
    payload: SourcePayload


class ProviderItemPayload(Payload):
    """What a provider did or made itself: a web search, a piece of code that it ran, an image.

    Attributes:
        kind: The provider's name for it, such as "web_search_call".
        item: All that it says of it, as JSON; texts of more than 64 KB are cut.
    """

    kind: str
    item: Any = None


class ProviderItem(Chunk):
    """A part of the answer that is neither text nor reasoning nor a call of one of our tools.

    Attributes:
        type: "provider-item".
        payload: What it is.
    """

    type: Literal["provider-item"] = "provider-item"
    payload: ProviderItemPayload


TextChunk = (
    TextStart
    | TextDelta
    | TextEnd
    | ReasoningStart
    | ReasoningDelta
    | ReasoningEnd
    | Object
    | Source
    | ProviderItem
)
