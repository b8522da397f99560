"""A run as the parts of messages: from chunks to events of the UI message stream, v1.

A run is one message of the client, whose id is the run's, and another one for each leg that answers
a message of the user; `places` says which one a leg adds to.  A leg that goes on after a decision
opens no step at first: what follows belongs to the calls of the step before, and the client, which
looks at its last step alone, must find them there.  A call of an earlier message that comes to
something in a later one is shown there again, under a name of its own.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from evented_agent.chunks import (
    Abort,
    AnyChunk,
    Error,
    Finish,
    MessageApplied,
    MessageDropped,
    MessageQueued,
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
    ToolCallDropped,
    ToolCallInputStart,
    ToolCallRequested,
    ToolCallSuspended,
    ToolError,
    ToolOutput,
    ToolOutputDenied,
    ToolResult,
)
from evented_agent.chunks.base import payload_json
from evented_agent.web.faces.ai_sdk.places import MessagePlaces
from evented_agent.web.faces.ai_sdk.shown import (
    ShownMessage,
    UiEvent,
    finish,
    given,
    input_of,
    input_start,
)
from evented_agent.web.faces.legs import Leg, LegEnd

_REASONS = ("length", "content-filter", "interrupted")
_BACKGROUND = "background-task-"


class UiMessageTranslator:
    """Makes the events of a run's messages, leg by leg.

    Attributes:
        id: The id of the message that the leg adds to which began last.
    """

    def __init__(self, run_id: str) -> None:
        self.id = run_id
        self._run_id = run_id
        self._places = MessagePlaces(run_id)
        self._messages: dict[str, ShownMessage] = {}
        self._message = ShownMessage("")
        self._step = 0
        self._is_step_open = False
        #: Why the last step ended.
        self._reason = ""
        #: The parts that are open, each with its kind.
        self._open: dict[str, str] = {}
        #: What calls are named in the run, by their ids; the last of that id.
        self._names: dict[str, str] = {}
        #: What they were called with: the tool and its arguments.
        self._given: dict[str, tuple[str, Any]] = {}

    def begin(self, leg: Leg, chunk: AnyChunk) -> Sequence[UiEvent]:
        self.id = self._places.begin(leg, chunk)
        self._message = self._messages.setdefault(self.id, ShownMessage(f":{leg.first}"))
        named = {"messageId": self.id, "messageMetadata": {"runId": self._run_id}}
        return [{"type": "start", **named}]

    def feed(self, chunk: AnyChunk) -> Sequence[UiEvent]:
        self._places.feed(chunk)
        made = self._events.get(type(chunk))
        if made is not None:
            return made(self, chunk)
        if chunk.type.startswith(_BACKGROUND):
            return self._background(chunk)
        if chunk.type.startswith("data-"):
            return self._data({"type": chunk.type, "data": chunk.payload}, chunk)
        return []

    def end(self, ending: LegEnd) -> Sequence[UiEvent]:
        events = self._ending(ending)
        # A message that nothing answers has no part in what a retry makes of the run.
        self.id = self._places.id
        self._message = self._messages[self.id]
        return events

    def _ending(self, ending: LegEnd) -> Sequence[UiEvent]:
        events = [*self._close_step()]
        match ending:
            case Finish():
                reason = ending.payload.step_result.reason
                events += self._last_step(ending)
                events.append(finish(reason if reason in _REASONS else "stop"))
            case Error():
                error = ending.payload.error
                events.append({"type": "error", "errorText": error.message or error.name})
                events.append(finish("error"))
            case Abort():
                events += self._last_step(ending)
                events.append({"type": "abort", **given(reason=ending.payload.reason)})
                events.append(finish("other"))
            case RunWaiting() | MessageApplied():
                if set(self._message.calls.values()) == {"complete"}:
                    events += self._last_step(ending)
                cut = "interrupted" if self._reason == "interrupted" else "stop"
                waits = isinstance(ending, RunWaiting)
                events.append(finish("tool-calls" if waits else cut))
        return events

    # Steps ----------------------------------------------------------------------------------------

    def _step_start(self, chunk: StepStart) -> Sequence[UiEvent]:
        self._step = chunk.payload.step
        return self._new_step(self._step)

    def _step_finish(self, chunk: StepFinish) -> Sequence[UiEvent]:
        self._reason = chunk.payload.step_result.reason
        return self._close_step()

    def _new_step(self, step: int) -> Sequence[UiEvent]:
        events = self._close_step()
        self._message.begin_step(step)
        return [*events, self._open_step()]

    def _open_step(self) -> UiEvent:
        self._is_step_open = True
        return {"type": "start-step"}

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
        if not self._message.calls:
            return []
        self._message.calls.clear()
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
        message = self._message
        if chunk.task != f"{message.step}:model":
            return []
        self._open.clear()
        # A run that had failed has closed the step.
        begun = [] if self._is_step_open else [self._open_step()]
        return [{"type": "reset-step"}, *begun, *message.reset_step()]

    # What a model says ----------------------------------------------------------------------------

    def _part_start(self, chunk: TextStart | ReasoningStart) -> Sequence[UiEvent]:
        self._message.show_step()
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
        self._message.show_step()
        payload = chunk.payload
        if payload.url is None:
            return [{"type": "data-source", "data": payload_json(payload)}]
        named = {"sourceId": f"source-{chunk.seq}", "url": payload.url}
        return [{"type": "source-url", **named, **given(title=payload.title)}]

    # Calls ----------------------------------------------------------------------------------------

    def _input_start(self, chunk: ToolCallInputStart) -> Sequence[UiEvent]:
        payload = chunk.payload
        return [input_start(self._call(payload.tool_call_id), payload.tool_name)]

    def _input_delta(self, chunk: ToolCallDelta) -> Sequence[UiEvent]:
        payload = chunk.payload
        delta = {
            "toolCallId": self._names[payload.tool_call_id],
            "inputTextDelta": payload.arguments_text_delta,
        }
        return [{"type": "tool-input-delta", **delta}]

    def _dropped(self, chunk: ToolCallDropped) -> Sequence[UiEvent]:
        """The model was cut short in the call, which is not made."""
        payload = chunk.payload
        call = self._message.names.get(self._names.get(payload.tool_call_id, ""))
        if call is None:
            return []
        self._message.mark(call, "complete")
        why = "A message came, and the call was not made."
        named = {"toolCallId": call, "toolName": payload.tool_name, "dynamic": True}
        return [{"type": "tool-input-error", **named, "input": {}, "errorText": why}]

    def _requested(self, chunk: ToolCallRequested) -> Sequence[UiEvent]:
        payload = chunk.payload
        call = self._call(payload.tool_call_id)
        self._given[call] = (payload.tool_name, payload.arguments)
        return [input_of(call, payload.tool_name, payload.arguments)]

    def _approval(self, chunk: ToolCallApproval) -> Sequence[UiEvent]:
        call, shown = self._shown(chunk)
        self._message.mark(call, "called")
        asked = {"approvalId": self._question(chunk.seq), "toolCallId": call}
        asks_again = chunk.payload.suspend_payload or {}
        reason = given(reason=asks_again.get("reason"))
        return [*shown, *self._about({"type": "tool-approval-request", **asked, **reason})]

    def _suspended(self, chunk: ToolCallSuspended) -> Sequence[UiEvent]:
        """A tool's question: an output that the client adds to the call is the answer."""
        (call, shown), payload = self._shown(chunk), chunk.payload
        asked = {
            "toolCallId": call,
            "toolName": payload.tool_name,
            "payload": payload.suspend_payload,
            "schema": payload.resume_schema,
        }
        event = {"type": "data-suspended", "id": self._question(chunk.seq), "data": asked}
        told = [*shown, *self._data(event, chunk)]
        if self._message.calls.get(call, "called") == "called":
            return told
        # It has an output: the answer to an earlier question, or what its tool emitted.
        self._message.mark(call, "called")
        return [*self._about(input_of(call, payload.tool_name, payload.arguments)), *told]

    def _decided(self, chunk: ToolCallDecided) -> Sequence[UiEvent]:
        call, payload = self._name_of(chunk), chunk.payload
        told = {**payload_json(payload), "toolCallId": call}
        if payload.number is None:
            return self._data({"type": "data-decided", "data": told}, chunk)
        question = self._question(payload.number)
        events = self._data({"type": "data-decided", "id": question, "data": told}, chunk)
        if self._places.place_of(payload.number) != self.id:
            # The client knows no such question in this message.
            return events
        self._message.mark(call, "complete")
        if payload.approved is None:
            return events
        answer = {"approvalId": question, "approved": payload.approved}
        reason = given(reason=payload.reason)
        return [*self._about({"type": "tool-approval-response", **answer, **reason}, call), *events]

    def _output(self, chunk: ToolOutput) -> Sequence[UiEvent]:
        call, shown = self._shown(chunk)
        self._message.mark(call, "shown")
        output = {"toolCallId": call, "output": chunk.payload.output, "preliminary": True}
        return [*shown, *self._about({"type": "tool-output-available", **output})]

    def _result(self, chunk: ToolResult) -> Sequence[UiEvent]:
        return self._outcome(chunk, "tool-output-available", output=chunk.payload.result)

    def _error(self, chunk: ToolError) -> Sequence[UiEvent]:
        error = chunk.payload.error
        return self._outcome(chunk, "tool-output-error", errorText=error.message or error.name)

    def _denied(self, chunk: ToolOutputDenied) -> Sequence[UiEvent]:
        return self._outcome(chunk, "tool-output-denied")

    def _outcome(self, chunk: AnyChunk, type_: str, **outcome: Any) -> Sequence[UiEvent]:
        call, shown = self._shown(chunk)
        self._message.mark(call, "complete")
        return [*shown, *self._about({"type": type_, "toolCallId": call, **outcome})]

    def _call(self, call_id: str) -> str:
        """The name of a call of this step: ids of models repeat between runs, and even steps."""
        call = self._names[call_id] = f"{self._run_id}:{self._step}:{call_id}"
        self._message.add(call, call)
        return call

    def _known_as(self, chunk: Any) -> str:
        """The name in the run of the call that a chunk is about, perhaps of an earlier step."""
        call_id: str = chunk.payload.tool_call_id
        step, kind, _ = f"{chunk.task}::".split(":", 2)
        if kind == "tool":
            return f"{self._run_id}:{step}:{call_id}"
        return self._names.get(call_id, call_id)

    def _name_of(self, chunk: Any) -> str:
        """What that call is named in the message, if it is in it."""
        call = self._known_as(chunk)
        return self._message.names.get(call, call)

    def _shown(self, chunk: Any) -> tuple[str, Sequence[UiEvent]]:
        """What that call is named in the message, and what shows it where it is in another one."""
        known = self._known_as(chunk)
        call = self._message.names.get(known)
        if call is not None:
            return call, []
        opened = [] if self._is_step_open else self._new_step(0)
        call = f"{known}{self._message.suffix}"
        self._message.add(known, call)
        self._message.again.add(call)
        tool, arguments = self._given.get(known, (chunk.payload.tool_name, {}))
        events = [input_start(call, tool), input_of(call, tool, arguments)]
        return call, [*opened, *(each for event in events for each in self._about(event))]

    def _about(self, event: UiEvent, call: str | None = None) -> Sequence[UiEvent]:
        return self._message.about(event, call or event["toolCallId"])

    def _question(self, number: int) -> str:
        return f"{self._run_id}:{number}"

    # What the protocol has no word for ------------------------------------------------------------

    def _sent(self, chunk: MessageQueued | MessageApplied | MessageDropped) -> Sequence[UiEvent]:
        """A message to the run; what answers it are the events of its leg."""
        status = chunk.type.removeprefix("message-")
        data = {**payload_json(chunk.payload), "status": status}
        told: UiEvent = {"type": "data-message", "data": data, "transient": True}
        if not isinstance(chunk, MessageApplied) or self._is_step_open:
            return [told]
        return [*self._new_step(chunk.payload.step), told]

    def _waiting(self, chunk: RunWaiting) -> Sequence[UiEvent]:
        known = [self._names.get(call, call) for call in chunk.payload.calls]
        calls = [self._message.names.get(call, call) for call in known]
        data = {**payload_json(chunk.payload), "calls": calls}
        return [{"type": "data-waiting", "data": data, "transient": True}]

    def _background(self, chunk: AnyChunk) -> Sequence[UiEvent]:
        told: Mapping[str, Any] = payload_json(chunk.payload)
        if "taskId" not in told:
            return [{"type": "data-background-progress", "data": told, "transient": True}]
        status = chunk.type.removeprefix(_BACKGROUND)
        data = {**told, "toolCallId": self._name_of(chunk), "status": status}
        return self._data({"type": "data-background", "id": told["taskId"], "data": data}, chunk)

    def _data(self, event: UiEvent, chunk: AnyChunk) -> Sequence[UiEvent]:
        self._message.show_step()
        if chunk.task != f"{self._message.step}:model":
            self._message.told[event["type"], event.get("id", chunk.seq)] = event
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
        ToolCallDropped: _dropped,
        ToolOutput: _output,
        ToolResult: _result,
        ToolError: _error,
        ToolOutputDenied: _denied,
        RunWaiting: _waiting,
        MessageQueued: _sent,
        MessageApplied: _sent,
        MessageDropped: _sent,
    }
