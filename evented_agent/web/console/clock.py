"""A run's picture in real time: when each attempt of a task was queued, began and ended, and where.

The log tells which rows there are and what they came to; the attempts that are kept have the times.
Where some are missing, as those of older versions, the picture stays in the order of the log.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from evented_agent.state.attempt_words import outcome_words
from evented_agent.state.run_info import RunInfo
from evented_agent.state.task_attempt import AttemptList, TaskAttempt
from evented_agent.web.console.lanes import Lane, LaneKind, LaneOutcome, Span, SpanState
from evented_agent.web.console.timeline import Picture

_KINDS: Mapping[str, LaneKind] = {"model": "model", "tool": "tool"}
#: How an attempt is drawn that did not run to its end.
_LOOKS: Mapping[str, SpanState] = {
    "waited": "waits",
    "failed": "withdrawn",
    "retried": "withdrawn",
    "released": "withdrawn",
    "crashed": "withdrawn",
    "timed_out": "withdrawn",
}
#: What rows came to that no chunk tells of.
_OUTCOMES: Mapping[str, LaneOutcome] = {
    "committed": "done",
    "failed": "failed",
    "aborted": "cancelled",
    "cancelled": "cancelled",
    "dropped": "cancelled",
}


_FOR_PEOPLE = "waits for a person"
_AGAIN = "waits before it is tried again"
_CHILD = "its child run is under way"
_RECOVERY = "until its lease was seen to have run out"


def clocked(picture: Picture, attempts: AttemptList, info: RunInfo) -> Picture:
    """*picture* with the times of *attempts*; the same where those do not tell of all its rows."""
    if attempts.left_out:
        return picture
    clock = _Clock(info, attempts)
    lanes = [clock.lane(lane) for lane in [*picture.lanes, *clock.missing(picture.lanes)]]
    drawn = [lane for lane in lanes if lane is not None]
    if not drawn or len(drawn) < len(lanes):
        return picture
    ends = [span.end for lane in drawn for span in lane.spans if span.end is not None]
    width = max(clock.until, *ends, 0.001)
    # A picture of attempts alone has no last chunk.
    ending = picture.ending or (info.status if info.is_ended else "")
    return replace(picture, lanes=drawn, width=width, ending=ending, has_clock=True)


@dataclass(slots=True)
class _Clock:
    info: RunInfo
    attempts: AttemptList
    _of_task: dict[str, list[TaskAttempt]] = field(init=False)

    def __post_init__(self) -> None:
        self._of_task = defaultdict(list)
        for each in self.attempts:
            # Children have their own page; here the call stands for them.
            if each.run_id == self.info.run_id:
                self._of_task[each.task].append(each)

    @property
    def until(self) -> float:
        """When the picture ends: with the run, or about now.

        Rounded up by up to a twentieth, so that a page that asks again mostly finds the same.
        """
        if self.info.ended_at is not None:
            return self._at(self.info.ended_at)
        now = max(1.0, self._at(self.attempts.read_at))
        grain = 10.0 ** math.floor(math.log10(now)) / 20
        return math.ceil(now / grain) * grain

    def lane(self, lane: Lane) -> Lane | None:
        """The row with its times; None where nothing is known of those."""
        found = self._of_task.get(lane.key, [])
        if found and found[0].attempt != 1 and found[0].outcome != "waited":
            return None
        spans = list(self._spans(lane, found))
        if not spans:
            return None
        number = max([lane.attempt, *(each.attempt for each in found)])
        events = [*filter(None, map(_words, found)), *lane.events]
        return replace(lane, spans=spans, attempt=number, events=events, withdrawn=[])

    def missing(self, lanes: Sequence[Lane]) -> Iterator[Lane]:
        """Rows of which the log does not tell, or no longer."""
        known = {lane.key for lane in lanes}
        for key, found in self._of_task.items():
            last = found[-1]
            kind = _KINDS.get(last.kind)
            if kind is None or key in known:
                continue
            outcome = _OUTCOMES.get(last.outcome or "", "open")
            yield Lane(key, kind, last.tool_name or "model", last.step, outcome=outcome)

    def _spans(self, lane: Lane, attempts: Sequence[TaskAttempt]) -> Iterator[Span]:
        """What the task did, one after the other."""
        since, before = self._asked_at(lane), None
        for each in attempts:
            if since is not None and each.queued_at is not None:
                yield from self._gap(lane, since, each.queued_at, before)
            if each.queued_at is not None and each.started_at != each.queued_at:
                is_again = before is not None and before.outcome in ("retried", "waited")
                state: SpanState = "waits" if is_again else "queued"
                said = _AGAIN if is_again else ""
                yield self._span(each.queued_at, each.started_at, state, said)
            if each.started_at is not None:
                look = _LOOKS.get(each.outcome or "", "running")
                yield self._span(each.started_at, each.ended_at, look, _title(each))
            since, before = each.ended_at, each
        if since is not None:
            yield from self._rest(lane, since, attempts)

    def _gap(
        self, lane: Lane, since: datetime, until: datetime, before: TaskAttempt | None
    ) -> Iterator[Span]:
        """Until it was queued, from the end of the attempt before, or since it was asked for."""
        if until <= since:
            return
        if any(since <= at <= until for at in self._decided(lane)):
            yield self._span(since, until, "people", _FOR_PEOPLE)
        elif before is None:
            yield self._span(since, until, "queued")
        else:
            is_recovery = before.outcome in ("crashed", "timed_out")
            yield self._span(since, until, "waits", _RECOVERY if is_recovery else "waits")

    def _rest(self, lane: Lane, since: datetime, attempts: Sequence[TaskAttempt]) -> Iterator[Span]:
        """Behind the last attempt, or where there has been none."""
        decided = [at for at in self._decided(lane) if at >= since]
        is_asked = any(
            f"{lane.step}:tool:{_own(each.tool_call_id)}" == lane.key for each in self.info.pending
        )
        if decided or is_asked:
            yield self._span(since, decided[-1] if decided else None, "people", _FOR_PEOPLE)
        elif attempts and attempts[-1].outcome == "spawned":
            yield self._span(since, self._child_ended(lane, attempts[-1]), "running", _CHILD)
        elif not attempts:
            # It was done without a task of its own, or never begun.
            yield self._span(since, None if lane.outcome == "open" else since, "ran")

    def _child_ended(self, lane: Lane, call: TaskAttempt) -> datetime | None:
        """When the child run ended that answers *call*; None where it goes on."""
        child = f"{call.run_id.partition('~')[0]}{call.reason}"
        ends = [each.ended_at for each in self.attempts if each.run_id == child and each.ended_at]
        return None if lane.outcome == "open" else max(ends, default=call.ended_at)

    def _span(
        self, start: datetime, end: datetime | None, state: SpanState, said: str = ""
    ) -> Span:
        if end is None and self.info.is_ended:
            end = self.info.ended_at
        first = self._at(start)
        return Span(first, None if end is None else max(first, self._at(end)), state, said)

    def _asked_at(self, lane: Lane) -> datetime | None:
        """When the model's answer was kept that asked for the call."""
        made = self._of_task.get(f"{lane.step}:model", []) if lane.kind == "tool" else []
        return next((each.ended_at for each in made if each.outcome == "committed"), None)

    def _decided(self, lane: Lane) -> Sequence[datetime]:
        """When people decided about the call."""
        call = lane.key.partition(":tool:")[2]
        return [each.at for each in self.info.decisions if _own(each.tool_call_id) == call]

    def _at(self, moment: datetime) -> float:
        return max(0.0, (moment - self.info.created_at).total_seconds())


def _own(call: str) -> str:
    """The id of a call within its own run: a child's begins with its branch elsewhere."""
    return call.rpartition("/")[2] if call.startswith("~") else call


def _words(attempt: TaskAttempt) -> str:
    """What is told of an attempt beside its row; "" for one that ended as it should."""
    if attempt.started_at is None or (attempt.outcome == "committed" and attempt.attempt == 1):
        return ""
    return _title(attempt)


def _title(attempt: TaskAttempt) -> str:
    on = f" on worker {attempt.worker}" if attempt.worker else ""
    how = outcome_words(attempt) or "runs"
    return f"attempt {attempt.attempt}{on} {how}"
