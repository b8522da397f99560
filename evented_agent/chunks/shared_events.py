"""The Server-Sent Event of a chunk that several readers hold, made once for all of them."""

import weakref

from evented_agent.chunks.base import Chunk

_events: dict[int, tuple[weakref.ref[Chunk], str]] = {}


def event_of(chunk: Chunk) -> str:
    """`Chunk.sse`; kept as long as somebody has the chunk."""
    key = id(chunk)
    found = _events.get(key)
    if found is None:
        found = _events[key] = (weakref.ref(chunk, lambda _: _events.pop(key, None)), chunk.sse())
    return found[1]
