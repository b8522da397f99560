"""What a reader of a child run is given of the log of the run that was started.  Does no I/O."""

from collections.abc import Generator

from evented_agent.chunks import AnyChunk, Child, Chunk, TopicReset, child_chunk
from evented_agent.client.follow import Reply, Request

_Steps = Generator[AnyChunk | Request, Reply, None]


def of_child(steps: _Steps, child_id: str) -> _Steps:
    """*steps* with the chunks of a child alone, as chunks of its own; ends where the child does."""
    reply: Reply = None
    while True:
        try:
            step = steps.send(reply)
        except StopIteration:
            return
        reply = None
        if not isinstance(step, Chunk):
            reply = yield step
            continue
        said = _said(step, child_id)
        if said is not None:
            yield said
            if said.ends_topic:
                return


def _said(chunk: AnyChunk, child_id: str) -> AnyChunk | None:
    """The chunk as the child's reader sees it: what is below the child stays as it is."""
    if isinstance(chunk, TopicReset):
        return chunk
    if not isinstance(chunk, Child):
        return None
    if chunk.payload.run_id == child_id:
        return child_chunk(chunk)
    return chunk if chunk.payload.run_id.startswith(f"{child_id}~") else None
