"""An event is made once for all who hold the chunk, and forgotten with it."""

import weakref

from evented_agent.chunks import shared_events
from evented_agent.chunks.codec import decode
from evented_agent.chunks.shared_events import event_of

STORED = b'["text-delta","1:model",{"id":"p1","text":"word "}]'


def test_an_event_is_made_once_for_all_readers_of_a_chunk() -> None:
    chunk = decode(3, "3-1", "run", STORED)

    assert event_of(chunk) == chunk.sse()
    assert event_of(chunk) is event_of(chunk)
    assert event_of(decode(4, "4-1", "run", STORED)) != event_of(chunk)


def test_an_event_lives_as_long_as_its_chunk() -> None:
    before = len(shared_events._events)
    chunk = decode(3, "3-1", "run", STORED)
    event_of(chunk)
    held = weakref.ref(chunk)
    del chunk

    assert held() is None
    assert len(shared_events._events) == before
