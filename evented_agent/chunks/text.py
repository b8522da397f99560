"""Chunks of what the agent says: text, reasoning, structured output."""

from typing import Any, ClassVar, Literal

from evented_agent.chunks.base import Chunk, Payload


class PartPayload(Payload):
    id: str


class TextStart(Chunk):
    type: Literal["text-start"] = "text-start"
    payload: PartPayload


class DeltaPayload(Payload):
    id: str
    text: str


class TextDelta(Chunk):
    type: Literal["text-delta"] = "text-delta"
    payload: DeltaPayload


class TextEnd(Chunk):
    closes: ClassVar[type[Chunk] | None] = TextStart
    type: Literal["text-end"] = "text-end"
    payload: PartPayload


class ReasoningStart(Chunk):
    type: Literal["reasoning-start"] = "reasoning-start"
    payload: PartPayload


class ReasoningDelta(Chunk):
    type: Literal["reasoning-delta"] = "reasoning-delta"
    payload: DeltaPayload


class ReasoningEnd(Chunk):
    closes: ClassVar[type[Chunk] | None] = ReasoningStart
    type: Literal["reasoning-end"] = "reasoning-end"
    payload: PartPayload


class ObjectPayload(Payload):
    """The structured output so far; the last one of a finished run is whole and valid."""

    object: Any = None


class Object(Chunk):
    type: Literal["object"] = "object"
    payload: ObjectPayload
