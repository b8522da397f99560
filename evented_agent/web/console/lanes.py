"""The rows of a run's picture: what each task did, in the order in which the log tells it."""

from dataclasses import dataclass, field
from typing import Literal

LaneKind = Literal["model", "tool"]
#: "ran" is a call of which the log says when it was asked for and what it came to, and no more.
SpanState = Literal["queued", "running", "ran", "people", "waits", "withdrawn"]
LaneOutcome = Literal["open", "done", "failed", "declined", "cancelled"]


@dataclass(slots=True)
class Span:
    """A stretch of a row.

    Attributes:
        start: Where it begins, in units of the log.
        end: Where it ends; None where it goes on.
        state: What the task did.
        said: What there is to say about it.
    """

    start: float
    end: float | None
    state: SpanState
    said: str = ""


@dataclass(slots=True)
class Lane:
    """A row: one task, with all its attempts.

    Attributes:
        key: The task, as chunks name it.
        kind: Whether it calls the model or a tool.
        name: What people call it.
        step: The step that it belongs to.
        attempt: Which attempt is the last: 1, 2, …
        outcome: What it came to.
        is_background: Whether it is a background call.
        spans: What it did, in order.
        events: What happened to it, in words.
        withdrawn: What the log says of attempts that were in vain.
    """

    key: str
    kind: LaneKind
    name: str
    step: int
    attempt: int = 1
    outcome: LaneOutcome = "open"
    is_background: bool = False
    spans: list[Span] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)

    @property
    def now(self) -> Span | None:
        """What it does now; None once it has ended."""
        last = self.spans[-1] if self.spans else None
        return last if last is not None and last.end is None else None

    @property
    def summary(self) -> str:
        """The row in words, for who does not see it."""
        told = "; ".join([*self.withdrawn, *self.events])
        attempts = f", {self.attempt} attempts" if self.attempt > 1 else ""
        return f"Step {self.step}, {self.name}: {self._standing()}{attempts}" + (
            f" ({told})" if told else ""
        )

    def turn(self, at: float, state: SpanState, said: str = "") -> None:
        """From *at* on it does something else."""
        if self.now is not None and self.now.state == state:
            return
        self._end(at)
        self.outcome = "open"
        self.spans.append(Span(at, None, state, said))

    def close(self, at: float, outcome: LaneOutcome) -> None:
        """It is over at *at*."""
        if self.now is not None and self.now.state == "queued" and outcome in ("done", "failed"):
            # It ran meanwhile, and said nothing.
            self.now.state = "ran"
        self._end(at)
        if self.outcome == "open":
            self.outcome = outcome

    def extend(self, at: float) -> None:
        """What it did last was still going on at *at*."""
        if self.spans and self.now is None:
            self.spans[-1].end = at

    def withdraw(self, since: float, at: float, said: str) -> None:
        """What it said from *since* on no longer counts; it is queued once more."""
        self._end(at)
        for span in self.spans:
            if span.start >= since and span.state in ("running", "ran"):
                span.state, span.said = "withdrawn", said
        if self.spans and self.spans[-1].state == "queued":
            # It had said nothing yet.
            self.spans[-1].state, self.spans[-1].said = "withdrawn", said
        self.withdrawn.append(said)
        self.outcome = "open"
        self.spans.append(Span(at, None, "queued"))

    def _end(self, at: float) -> None:
        now = self.now
        if now is None:
            return
        if now.start >= at:
            self.spans.pop()
        else:
            now.end = at

    def _standing(self) -> str:
        if self.outcome != "open":
            return self.outcome
        return {"people": "waits for a person", "waits": "waits"}.get(
            self.now.state if self.now else "", self.now.state if self.now else "open"
        )
