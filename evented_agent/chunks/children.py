"""Chunks of child runs: what an agent says that another one has called."""

from typing import Any, Literal

from evented_agent.chunks.base import Chunk, Payload


class ChildPayload(Payload):
    """What a child of the run says.

    Attributes:
        run_id: The child: the run's id, ``~`` and a number, once for each level of the tree.
        type: What happened in it: "start", "text-delta", "finish", …
        payload: What there is to say about it, as the payload of a chunk of that type, as JSON.
    """

    run_id: str
    type: str
    payload: dict[str, Any]


class Child(Chunk):
    """A chunk of a child run, in the stream of the run that was started.

    The ids of parts and calls in it begin with the child's own part of its id (``~1/txt-1.1``), so
    that they are the only ones of their kind. `child_chunk` makes it a chunk of that type.

    Attributes:
        type: "child".
        payload: The child, and what it says.
    """

    type: Literal["child"] = "child"
    payload: ChildPayload


ChildChunk = Child
