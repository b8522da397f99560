"""Whether this process traces, and where callers and workers begin to.

Imports OpenTelemetry only in processes where something else has configured it: everywhere else this
does nothing, and costs nothing.
"""

import sys
import time
from collections.abc import Set
from typing import Protocol

from evented_agent.ledger.records import Claim, Record
from evented_agent.ledger.settings import Settings
from evented_agent.telemetry.conventions import CONVERSATION, RUN
from evented_agent.telemetry.spans import AttemptTrace, CallerSpan, harmless

#: What stands for a provider that nobody has set, by the names of the API's own classes.
_UNSET = ("ProxyTracerProvider", "NoOpTracerProvider", "_ProxyMeterProvider", "NoOpMeterProvider")

#: Seconds after which attempts without a provider look for one again.
_LOOK_AGAIN = 1.0


def is_traced(settings: Settings) -> bool:
    """Whether this process has somebody to tell: a tracer or meter provider that was set."""
    if not settings.tracing:
        return False
    # Whoever sets a provider has imported the API.
    tracing, metering = map(sys.modules.get, ("opentelemetry.trace", "opentelemetry.metrics"))
    found = [
        None if tracing is None else tracing.get_tracer_provider(),
        None if metering is None else metering.get_meter_provider(),
    ]
    return any(each is not None and type(each).__name__ not in _UNSET for each in found)


class Recorder(Protocol):
    """What the module that imports OpenTelemetry has."""

    def record_start(self, agent_id: str, version: str | None) -> CallerSpan: ...

    def record_decision(self, record: Record, calls: Set[str | None]) -> CallerSpan: ...

    def record_attempt(self, claim: Claim) -> AttemptTrace: ...


_NO_SPAN, _NO_TRACE = CallerSpan(), AttemptTrace()


def recorder() -> Recorder:
    """The module that imports OpenTelemetry, imported at its first use."""
    from evented_agent.telemetry import recording

    return recording


@harmless(_NO_SPAN)
def starting(settings: Settings, agent_id: str, version: str | None) -> CallerSpan:
    """The span of a run's start: all that the run does later are its children.

    Those of a child run are children of the one that `AttemptTrace.begin_child` makes.
    """
    return recorder().record_start(agent_id, version) if is_traced(settings) else _NO_SPAN


def following_span(settings: Settings, before: Record, run_id: str) -> CallerSpan:
    """The span of the start of a run that answers what was left of the one *before*."""
    span = starting(settings, before.fields["agent"], before.fields.get("agent_version"))
    span.about(RUN, run_id)
    span.about(CONVERSATION, before.fields.get("thread"))
    return span


@harmless(_NO_SPAN)
def deciding(settings: Settings, record: Record, calls: Set[str | None]) -> CallerSpan:
    """The span of people's decisions about *calls*, in the trace of the run that they are of.

    None among the calls is for the one that waits.
    """
    if not record.fields.get("trace") or not is_traced(settings):
        return _NO_SPAN
    return recorder().record_decision(record, calls)


class Tracing:
    """Lets the attempts of one process go on with the traces of their runs.

    Where no provider is set, the next attempts of that second are not traced: they only compare
    two times.
    """

    def __init__(self) -> None:
        self._next_look = 0.0

    def join(self, settings: Settings, claim: Claim) -> AttemptTrace:
        """Go on with a run's trace: for all that the current context does from now on."""
        now = time.monotonic()
        return _NO_TRACE if now < self._next_look else self._look(now, settings, claim)

    @harmless(_NO_TRACE)
    def _look(self, now: float, settings: Settings, claim: Claim) -> AttemptTrace:
        if is_traced(settings):
            return recorder().record_attempt(claim)
        self._next_look = now + _LOOK_AGAIN
        return _NO_TRACE
