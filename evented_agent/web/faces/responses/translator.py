"""From the log of a run to the events of its responses.  Pure: does no I/O."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from evented_agent.chunks import (
    Abort,
    AnyChunk,
    BackgroundTaskCancelled,
    BackgroundTaskStarted,
    Chunk,
    Error,
    ErrorInfo,
    Finish,
    MessageApplied,
    ReasoningDelta,
    ReasoningEnd,
    ReasoningStart,
    StepFinish,
    StepReset,
    TextDelta,
    TextEnd,
    TextStart,
    ToolCallApproval,
    ToolCallDelta,
    ToolCallDropped,
    ToolCallInputStart,
    ToolCallRequested,
    ToolCallSuspended,
    ToolError,
    ToolOutputDenied,
    ToolResult,
    Usage,
)
from evented_agent.web.faces.legs import Leg, LegEnd
from evented_agent.web.faces.responses.calls import Calls
from evented_agent.web.faces.responses.objects import Json, LegOutcome, RunFacts, response_object
from evented_agent.web.faces.responses.output import (
    OutputItem,
    ReasoningItem,
    ResponseOutput,
    TextItem,
)

#: Why an answer is incomplete, in this protocol's words.
_INCOMPLETE = {"length": "max_output_tokens", "content-filter": "content_filter"}


class ResponsesTranslator:
    """The events of each response, and the response object as it is now."""

    def __init__(self, facts: RunFacts) -> None:
        self._facts = facts
        self._leg: Leg | None = None
        self._previous = facts.previous
        self._output = ResponseOutput()
        self._calls = Calls(facts.run_id, facts.agent)
        self._parts: dict[str, OutputItem] = {}
        self._outcome = LegOutcome("in_progress")
        self._used, self._told = Usage(), Usage()
        self._reason = ""
        self._feeds: Mapping[type[Chunk], Callable[[Any], Sequence[Json]]] = {
            TextStart: self._text_start,
            TextDelta: self._text_delta,
            TextEnd: self._part_end,
            ReasoningStart: self._reasoning_start,
            ReasoningDelta: self._reasoning_delta,
            ReasoningEnd: self._part_end,
            ToolCallInputStart: self._call_start,
            ToolCallDelta: self._call_delta,
            ToolCallDropped: self._call_dropped,
            ToolCallRequested: self._call,
            ToolCallApproval: self._approval,
            ToolCallSuspended: self._question,
            BackgroundTaskStarted: self._background,
            BackgroundTaskCancelled: self._cancelled,
            ToolResult: self._result,
            ToolError: self._failure,
            ToolOutputDenied: self._denied,
            StepReset: self._reset,
            StepFinish: self._step_finish,
        }

    def begin(self, leg: Leg, _: AnyChunk) -> Sequence[Json]:
        if self._leg is not None:
            self._previous = self._leg.id
        self._leg = leg
        self._output = ResponseOutput()
        self._parts = {}
        self._calls.begin(self._output)
        self._used = Usage()
        self._outcome = LegOutcome("queued")
        created = self._output.event("created", {"response": self.response()})
        self._outcome = LegOutcome("in_progress")
        return [created, self._output.event("in_progress", {"response": self.response()})]

    def feed(self, chunk: AnyChunk) -> Sequence[Json]:
        feed = self._feeds.get(type(chunk))
        return () if feed is None else feed(chunk)

    def end(self, ending: LegEnd) -> Sequence[Json]:
        closed = self._output.close_all()
        self._outcome = self._outcome_of(ending)
        status = self._outcome.status
        type_ = "incomplete" if status == "cancelled" else status
        return [*closed, self._output.event(type_, {"response": self.response()})]

    def response(self, status: str | None = None) -> Json:
        """The response that began last, as it is now; *status* in place of that it is open."""
        assert self._leg is not None
        is_open = self._outcome.status == "in_progress"
        outcome = LegOutcome(status) if is_open and status is not None else self._outcome
        output = self._output.now()
        return response_object(self._facts, self._leg.id, self._previous, outcome, output)

    # The text ------------------------------------------------------------------------------------

    def _text_start(self, chunk: TextStart) -> list[Json]:
        return self._part(TextItem, chunk.payload.id, chunk)

    def _reasoning_start(self, chunk: ReasoningStart) -> list[Json]:
        return self._part(ReasoningItem, chunk.payload.id, chunk)

    def _text_delta(self, chunk: TextDelta) -> list[Json]:
        return self._said(TextItem, chunk)

    def _reasoning_delta(self, chunk: ReasoningDelta) -> list[Json]:
        return self._said(ReasoningItem, chunk)

    def _said(self, kind: type[OutputItem], chunk: TextDelta | ReasoningDelta) -> list[Json]:
        id_ = chunk.payload.id
        events = [] if id_ in self._parts else self._part(kind, id_, chunk)
        return [*events, *self._output.delta(self._parts[id_], chunk.payload.text)]

    def _part_end(self, chunk: TextEnd | ReasoningEnd) -> list[Json]:
        item = self._parts.get(chunk.payload.id)
        return [] if item is None or not item.is_open else self._output.close(item, "completed")

    def _part(self, kind: type[OutputItem], id_: str, chunk: Chunk) -> list[Json]:
        is_text = kind is TextItem
        name = "msg" if is_text else "rs"
        item: Json = {
            "id": f"{name}_{self._facts.run_id}_{chunk.seq}",
            "type": "message" if is_text else "reasoning",
            "status": "in_progress",
            kind.said_in: [],
        }
        if is_text:
            item["role"] = "assistant"
        events = self._output.add(kind, item, chunk.task, chunk.seq)
        self._parts[id_] = self._output.items[-1]
        return events

    # Calls ---------------------------------------------------------------------------------------

    def _call_start(self, chunk: ToolCallInputStart) -> list[Json]:
        call = chunk.payload
        return self._calls.start(call.tool_call_id, call.tool_name, chunk.task, chunk.seq)

    def _call_delta(self, chunk: ToolCallDelta) -> list[Json]:
        return self._calls.delta(chunk.payload.tool_call_id, chunk.payload.arguments_text_delta)

    def _call_dropped(self, chunk: ToolCallDropped) -> list[Json]:
        return self._calls.drop(chunk.payload.tool_call_id)

    def _call(self, chunk: ToolCallRequested) -> list[Json]:
        call, place = chunk.payload, (chunk.task, chunk.seq)
        return self._calls.request(call.tool_call_id, call.tool_name, call.arguments, *place)

    def _approval(self, chunk: ToolCallApproval) -> list[Json]:
        return self._calls.approval(chunk.payload, chunk.task, chunk.seq)

    def _question(self, chunk: ToolCallSuspended) -> list[Json]:
        return self._calls.question(chunk.payload, chunk.task, chunk.seq)

    def _background(self, chunk: BackgroundTaskStarted) -> list[Json]:
        call = chunk.payload
        return self._calls.background(call.tool_call_id, call.tool_name, chunk.task, chunk.seq)

    def _result(self, chunk: ToolResult) -> list[Json]:
        call, place = chunk.payload, (chunk.task, chunk.seq)
        return self._calls.result(call.tool_call_id, call.tool_name, call.result, *place)

    def _failure(self, chunk: ToolError) -> list[Json]:
        call, place = chunk.payload, (chunk.task, chunk.seq)
        return self._calls.failure(call.tool_call_id, call.tool_name, call.error, *place)

    def _denied(self, chunk: ToolOutputDenied) -> list[Json]:
        reason = chunk.payload.approval.reason or "A person has declined the call."
        return self._failed(chunk, "Declined", reason)

    def _cancelled(self, chunk: BackgroundTaskCancelled) -> list[Json]:
        return self._failed(chunk, "Cancelled", chunk.payload.reason or "The call was cancelled.")

    def _failed(
        self, chunk: ToolOutputDenied | BackgroundTaskCancelled, name: str, message: str
    ) -> list[Json]:
        call, place = chunk.payload, (chunk.task, chunk.seq)
        error = ErrorInfo(name=name, message=message)
        return self._calls.failure(call.tool_call_id, call.tool_name, error, *place)

    # The run -------------------------------------------------------------------------------------

    def _reset(self, chunk: StepReset) -> list[Json]:
        if chunk.payload.tool_call_id is not None:
            # Only what a tool emitted, which is not shown here.
            return []
        self._calls.forget(chunk.task, chunk.payload.from_seq)
        return self._output.withdraw(chunk.task, chunk.payload.from_seq)

    def _step_finish(self, chunk: StepFinish) -> list[Json]:
        self._used += chunk.payload.output.usage
        self._reason = chunk.payload.step_result.reason
        return []

    def _outcome_of(self, ending: LegEnd) -> LegOutcome:
        usage = self._usage_at(ending)
        match ending:
            case Error():
                error = ending.payload.error
                return LegOutcome("failed", usage, error=f"{error.name}: {error.message}")
            case Abort():
                return LegOutcome("cancelled", usage, reason=ending.payload.reason)
            case Finish():
                reason = _INCOMPLETE.get(ending.payload.step_result.reason)
                return LegOutcome("incomplete" if reason else "completed", usage, reason=reason)
            case MessageApplied() if self._reason == "interrupted":
                return LegOutcome("incomplete", usage, reason=self._reason)
        return LegOutcome("completed", usage)

    def _usage_at(self, ending: LegEnd) -> Usage:
        """What this response used: all responses of a run together have what the run used."""
        if isinstance(ending, Finish):
            self._used = _without(ending.payload.output.usage, self._told)
        self._told += self._used
        return self._used


def _without(usage: Usage, told: Usage) -> Usage:
    counts = {name: getattr(usage, name) - getattr(told, name) for name in Usage.model_fields}
    return Usage(**counts)
