"""Which message of the client each leg of a run adds to.  Pure: does no I/O."""

from evented_agent.chunks import (
    AnyChunk,
    MessageApplied,
    MessageDropped,
    MessageQueued,
    ToolCallApproval,
    ToolCallDecided,
    ToolCallSuspended,
)
from evented_agent.web.faces.legs import Leg


class MessagePlaces:
    """Says so, leg by leg, by the chunk that each begins with.

    What answers a message of a user is a message of its own, named as its leg.  A decision is
    answered in the message in which it was asked for, which is the one that clients post; all else
    goes on where the leg before it was.

    Attributes:
        id: The id of the message that the leg that began last adds to.
    """

    def __init__(self, run_id: str) -> None:
        self.id = run_id
        self._asked_in: dict[int, str] = {}

    def begin(self, leg: Leg, chunk: AnyChunk) -> str:
        """A leg begins; the id of the message that it adds to."""
        place = self._place(leg, chunk)
        if not is_unanswered(leg, chunk):
            self.id = place
        return place

    def feed(self, chunk: AnyChunk) -> None:
        """A chunk of that leg."""
        if isinstance(chunk, ToolCallApproval | ToolCallSuspended):
            self._asked_in[chunk.seq] = self.id

    def place_of(self, number: int) -> str:
        """The id of the message in which a question was asked."""
        return self._asked_in.get(number, self.id)

    def _place(self, leg: Leg, chunk: AnyChunk) -> str:
        if isinstance(chunk, MessageQueued | MessageApplied) or is_unanswered(leg, chunk):
            return leg.id
        if isinstance(chunk, ToolCallDecided) and chunk.payload.number is not None:
            return self.place_of(chunk.payload.number)
        return self.id


def is_unanswered(leg: Leg, chunk: AnyChunk) -> bool:
    """Whether a leg is that of a message that the run has dropped."""
    return isinstance(chunk, MessageDropped) and leg.first != chunk.seq
