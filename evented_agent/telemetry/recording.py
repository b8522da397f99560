"""Spans and metrics as OpenTelemetry takes them.  The only module that imports it."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Set
from contextvars import Token
from types import TracebackType
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)
from typing_extensions import override

from evented_agent.agents.tools.agent_tool import AgentTool
from evented_agent.agents.tools.tool import Tool
from evented_agent.chunks.json_values import error_text
from evented_agent.ledger.records import Claim, Record, Task
from evented_agent.logs import logger_of
from evented_agent.models.messages import ToolCall
from evented_agent.models.protocol import Model, ModelEvent, ModelRequest
from evented_agent.state.journal import Turn
from evented_agent.telemetry import conventions as names
from evented_agent.telemetry.content import (
    answer_content,
    as_text,
    is_wanted,
    request_content,
)
from evented_agent.telemetry.conventions import Attributes
from evented_agent.telemetry.measuring import instruments
from evented_agent.telemetry.spans import AttemptTrace, CallerSpan, harmless
from evented_agent.telemetry.trace_context import TraceContext, parse_stored

logger = logger_of(__name__)

#: Who traces, for samplers and views that choose by it.
SCOPE = "evented_agent"
#: Most characters of an error's text in a span.
_MOST_TEXT = 1000

_tracer: tuple[object, trace.Tracer] | None = None


def tracer() -> trace.Tracer:
    """The tracer of the provider of now; making one anew for each span costs more than the span."""
    global _tracer  # noqa: PLW0603 - there is one provider in a process
    provider = trace.get_tracer_provider()
    if _tracer is None or _tracer[0] is not provider:
        _tracer = provider, trace.get_tracer(SCOPE, tracer_provider=provider)
    return _tracer[1]


class _Current:
    """A span that what happens meanwhile in this context is part of."""

    def __init__(self, span: Span) -> None:
        self.span = span
        self._token: Token[otel_context.Context] | None = otel_context.attach(
            trace.set_span_in_context(span)
        )

    def leave(self) -> None:
        token, self._token = self._token, None
        if token is not None:
            otel_context.detach(token)


class _RecordedCall(CallerSpan):
    def __init__(self, span: Span, *, stores: bool = False) -> None:
        self._current = _Current(span)
        if stores:
            self.stored = _stored(span.get_span_context())

    @override
    @harmless(None)
    def about(self, name: str, value: str | int | float | None) -> None:
        if value is not None:
            self._current.span.set_attribute(name, value)

    @override
    @harmless(None)
    def failed(self, error_type: str, message: str) -> None:
        _mark_failed(self._current.span, error_type, message)

    @override
    @harmless(None)
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None and not isinstance(error, GeneratorExit):
            _mark_failed(self._current.span, names.error_type(error), error_text(error))
        self._current.leave()
        self._current.span.end()


def record_start(agent_id: str, version: str | None) -> CallerSpan:
    attributes: Attributes = {names.OPERATION: "invoke_agent", names.AGENT: agent_id}
    if version:
        attributes[names.AGENT_VERSION] = version
    span = tracer().start_span(f"invoke_agent {agent_id}", attributes=attributes)
    return _RecordedCall(span, stores=True)


def record_decision(record: Record, calls: Set[str | None]) -> CallerSpan:
    waiting = [
        task
        for task in record.tasks
        if task.suspended is not None and (None in calls or task.call in calls)
    ]
    # About calls of one child run, it is in that one.
    meant = {task.own_run_id for task in waiting}
    run_id = meant.pop() if len(meant) == 1 else record.run_id
    own = record.children.get(run_id, record.fields)
    parent = _parent(str(own.get("trace") or record.fields["trace"]))
    if parent is None:
        return CallerSpan()
    # Who decides has a trace of their own, days later: a link leads there.
    here = trace.get_current_span()
    links = [trace.Link(here.get_span_context())] if here.get_span_context().is_valid else []
    agent = str(own["agent"])
    attributes: Attributes = {names.AGENT: agent, names.RUN: run_id}
    if "thread" in record.fields:
        attributes[names.CONVERSATION] = record.fields["thread"]
    since = [task.suspended.at for task in waiting if task.suspended is not None]
    if since:
        attributes[names.WAITED] = (record.now - min(since)) / 1000
    span = tracer().start_span(f"resume_run {agent}", parent, attributes=attributes, links=links)
    here.add_link(span.get_span_context())
    return _RecordedCall(span)


def record_attempt(claim: Claim) -> AttemptTrace:
    parent = None if claim.trace is None else _parent(claim.trace)
    if parent is not None:
        # Never detached: the context is the attempt's own, and the next attempt sets its own.
        otel_context.attach(parent)
    return _RecordedAttempt(claim)


def _parent(stored: str) -> otel_context.Context | None:
    """The context of the run's span; None where what is stored is none."""
    found = parse_stored(stored)
    if found is None:
        logger.warning("A run's record names no span that could be: %.60r", stored)
        return None
    context = SpanContext(
        found.trace_id,
        found.span_id,
        is_remote=True,
        trace_flags=TraceFlags(found.flags),
        trace_state=TraceState.from_header([found.state]) if found.state else None,
    )
    return trace.set_span_in_context(NonRecordingSpan(context))


def _stored(context: SpanContext) -> str:
    if not context.is_valid:
        return ""
    state = context.trace_state.to_header() if context.trace_state else ""
    return TraceContext(context.trace_id, context.span_id, context.trace_flags & 3, state).stored()


def _mark_failed(span: Span, error_type: str, message: str) -> None:
    span.set_attribute(names.ERROR, error_type)
    span.set_status(Status(StatusCode.ERROR, message[:_MOST_TEXT] or error_type))


class _RecordedAttempt(AttemptTrace):
    """One attempt; its call, if it makes one, is a span of its own."""

    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        self._began = time.time_ns()
        self._call: _Call | None = None

    @override
    @harmless(None)
    def begin_model_call(self, model: Model, request: ModelRequest) -> None:
        about = names.model_attributes(model.name, getattr(model, "server_address", None))
        attributes = about | names.request_attributes(request) | self._of_attempt()
        if is_wanted():
            attributes |= request_content(request)
        name = f"chat {about[names.REQUEST_MODEL]}"
        self._call = _ModelCall(name, SpanKind.CLIENT, attributes, about)

    @override
    def watch(self, events: AsyncIterator[ModelEvent]) -> AsyncIterator[ModelEvent]:
        call = self._call
        return _noting_first(events, call) if isinstance(call, _ModelCall) else events

    @override
    @harmless(None)
    def answered(self, turn: Turn) -> None:
        if isinstance(self._call, _ModelCall):
            self._call.answered(turn)

    @override
    @harmless(None)
    def begin_tool_call(self, tool: Tool, call: ToolCall) -> None:
        about: Attributes = {
            names.OPERATION: "execute_tool",
            names.TOOL: tool.name,
            "gen_ai.tool.type": "function",
            names.AGENT: self._claim.agent,
        }
        attributes = about | self._of_attempt() | {names.CALL_ID: call.id}
        if is_wanted():
            attributes["gen_ai.tool.call.arguments"] = as_text(call.arguments)
        kind = _AgentCall if isinstance(tool, AgentTool) else _Call
        self._call = kind(f"execute_tool {tool.name}", SpanKind.INTERNAL, attributes, about)

    @override
    @harmless(CallerSpan())
    def begin_child(self, agent_id: str, version: str) -> CallerSpan:
        span = record_start(agent_id, version)
        span.about(names.CONVERSATION, self._conversation)
        return span

    @override
    @harmless(None)
    def returned(self, value: Any) -> None:
        if self._call is not None:
            self._call.over()
            if is_wanted():
                self._call.span.set_attribute("gen_ai.tool.call.result", as_text(value))

    @override
    @harmless(None)
    def asks_person(self, call: str, tool: str, kind: str) -> None:
        if self._call is not None:
            attributes = {names.TOOL: tool, names.CALL_ID: call, names.SUSPENSION: kind}
            self._call.span.add_event(names.SUSPENDED, attributes)

    @override
    @harmless(None)
    def failed(self, error: BaseException | str, message: str = "") -> None:
        if self._call is None:
            return
        if isinstance(error, str):
            self._call.failed(error, message)
        else:
            self._call.failed(names.error_type(error), message or error_text(error))

    @override
    @harmless(None)
    def ended_run(self, status: str, reason: str, error: BaseException | None = None) -> None:
        attributes = self._of_attempt() | {names.STATUS: status, names.FINISH_REASON: reason}
        began = self._began
        if self._call is not None:
            # It is a child of the run's span, not of the call that was the last.
            self._call.current.leave()
            began = time.time_ns()
        name = f"end_run {self._claim.agent}"
        span = tracer().start_span(name, attributes=attributes, start_time=began)
        if status == "failed":
            about = ("error", reason) if error is None else (names.error_type(error), "")
            _mark_failed(span, *about)
        span.end()

    @override
    @harmless(None)
    def aborted_run(self, record: Record, reason: str) -> None:
        if not self._claim.task.branch:
            self.ended_run("aborted", reason)
            return
        # What has ended is the tree, not the child run whose attempt was the last.
        agent, stored = record.fields["agent"], record.fields.get("trace")
        attributes: Attributes = {
            names.AGENT: agent,
            names.RUN: record.run_id,
            names.STATUS: "aborted",
            names.FINISH_REASON: reason,
        }
        parent = _parent(stored) if stored else None
        tracer().start_span(f"end_run {agent}", parent, attributes=attributes).end()

    @override
    @harmless(None)
    def end(self, given_up: str | None = None) -> None:
        call, self._call = self._call, None
        if call is not None:
            if given_up is not None:
                call.failed(given_up, f"The attempt came to nothing: {given_up}")
            call.end()

    def _of_attempt(self) -> Attributes:
        claim, task = self._claim, self._claim.task
        found: Attributes = {
            names.AGENT: claim.agent,
            names.RUN: task.own_run_id,
            names.STEP: task.step,
            names.ATTEMPT: task.generation,
        }
        if self._conversation is not None:
            found[names.CONVERSATION] = self._conversation
        return found | _crashes(task)

    @property
    def _conversation(self) -> str | None:
        """The thread; of a child run that of the run which was started, to be found by it."""
        return self._claim.thread or self._claim.conversation


def _crashes(task: Task) -> Attributes:
    """Attempts before this one whose worker died: their spans died with it."""
    return {names.CRASHES: task.crashes} if task.crashes else {}


class _Call:
    """A call of a tool: its span, and how long it took."""

    def __init__(
        self, name: str, kind: SpanKind, attributes: Attributes, about: Attributes
    ) -> None:
        self.about = about
        self._began = time.time_ns()
        self._clock = time.perf_counter()
        self._seconds: float | None = None
        self.span = tracer().start_span(
            name, kind=kind, attributes=attributes, start_time=self._began
        )
        self.current = _Current(self.span)

    @property
    def elapsed(self) -> float:
        return time.perf_counter() - self._clock

    def over(self) -> None:
        """The call is over; what came of it is not yet committed."""
        if self._seconds is None:
            self._seconds = self.elapsed

    def failed(self, error_type: str, message: str) -> None:
        self.over()
        self.about = self.about | {names.ERROR: error_type}
        _mark_failed(self.span, error_type, message)

    def end(self) -> None:
        self.over()
        self.current.leave()
        seconds = self._seconds or 0.0
        self.measure(seconds)
        self.span.end(self._began + int(seconds * 1e9))

    def measure(self, seconds: float) -> None:
        instruments().tool_duration.record(seconds, self.about)


class _AgentCall(_Call):
    """A call of an agent: the span says that a child run began, not how long it takes."""

    @override
    def measure(self, seconds: float) -> None:
        pass


class _ModelCall(_Call):
    """A call of a model."""

    _first: float | None = None
    _usage: dict[str, int] | None = None

    @harmless(None)
    def first_event(self) -> None:
        self._first = self.elapsed
        self.span.set_attribute(names.FIRST_CHUNK, self._first)

    def answered(self, turn: Turn) -> None:
        self.over()
        self._usage = names.usage_attributes(turn.usage)
        found: Attributes = {names.FINISH_REASONS: [names.finish_reason(turn.reason)]}
        found |= {f"gen_ai.usage.{name}": count for name, count in self._usage.items()}
        if is_wanted():
            found |= answer_content(turn)
        self.span.set_attributes(found)

    @override
    def failed(self, error_type: str, message: str) -> None:
        if self._usage is None:
            self.span.set_attribute(names.FINISH_REASONS, ["error"])
        super().failed(error_type, message)

    @override
    def measure(self, seconds: float) -> None:
        instruments().model_call(seconds, self._first, self._usage, self.about)


async def _noting_first(
    events: AsyncIterator[ModelEvent], call: _ModelCall
) -> AsyncGenerator[ModelEvent, None]:
    try:
        async for event in events:
            call.first_event()
            yield event
            break
        async for event in events:
            yield event
        call.over()
    finally:
        if isinstance(events, AsyncGenerator):
            await events.aclose()
