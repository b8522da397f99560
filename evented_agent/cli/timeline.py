"""A run as people want to read it afterwards: what happened, in its order, and when."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any

from evented_agent.agents.callbacks import StepInfo
from evented_agent.agents.tools.approvals import CallDecision
from evented_agent.cli.output import call_line, decided_line, on_one_line, printable, short
from evented_agent.models.cost import CallCost, dollars
from evented_agent.models.messages import (
    AssistantMessage,
    Message,
    SystemMessage,
    ToolMessage,
    UserMessage,
)
from evented_agent.state.attempt_words import (
    before_each,
    earlier_words,
    outcome_words,
    task_words,
)
from evented_agent.state.run_info import RunInfo
from evented_agent.state.run_result import RunResult
from evented_agent.state.task_attempt import AttemptList, TaskAttempt

#: Seconds in the queue that are worth a word.
_LONG_WAIT = 1.0
#: Tasks that decide what follows, or tell others: told of where something went wrong with them.
_QUIET = ("end", "hook", "after")
#: Ends of attempts that the attempt after them tells of.
_TOLD_BY_THE_NEXT = ("retried", "waited", "released", "crashed", "timed_out")


def timeline(info: RunInfo, result: RunResult, attempts: AttemptList) -> Iterator[str]:
    """What was asked, then what ran when, on which worker, and what came of it, then the end.

    Where no attempts are kept, as by older versions, steps stand in their order without a time.
    """
    yield f"{_clock(info.created_at)}  created"
    for message in result.messages[: _given(result.messages)]:
        yield from _indented(f"{message.role}: {_text_of(message)}")
    if not info.input:
        yield from _indented("(what it was asked cannot be read)")
    if info.started_at is not None:
        waited = (info.started_at - info.created_at).total_seconds()
        yield f"{_clock(info.started_at)}  started, after {waited:.1f} s"
    if attempts.left_out:
        yield f"          {attempts.left_out} attempts before these are no longer kept"
    for event in sorted(_Story(info, result, attempts).events(), key=lambda each: each.place):
        yield from event.shown()
    if info.ended_at is not None:
        reason = f" ({info.finish_reason})" if info.finish_reason else ""
        yield f"{_clock(info.ended_at)}  {info.status}{reason}"
    if info.error is not None:
        yield from _indented(f"! {info.error.name}: {info.error.message}")


class _Phase(IntEnum):
    """What comes first of what happened to one step in the same millisecond."""

    MODEL_BEGAN = 1
    MODEL_ENDED = 2
    DECIDED = 3
    CALL_BEGAN = 4
    CALL_ENDED = 5


@dataclass(frozen=True, slots=True)
class _Event:
    """Something that happened, and the lines that stand below it; without a *clock* none is known.

    *place* is what events are sorted by: a time, the step, and what comes first of it.
    """

    place: tuple[datetime, float, _Phase]
    said: str
    lines: Sequence[str] = ()
    has_clock: bool = True

    def shown(self) -> Iterator[str]:
        clock = _clock(self.place[0]) if self.has_clock else " " * 8
        yield f"{clock}  {on_one_line(self.said)}"
        for line in self.lines:
            yield from _indented(line)


class _Story:
    """What is known of a run, from its attempts, its journal and what people decided."""

    def __init__(self, info: RunInfo, result: RunResult, attempts: AttemptList) -> None:
        self._info = info
        self._attempts = attempts
        own = [each for each in attempts if each.run_id == info.run_id]
        self._last = {each.task: each for each in own}
        self._steps = {step.step: step for step in result.steps}
        self._received = _received(result)
        self._decided = defaultdict[str, list[CallDecision]](list)
        for decision in result.decisions:
            self._decided[decision.tool_call_id].append(decision)
        self._committed = {
            each.step: each for each in own if each.kind == "model" and each.outcome == "committed"
        }

    def events(self) -> Iterator[_Event]:
        before = before_each(self._attempts)
        followed = {id(each) for each in before}
        for attempt, earlier in zip(self._attempts, before, strict=True):
            yield from self._events_of(attempt, earlier, is_followed=id(attempt) in followed)
        at = self._info.created_at
        for number, step in self._steps.items():
            made = self._committed.get(number)
            at = made.ended_at or at if made is not None else at
            place = (at, number, _Phase.MODEL_ENDED)
            took = f", {outcome_words(made)}" if made is not None else ""
            lines = self._lines_of(step)
            yield _Event(place, f"{_step_line(step)}{took}", lines, has_clock=made is not None)
            if made is not None:
                yield from self._decisions_of(step)

    def _events_of(
        self, attempt: TaskAttempt, before: TaskAttempt | None, *, is_followed: bool
    ) -> Iterator[_Event]:
        """When an attempt began, and how it ended where nothing else tells of that."""
        is_plain = attempt.outcome == "committed" and attempt.attempt == 1
        if attempt.kind in _QUIET and is_plain:
            return
        began, ended = (
            (_Phase.MODEL_BEGAN, _Phase.MODEL_ENDED)
            if attempt.kind == "model"
            else (_Phase.CALL_BEGAN, _Phase.CALL_ENDED)
        )
        at = attempt.started_at or attempt.queued_at
        if at is not None:
            yield _Event((at, attempt.step, began), _began(attempt, before))
        is_told = attempt.outcome in _TOLD_BY_THE_NEXT and is_followed
        if attempt.ended_at is None or is_told or self._committed.get(attempt.step) is attempt:
            return
        said, results = f"{task_words(attempt)} {outcome_words(attempt)}", self._results_of(attempt)
        place = (attempt.ended_at, attempt.step, ended)
        if attempt.outcome != "spawned" or not results:
            yield _Event(place, said, results)
            return
        yield _Event(place, said)
        child = f"{attempt.run_id.partition('~')[0]}{attempt.reason}"
        ends = [each.ended_at for each in self._attempts if each.run_id == child and each.ended_at]
        said = f"{task_words(attempt)} has its answer"
        yield _Event((max(ends, default=attempt.ended_at), attempt.step, ended), said, results)

    def _results_of(self, attempt: TaskAttempt) -> Sequence[str]:
        """What a call came to, if this is the attempt that says so."""
        step, call = self._steps.get(attempt.step), attempt.tool_call_id or ""
        found = step.results_by_call.get(call) if step is not None else None
        if found is None or self._teller(attempt.step, call) is not attempt:
            return ()
        return [_result_line(found)]

    def _teller(self, step: int, call: str) -> TaskAttempt | CallDecision | None:
        """What tells of a call's result: its last attempt, or what was decided after that."""
        last = self._last.get(f"{step}:tool:{call}")
        ended = last.ended_at if last is not None else None
        decided = self._decided[call][-1:]
        if ended is None or (decided and decided[0].at > ended):
            return decided[0] if decided and step in self._committed else None
        return last

    def _lines_of(self, step: StepInfo) -> Sequence[str]:
        lines = list(self._received.get(step.step, ()))
        if step.text:
            lines.append(f"assistant: {step.text}")
        for call in step.tool_calls:
            lines.append(call_line(call.name, call.arguments))
            if step.step not in self._committed:
                lines += [f"= {decided_line(each)}" for each in self._decided[call.id]]
            found = step.results_by_call.get(call.id)
            if found is not None and self._teller(step.step, call.id) is None:
                lines.append(_result_line(found))
        return lines

    def _decisions_of(self, step: StepInfo) -> Iterator[_Event]:
        for call in step.tool_calls:
            found = step.results_by_call.get(call.id)
            for decision in self._decided[call.id]:
                tells = found is not None and self._teller(step.step, call.id) is decision
                lines = [_result_line(found)] if found is not None and tells else []
                place = (decision.at, step.step, _Phase.DECIDED)
                yield _Event(place, decided_line(decision), lines)


def _began(attempt: TaskAttempt, before: TaskAttempt | None) -> str:
    more = [earlier_words(attempt, before)]
    if attempt.started_at is not None and attempt.queued_at is not None:
        waited = (attempt.started_at - attempt.queued_at).total_seconds()
        if waited >= _LONG_WAIT:
            more.append(f"after {waited:.1f} s in the queue")
    began = "began" if attempt.started_at is not None else "is queued"
    on = f" on worker {attempt.worker}" if attempt.worker else ""
    return ", ".join([f"{task_words(attempt)} {began}{on}", *filter(None, more)])


def _step_line(step: StepInfo) -> str:
    usage = step.usage
    tokens = f"{usage.input_tokens} in, {usage.output_tokens} out"
    return f"step {step.step}: {step.finish_reason}, {tokens}{_cost(step.cost)}"


def _received(result: RunResult) -> Mapping[int, Sequence[str]]:
    """The messages that came to the run meanwhile, by the step that was the first to see them."""
    steps = iter(step for step in result.steps if step.text or step.finish_reason != "interrupted")
    found, waiting = dict[int, Sequence[str]](), list[str]()
    for message in result.messages[_given(result.messages) :]:
        if isinstance(message, AssistantMessage):
            step = next(steps, None)
            if step is not None and waiting:
                found[step.step] = waiting
            waiting = []
        elif isinstance(message, UserMessage):
            waiting.append(f"user: {_text_of(message)}")
    return found


def _cost(cost: CallCost | None) -> str:
    if cost is None:
        return ""
    if cost.usd is None:
        return f", price unknown ({printable(cost.reason or '')})"
    return f", {dollars(cost.usd)}"


def _result_line(found: ToolMessage) -> str:
    return f"{'!' if found.is_error else '<'} {found.name}: {short(found.result)}"


def _given(messages: Sequence[Message]) -> int:
    """How many messages the run began with: those before anybody answered."""
    answers = (
        at for at, m in enumerate(messages) if not isinstance(m, UserMessage | SystemMessage)
    )
    return next(answers, len(messages))


def _text_of(message: Any) -> str:
    content = message.content
    if isinstance(content, str):
        return content
    return short([part.model_dump(mode="json") for part in content])


def _indented(text: str) -> Iterator[str]:
    for line in printable(text).splitlines():
        yield f"          {line}"


def _clock(moment: datetime) -> str:
    return moment.astimezone().strftime("%H:%M:%S")
