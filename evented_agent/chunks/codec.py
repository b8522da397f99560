"""The stored form of chunks: the JSON array ``[type, task, payload]``.

The number of a chunk is the id of its entry in Redis, so it is not repeated inside.
"""

from functools import lru_cache
from typing import Any, Protocol, TypeVar, cast, get_args

import pydantic
import pydantic_core

from evented_agent.chunks.background import BackgroundChunk
from evented_agent.chunks.base import Chunk, Other, Payload, dump_json, stored_names, stored_payload
from evented_agent.chunks.children import Child
from evented_agent.chunks.inbox import InboxChunk
from evented_agent.chunks.json_values import without_surrogates
from evented_agent.chunks.run import RunChunk
from evented_agent.chunks.text import TextChunk
from evented_agent.chunks.tools import ToolChunk

#: Every chunk of a stream; a comparison of ``chunk.type`` tells its class to a type checker.
AnyChunk = RunChunk | TextChunk | ToolChunk | BackgroundChunk | InboxChunk | Child | Other

CHUNKS: dict[str, type[Chunk]] = {
    str(cls.model_fields["type"].default): cls for cls in get_args(AnyChunk) if cls is not Other
}
_PAYLOADS: dict[str, Any] = {
    name: cls.model_fields["payload"].annotation for name, cls in CHUNKS.items()
}
_TYPES: dict[Any, str] = {cls: name for name, cls in CHUNKS.items()}
_ENDS: dict[Any, type[Chunk]] = {
    cls.closes: cls for cls in CHUNKS.values() if cls.closes is not None
}

PayloadT = TypeVar("PayloadT", bound=Payload)


class ChunkWith(Protocol[PayloadT]):
    """A chunk whose payload is a PayloadT; its type ties a payload to the class of its chunk."""

    payload: PayloadT


def encode(type_: str, task: str | None, payload: dict[str, Any]) -> str:
    """Return the stored form of a chunk whose payload is JSON already; see `encode_chunk`.

    What a task of a child run says is stored as a `Child` that has it inside.
    Raises `ValueError` for a payload that JSON cannot hold (NaN, for example).
    """
    if task is not None and task.startswith(CHILD_MARK):
        inside = {"run": task.partition("/")[0], "type": type_, "payload": payload}
        return dump_json([_TYPES[Child], task, inside])
    return dump_json([type_, task, payload])


def encode_chunk(chunk: type[ChunkWith[PayloadT]], task: str | None, payload: PayloadT) -> str:
    """Return the stored form of a chunk of this class; fields that were not given are left out.

    Raises `ValueError` for a payload that JSON cannot hold (NaN, for example).
    """
    return encode(_TYPES[chunk], task, stored_payload(payload))


def type_name(chunk: type[Any]) -> str:
    """Return what a class of chunks is called on the wire."""
    return _TYPES[chunk]


def encode_delta(chunk: type[Chunk], task: str | None, part: str, text: str) -> str:
    """`encode` for one more piece of a part or of a tool call's arguments.

    There is one of these for each token, so no payload is made.
    """
    start, end = _delta_around(chunk, task, part)
    return f"{start}{dump_json(text)}{end}"


@lru_cache(maxsize=1024)
def _delta_around(chunk: type[Chunk], task: str | None, part: str) -> tuple[str, str]:
    """All that the pieces of a part have in common, before their text and after it."""
    type_ = _TYPES[chunk]
    part_name, text_name = stored_names(_PAYLOADS[type_]).values()
    start, _, end = encode(type_, task, {part_name: part, text_name: ""}).rpartition('""')
    return start, end


def encode_end(chunk: type[ChunkWith[PayloadT]], task: str | None, payload: PayloadT) -> str | None:
    """Return the stored form of the chunk that ends what this one begins; None for most."""
    end = _ENDS.get(chunk)
    if end is None:
        return None
    made: type[Payload] = _PAYLOADS[_TYPES[end]]
    fields = {name: getattr(payload, name) for name in made.model_fields}
    return encode_chunk(end, task, made(**fields))


#: What the keys of tasks of child runs, and the ends of their ids, begin with.
CHILD_MARK = "~"
#: The type of what stands in the place of a chunk that cannot be read.
UNREADABLE = "unreadable"


def _parts(stored: bytes | str) -> tuple[str, str | None, Any]:
    match pydantic_core.from_json(stored):
        case [str(type_), str() | None as task, payload]:
            return type_, task, payload
    raise ValueError("it is no array of a type, a task and a payload")


def decode(seq: int, cursor: str, run_id: str, stored: bytes | str | None) -> AnyChunk:
    """Read a chunk back from its stored form; a type unknown here becomes `Other`.

    So does what cannot be read, as it was stored: a reader goes on behind it.  Its type is
    "unreadable", its payload ``{"raw": text, "reason": why}``, with the ``type`` if there is one.
    """
    fields: dict[str, Any] = {"seq": seq, "cursor": cursor, "run_id": run_id}
    type_, task = None, None
    try:
        type_, task, payload = _parts(stored or b"")
        if type_ == _TYPES[Child]:
            payload = {**payload, "runId": f"{run_id}{payload['run']}"}
            del payload["run"]
        cls = CHUNKS.get(type_)
        if cls is None:
            return Other.model_construct(type=type_, task=task, payload=payload, **fields)
        made = _PAYLOADS[type_].model_validate(payload)
    except (ValueError, LookupError, TypeError) as error:
        payload = _unreadable(type_, stored or b"", error)
        return Other.model_construct(type=UNREADABLE, task=task, payload=payload, **fields)
    return cast(AnyChunk, cls.model_construct(type=type_, task=task, payload=made, **fields))


def child_chunk(chunk: Child) -> AnyChunk:
    """What a child run says, as a chunk of its type: with the child's id, and the same `seq`."""
    said = chunk.payload
    fields: dict[str, Any] = {
        "seq": chunk.seq,
        "cursor": chunk.cursor,
        "run_id": said.run_id,
        "task": chunk.task,
    }
    cls = CHUNKS.get(said.type)
    if cls is None:
        return Other.model_construct(type=said.type, payload=said.payload, **fields)
    try:
        made = _PAYLOADS[said.type].model_validate(said.payload)
    except ValueError as error:
        payload = _unreadable(said.type, dump_json(said.payload), error)
        return Other.model_construct(type=UNREADABLE, payload=payload, **fields)
    return cast(AnyChunk, cls.model_construct(type=said.type, payload=made, **fields))


def _unreadable(type_: str | None, stored: bytes | str, error: Exception) -> dict[str, Any]:
    raw = stored.decode(errors="replace") if isinstance(stored, bytes) else stored
    reason = str(error) or type(error).__name__
    if isinstance(error, pydantic.ValidationError):
        [first, *_] = error.errors(include_url=False, include_context=False, include_input=False)
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    named = {} if type_ is None else {"type": type_}
    return {**named, "raw": without_surrogates(raw), "reason": without_surrogates(reason)}
