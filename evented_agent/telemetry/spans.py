"""What callers and workers trace, where nobody listens: nothing.  Imports no OpenTelemetry."""

import functools
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from evented_agent.agents.tools.tool import Tool
from evented_agent.ledger.records import Record
from evented_agent.logs import logger_of
from evented_agent.models.messages import ToolCall
from evented_agent.models.protocol import Model, ModelEvent, ModelRequest
from evented_agent.state.journal import Turn

logger = logger_of(__name__)

_P = ParamSpec("_P")
_T = TypeVar("_T")


class CallerSpan:
    """What a caller does to a run, as a span; enter it for as long as that takes.

    This one is of a process without OpenTelemetry.

    Attributes:
        stored: What the run's record keeps, so that all that follows is in the same trace; empty
            where there is nothing to keep.
    """

    stored: str = ""

    def about(self, name: str, value: str | int | float | None) -> None:
        """Say more about it, by a name of `conventions`; None says nothing."""

    def failed(self, error_type: str, message: str) -> None:
        """It was refused, without an exception."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None


class AttemptTrace:
    """What one attempt of a task traces.  This one is of a process without OpenTelemetry.

    A call's span ends when what came of it is committed, with the time at which the call itself
    ended: a call that counts has one span without an error, and what an attempt did in vain has one
    that says so.
    """

    def begin_model_call(self, model: Model, request: ModelRequest) -> None:
        """The model is about to be called."""

    def watch(self, events: AsyncIterator[ModelEvent]) -> AsyncIterator[ModelEvent]:
        """*events*, with the time of the first one noted."""
        return events

    def answered(self, turn: Turn) -> None:
        """The model's answer is complete."""

    def begin_tool_call(self, tool: Tool, call: ToolCall) -> None:
        """The tool is about to be called."""

    def begin_child(self, agent_id: str, version: str) -> CallerSpan:  # noqa: ARG002 - see below
        """A child run is about to begin, which answers the call that has begun."""
        # Only who traces asks what it is called.
        return CallerSpan()

    def returned(self, value: Any) -> None:
        """The tool returned *value*."""

    def asks_person(self, call: str, tool: str, kind: str) -> None:
        """What was committed makes a call wait for a person."""

    def failed(self, error: BaseException | str, message: str = "") -> None:
        """The call failed: with an exception, or for a reason in a word."""

    def ended_run(self, status: str, reason: str, error: BaseException | None = None) -> None:
        """What was committed ends the run."""

    def aborted_run(self, record: Record, reason: str) -> None:
        """The run that was started, whose *record* it is, has been aborted with this attempt."""

    def end(self, given_up: str | None = None) -> None:
        """The attempt is over; *given_up* is why it did not come to its end, in a word."""


def harmless(otherwise: _T) -> Callable[[Callable[_P, _T]], Callable[_P, _T]]:
    """Let a function return *otherwise* where it raises, as people's own span processors may.

    Nothing that watches a run may change what becomes of it.
    """

    def around(function: Callable[_P, _T]) -> Callable[_P, _T]:
        @functools.wraps(function)
        def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            try:
                return function(*args, **kwargs)
            except Exception:
                logger.exception("What happened could not be traced; the run goes on")
                return otherwise

        return guarded

    return around
