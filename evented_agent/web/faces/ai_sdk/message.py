"""A run as the parts of one message: from chunks to events of the UI message stream, v1.

The whole run is one message of the client, whose id is the run's; each leg adds to it.  A leg that
goes on after a decision opens no step at first: what follows belongs to the calls of the step
before, and the client, which looks at its last step alone, must find them there.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

from evented_agent.chunks import (
    Abort,
    AnyChunk,
    Error,
    Finish,
    Object,
    ReasoningDelta,
    ReasoningEnd,
    ReasoningStart,
    RunWaiting,
    Source,
    StepFinish,
    StepReset,
    StepStart,
    TextDelta,
    TextEnd,
    TextStart,
    ToolCallApproval,
    ToolCallDecided,
    ToolCallDelta,
    ToolCallInputStart,
    ToolCallRequested,
    ToolCallSuspended,
    ToolError,
    ToolOutput,
    ToolOutputDenied,
    ToolResult,
)
from evented_agent.chunks.base import payload_json
from evented_agent.web.faces.legs import Leg, LegEnd

#: One event: what its `data:` line holds, as JSON.
UiEvent = dict[str, Any]
#: A call that is made; one that has an output, though not its last; one that is complete.
_Progress = Literal["called", "shown", "complete"]

_REASONS = ("length", "content-filter")
_BACKGROUND = "background-task-"


class UiMessageTranslator:
    """Makes the events of a run's message, leg by leg."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._step = 0
        self._is_step_open = False
        #: Whether the client shows it: not before it has a part.
        self._is_step_shown = False
        #: The parts that are open, each with its kind.
        self._open: dict[str, str] = {}
        #: What calls are named in the message, by their ids in the run; the last of that id.
        self._names: dict[str, str] = {}
        #: The calls of the last step that the client shows, and how far it takes each to be.
        self._calls: dict[str, _Progress] = {}
        #: What was told in that step by others than its model, which no reset of the model undoes;
        #: the last of each kind and id.
        self._told: dict[object, UiEvent] = {}

    def begin(self, _: Leg) -> Sequence[UiEvent]:
        named = {"messageId": self._run_id, "messageMetadata": {"runId": self._run_id}}
        return [{"type": "start", **named}]

    def feed(self, chunk: AnyChunk) -> Sequence[UiEvent]:
        made = self._events.get(type(chunk))
        if made is not None:
            return made(self, chunk)
        if chunk.type.startswith(_BACKGROUND):
            return self._background(chunk)
        if chunk.type.startswith("data-"):
            return self._data({"type": chunk.type, "data": chunk.payload}, chunk)
        return []

    def end(self, ending: LegEnd) -> Sequence[UiEvent]:
        events = [*self._close_step()]
        match ending:
            case Finish():
                reason = ending.payload.step_result.reason
                events += self._last_step(ending)
                events.append(_finish(reason if reason in _REASONS else "stop"))
            case Error():
                error = ending.payload.error
                events.append({"type": "error", "errorText": error.message or error.name})
                events.append(_finish("error"))
            case Abort():
                events += self._last_step(ending)
                events.append({"type": "abort", **_given(reason=ending.payload.reason)})
                events.append(_finish("other"))
            case RunWaiting():
                if set(self._calls.values()) == {"complete"}:
                    events += self._last_step(ending)
                events.append(_finish("tool-calls"))
        return events

    # Steps ----------------------------------------------------------------------------------------

    def _step_start(self, chunk: StepStart) -> Sequence[UiEvent]:
        events = self._close_step()
        self._step = chunk.payload.step
        self._is_step_shown = False
        self._told.clear()
        return [*events, self._open_step()]

    def _step_finish(self, _: StepFinish) -> Sequence[UiEvent]:
        return self._close_step()

    def _open_step(self) -> UiEvent:
        self._is_step_open = True
        return {"type": "start-step"}

    def _show_step(self) -> None:
        """The step has a part; only now is it the last one for the client."""
        if not self._is_step_shown:
            self._is_step_shown = True
            self._calls.clear()

    def _close_step(self) -> Sequence[UiEvent]:
        events = [{"type": f"{kind}-end", "id": id_} for id_, kind in self._open.items()]
        self._open.clear()
        if self._is_step_open:
            self._is_step_open = False
            events.append({"type": "finish-step"})
        return events

    def _last_step(self, ending: LegEnd) -> Sequence[UiEvent]:
        """A step behind one that has calls, so that no client asks for what follows from them.

        It posts by itself where the calls of its last step are complete; an empty text is needed,
        since it shows no step without parts.
        """
        if not self._calls:
            return []
        self._calls.clear()
        name = {"id": f"end-{ending.seq}"}
        return [
            {"type": "start-step"},
            {"type": "text-start", **name},
            {"type": "text-end", **name},
            {"type": "finish-step"},
        ]

    def _reset(self, chunk: StepReset) -> Sequence[UiEvent]:
        """The client drops all that came since the last step began; so only for a model's output.

        What a tool had emitted stays until its result takes its place.
        """
        if chunk.task != f"{self._step}:model":
            return []
        self._open.clear()
        if self._is_step_shown:
            self._calls.clear()
        # A run that had failed has closed the step.
        begun = [] if self._is_step_open else [self._open_step()]
        return [{"type": "reset-step"}, *begun, *self._told.values()]

    # What a model says ----------------------------------------------------------------------------

    def _part_start(self, chunk: TextStart | ReasoningStart) -> Sequence[UiEvent]:
        self._show_step()
        self._open[chunk.payload.id] = chunk.type.removesuffix("-start")
        return [{"type": chunk.type, "id": chunk.payload.id}]

    def _part_delta(self, chunk: TextDelta | ReasoningDelta) -> Sequence[UiEvent]:
        payload = chunk.payload
        return [{"type": chunk.type, "id": payload.id, "delta": payload.text}]

    def _part_end(self, chunk: TextEnd | ReasoningEnd) -> Sequence[UiEvent]:
        if self._open.pop(chunk.payload.id, None) is None:
            return []
        return [{"type": chunk.type, "id": chunk.payload.id}]

    def _object(self, chunk: Object) -> Sequence[UiEvent]:
        return [{"type": "data-object", "data": chunk.payload.object, "transient": True}]

    def _source(self, chunk: Source) -> Sequence[UiEvent]:
        self._show_step()
        payload = chunk.payload
        if payload.url is None:
            return [{"type": "data-source", "data": payload_json(payload)}]
        named = {"sourceId": f"source-{chunk.seq}", "url": payload.url}
        return [{"type": "source-url", **named, **_given(title=payload.title)}]

    # Calls ----------------------------------------------------------------------------------------

    def _input_start(self, chunk: ToolCallInputStart) -> Sequence[UiEvent]:
        payload = chunk.payload
        named = {"toolCallId": self._call(payload.tool_call_id), "toolName": payload.tool_name}
        return [{"type": "tool-input-start", **named, "dynamic": True}]

    def _input_delta(self, chunk: ToolCallDelta) -> Sequence[UiEvent]:
        payload = chunk.payload
        delta = {
            "toolCallId": self._names[payload.tool_call_id],
            "inputTextDelta": payload.arguments_text_delta,
        }
        return [{"type": "tool-input-delta", **delta}]

    def _requested(
        self, chunk: ToolCallRequested | ToolCallApproval | ToolCallSuspended
    ) -> Sequence[UiEvent]:
        payload = chunk.payload
        named = {"toolCallId": self._call(payload.tool_call_id), "toolName": payload.tool_name}
        input_ = {"input": payload.arguments, "dynamic": True}
        return [{"type": "tool-input-available", **named, **input_}]

    def _approval(self, chunk: ToolCallApproval) -> Sequence[UiEvent]:
        call = self._named(chunk)
        self._mark(call, "called")
        asked = {"approvalId": self._question(chunk.seq), "toolCallId": call}
        asks_again = chunk.payload.suspend_payload or {}
        given = _given(reason=asks_again.get("reason"))
        return [{"type": "tool-approval-request", **asked, **given}]

    def _suspended(self, chunk: ToolCallSuspended) -> Sequence[UiEvent]:
        """A tool's question: an output that the client adds to the call is the answer."""
        call, payload = self._named(chunk), chunk.payload
        asked = {
            "toolCallId": call,
            "toolName": payload.tool_name,
            "payload": payload.suspend_payload,
            "schema": payload.resume_schema,
        }
        event = {"type": "data-suspended", "id": self._question(chunk.seq), "data": asked}
        told = self._data(event, chunk)
        if self._calls.get(call, "called") == "called":
            return told
        # It has an output: the answer to an earlier question, or what its tool emitted.
        return [*self._requested(chunk), *told]

    def _decided(self, chunk: ToolCallDecided) -> Sequence[UiEvent]:
        call, payload = self._named(chunk), chunk.payload
        told = {**payload_json(payload), "toolCallId": call}
        if payload.number is None:
            return self._data({"type": "data-decided", "data": told}, chunk)
        question = self._question(payload.number)
        events = self._data({"type": "data-decided", "id": question, "data": told}, chunk)
        self._mark(call, "complete")
        if payload.approved is None:
            return events
        answer = {"approvalId": question, "approved": payload.approved}
        given = _given(reason=payload.reason)
        return [{"type": "tool-approval-response", **answer, **given}, *events]

    def _output(self, chunk: ToolOutput) -> Sequence[UiEvent]:
        call = self._named(chunk)
        self._mark(call, "shown")
        output = {"toolCallId": call, "output": chunk.payload.output}
        return [{"type": "tool-output-available", **output, "preliminary": True}]

    def _result(self, chunk: ToolResult) -> Sequence[UiEvent]:
        call = self._named(chunk)
        self._mark(call, "complete")
        output = chunk.payload.result
        return [{"type": "tool-output-available", "toolCallId": call, "output": output}]

    def _error(self, chunk: ToolError) -> Sequence[UiEvent]:
        call, error = self._named(chunk), chunk.payload.error
        self._mark(call, "complete")
        text = error.message or error.name
        return [{"type": "tool-output-error", "toolCallId": call, "errorText": text}]

    def _denied(self, chunk: ToolOutputDenied) -> Sequence[UiEvent]:
        call = self._named(chunk)
        self._mark(call, "complete")
        return [{"type": "tool-output-denied", "toolCallId": call}]

    def _call(self, call_id: str) -> str:
        """The name of a call of this step: ids of models repeat between runs, and even steps."""
        self._show_step()
        call = self._names[call_id] = f"{self._run_id}:{self._step}:{call_id}"
        self._calls[call] = "called"
        return call

    def _named(self, chunk: Any) -> str:
        """The name of the call that a chunk is about, which may be one of an earlier step."""
        call_id: str = chunk.payload.tool_call_id
        step, kind, _ = f"{chunk.task}::".split(":", 2)
        if kind == "tool":
            return f"{self._run_id}:{step}:{call_id}"
        return self._names.get(call_id, call_id)

    def _mark(self, call: str, progress: _Progress) -> None:
        if call in self._calls:
            self._calls[call] = progress

    def _question(self, number: int) -> str:
        return f"{self._run_id}:{number}"

    # What the protocol has no word for ------------------------------------------------------------

    def _waiting(self, chunk: RunWaiting) -> Sequence[UiEvent]:
        calls = [self._names.get(call, call) for call in chunk.payload.calls]
        data = {**payload_json(chunk.payload), "calls": calls}
        return [{"type": "data-waiting", "data": data, "transient": True}]

    def _background(self, chunk: AnyChunk) -> Sequence[UiEvent]:
        told: Mapping[str, Any] = payload_json(chunk.payload)
        if "taskId" not in told:
            return [{"type": "data-background-progress", "data": told, "transient": True}]
        status = chunk.type.removeprefix(_BACKGROUND)
        data = {**told, "toolCallId": self._named(chunk), "status": status}
        return self._data({"type": "data-background", "id": told["taskId"], "data": data}, chunk)

    def _data(self, event: UiEvent, chunk: AnyChunk) -> Sequence[UiEvent]:
        self._show_step()
        if chunk.task != f"{self._step}:model":
            self._told[event["type"], event.get("id", chunk.seq)] = event
        return [event]

    #: What is made of the chunks of each class.
    _events: ClassVar[Mapping[type[Any], Callable[[Any, Any], Sequence[UiEvent]]]] = {
        TextDelta: _part_delta,
        TextStart: _part_start,
        TextEnd: _part_end,
        ReasoningStart: _part_start,
        ReasoningDelta: _part_delta,
        ReasoningEnd: _part_end,
        StepStart: _step_start,
        StepFinish: _step_finish,
        StepReset: _reset,
        Object: _object,
        Source: _source,
        ToolCallInputStart: _input_start,
        ToolCallDelta: _input_delta,
        ToolCallRequested: _requested,
        ToolCallApproval: _approval,
        ToolCallSuspended: _suspended,
        ToolCallDecided: _decided,
        ToolOutput: _output,
        ToolResult: _result,
        ToolError: _error,
        ToolOutputDenied: _denied,
        RunWaiting: _waiting,
    }


def _finish(reason: str) -> UiEvent:
    return {"type": "finish", "finishReason": reason}


def _given(**fields: Any) -> Mapping[str, Any]:
    """The fields that have a value: the client takes null for none of them."""
    return {name: value for name, value in fields.items() if value is not None}
