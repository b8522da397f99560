"""The responses of a run, from its log as far as that goes.  Pure: does no I/O."""

from collections.abc import Sequence

from evented_agent.chunks import AnyChunk, MessageQueued, ToolCallDecided
from evented_agent.state.run_info import RunInfo
from evented_agent.web.faces.legs import Leg, LegCutter
from evented_agent.web.faces.responses.objects import Json, LegOutcome, facts_of, response_object
from evented_agent.web.faces.responses.translator import ResponsesTranslator


class RunResponses:
    """All responses of a run.

    Attributes:
        facts: What is the same in all of them.
        newest: The leg that began last.
        is_open: Whether it goes on.
        last: The number of the log's last chunk.
    """

    def __init__(self, info: RunInfo, chunks: Sequence[AnyChunk]) -> None:
        self.facts = facts_of(info)
        self.newest = Leg(info.run_id)
        self.is_open = True
        self.last = chunks[-1].seq if chunks else 0
        self._found: dict[Leg, Json] = {}
        self._decided: dict[Leg, list[ToolCallDecided]] = {}
        self._sent = [chunk for chunk in chunks if isinstance(chunk, MessageQueued)]
        self._translator = ResponsesTranslator(self.facts)
        self._cutter = LegCutter(info.run_id, self._translator)
        self._fold(info, chunks)

    def response(self, leg: Leg) -> Json | None:
        """One of them; None where there is none such."""
        if self._cutter.is_queued(leg):
            return response_object(self.facts, leg.id, self.newest.id, LegOutcome("queued"), [])
        return self._found.get(self._cutter.answer_of(leg))

    def messages_of(self, leg: Leg) -> Sequence[MessageQueued]:
        """The messages that a leg answers, or is going to."""
        cutter, wanted = self._cutter, self._cutter.answer_of(leg)
        return [
            chunk for chunk in self._sent if cutter.answer_of(Leg(leg.run_id, chunk.seq)) == wanted
        ]

    def decided_in(self, leg: Leg) -> Sequence[ToolCallDecided]:
        """The decisions that came in a leg."""
        return self._decided.get(leg, ())

    def leg_after(self, numbers: Sequence[int]) -> Leg:
        """The leg in which the last of these decisions came; the newest, where the log lacks it."""
        legs = [
            leg
            for leg, chunks in self._decided.items()
            if any(chunk.payload.number in numbers for chunk in chunks)
        ]
        return legs[-1] if legs else self.newest

    def _fold(self, info: RunInfo, chunks: Sequence[AnyChunk]) -> None:
        cutter = self._cutter
        for chunk in chunks:
            self._keep(cutter.feed(chunk))
            if isinstance(chunk, ToolCallDecided) and cutter.leg is not None:
                self._decided.setdefault(cutter.leg, []).append(chunk)
        if info.status == "suspended":
            self._keep(cutter.stop())
        self.newest, self.is_open = cutter.leg or self.newest, cutter.is_open
        if cutter.is_open:
            status = "queued" if info.status == "queued" else "in_progress"
            self._found[self.newest] = self._translator.response(status)

    def _keep(self, events: Sequence[tuple[Leg, Json]]) -> None:
        for leg, event in events:
            if "response" in event:
                self._found[leg] = event["response"]
