"""The stored form of chunks: the JSON array ``[type, task, payload]``.

The number of a chunk is the id of its entry in Redis, so it is not repeated inside.
"""

from typing import Any

import pydantic_core

from evented_agent.chunks import background, run, text, tools
from evented_agent.chunks.base import Chunk, Other, Payload, dump_json, payload_json

#: The modules whose classes are the vocabulary of streams.
_FAMILIES = (run, text, tools, background)

CHUNKS: dict[str, type[Chunk]] = {
    str(cls.model_fields["type"].default): cls
    for family in _FAMILIES
    for cls in vars(family).values()
    if isinstance(cls, type) and issubclass(cls, Chunk) and cls is not Chunk
}
_PAYLOADS: dict[str, Any] = {
    name: cls.model_fields["payload"].annotation for name, cls in CHUNKS.items()
}


def encode(type_: str, task: str | None, payload: Payload | dict[str, Any]) -> str:
    """Return the stored form of a chunk.

    Raises `ValueError` for a payload that JSON cannot hold (NaN, for example).
    """
    return dump_json([type_, task, payload_json(payload)])


def _parts(stored: bytes | str) -> tuple[str, str | None, Any]:
    match pydantic_core.from_json(stored):
        case [str(type_), str() | None as task, payload]:
            return type_, task, payload
    raise ValueError(f"A chunk cannot be read: {stored[:80]!r}")


def decode(seq: int, cursor: str, run_id: str, stored: bytes | str) -> Chunk:
    """Read a chunk back from its stored form; a type unknown here becomes `Other`.

    Raises `ValueError` for what `encode` did not write.
    """
    type_, task, payload = _parts(stored)
    fields: dict[str, Any] = {"seq": seq, "cursor": cursor, "run_id": run_id, "task": task}
    cls = CHUNKS.get(type_)
    if cls is None:
        return Other.model_construct(type=type_, payload=payload, **fields)
    return cls.model_construct(
        type=type_, payload=_PAYLOADS[type_].model_validate(payload), **fields
    )
