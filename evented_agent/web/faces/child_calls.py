"""What clients see of child runs: the calls about which people are asked.  Pure: does no I/O.

Protocols of one agent have no word for another one's text, and the call that a child answers is
shown as any other.  But whoever looks at the run must be able to decide: so a call of a child that
waits for a person is shown as a call of the run, from the question on.
"""

from collections.abc import Sequence

from evented_agent.chunks import (
    AnyChunk,
    Child,
    ToolCallApproval,
    ToolCallDecided,
    ToolCallDeferred,
    ToolCallPayload,
    ToolCallRequested,
    ToolCallSuspended,
    ToolError,
    ToolOutputDenied,
    ToolResult,
    child_chunk,
)

_FOLLOWS = (ToolCallDecided, ToolCallDeferred, ToolError, ToolOutputDenied, ToolResult)


class ChildCalls:
    """Makes a log without children of one that has some, as it goes."""

    def __init__(self) -> None:
        self._asked: set[str] = set()

    def shown(self, chunk: AnyChunk) -> Sequence[AnyChunk]:
        """What stands for a chunk: itself, or what a child's means to the run, if anything."""
        if not isinstance(chunk, Child):
            return [chunk]
        said = child_chunk(chunk).model_copy(update={"run_id": chunk.run_id})
        if isinstance(said, ToolCallApproval | ToolCallSuspended):
            return [*self._request(said), said]
        if isinstance(said, _FOLLOWS) and said.payload.tool_call_id in self._asked:
            return [said]
        return []

    def _request(self, asks: ToolCallApproval | ToolCallSuspended) -> Sequence[AnyChunk]:
        """The call itself, before it is asked about for the first time."""
        call = asks.payload
        if call.tool_call_id in self._asked:
            return []
        self._asked.add(call.tool_call_id)
        payload = ToolCallPayload(
            tool_call_id=call.tool_call_id, tool_name=call.tool_name, arguments=call.arguments
        )
        return [
            ToolCallRequested(
                seq=asks.seq,
                cursor=asks.cursor,
                run_id=asks.run_id,
                task=asks.task,
                payload=payload,
            )
        ]
