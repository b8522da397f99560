"""The end task of a step: decides what follows, or finishes the run."""

from dataclasses import replace
from typing import Any

import pydantic_core

from evented_agent.agents.callbacks import StopCondition, Verdict
from evented_agent.agents.output_types import InvalidOutput
from evented_agent.agents.tools.background import Background
from evented_agent.chunks import (
    BackgroundProgressPayload,
    BackgroundTaskCancelled,
    BackgroundTaskProgress,
    ErrorInfo,
    Finish,
    FinishPayload,
    Handoff,
    HandoffPayload,
    Object,
    ObjectPayload,
    Output,
    StepFinish,
    StepFinishPayload,
    StepResult,
    StepStart,
    StepStartPayload,
)
from evented_agent.durations import in_seconds
from evented_agent.execution.attempt import Attempt, Done, Ending, Requeue, failed_run
from evented_agent.execution.tasks.background import emit_background_chunk, notice_of, task_id
from evented_agent.execution.tasks.children import answered_call
from evented_agent.execution.tasks.handoffs import hand_over, handoff_in
from evented_agent.execution.tasks.hooks import call_hook
from evented_agent.execution.tasks.mcp_tools import load_mcp_tools
from evented_agent.execution.tasks.next_tasks import next_tasks
from evented_agent.execution.tasks.thread import save_thread
from evented_agent.ledger import runs
from evented_agent.ledger.records import NewTask, RunEnd, Work
from evented_agent.models.messages import ToolCall
from evented_agent.state.decide import (
    CallModel,
    CallTools,
    Drop,
    FinishRun,
    Idle,
    NextAction,
    Repair,
    Tell,
    decide,
    decided,
    has_dropped,
    told,
    was_idle,
    was_repaired,
)
from evented_agent.state.fold import INTERRUPTED, State, Step, fold
from evented_agent.state.journal import Result, dump_entry
from evented_agent.state.views import step_info

#: Seconds before the run's end looks again whether hooks of suspensions have been called.
_HOOKS_WAIT = 0.5


async def run_end(attempt: Attempt) -> Done:
    """Fold the journal and decide; hooks and threads come before the commit that ends the run."""
    while True:
        state = fold(await attempt.entries())
        if (ending := told(state)) is not None:
            return await _finish(attempt, state, ending, is_told=True)
        action = await _next_action(attempt, state)
        done = await _follow(attempt, state, action)
        if done is not None:
            return done


async def _follow(attempt: Attempt, state: State, action: NextAction) -> Done | None:
    """Do what was decided; None where the journal has grown, so that it is decided again."""
    if not was_idle(state):
        step = str(attempt.task.step)
        await call_hook(attempt, "step", state, of=step, info=step_info(state))
    match action:
        case Idle():
            return Done(await _idle(attempt, state, action))
        case Drop():
            return Done(await _drop(attempt, state, action))
        case FinishRun():
            return await _end(attempt, state, action)
        case CallModel() | Repair():
            return Done(await _call_model(attempt, state, action))
        case CallTools():
            return Done(await _call_tools(attempt, state, action))


async def _next_action(attempt: Attempt, state: State) -> NextAction:
    """What follows: the turn continues, deferred calls are handled, or the run is done."""
    if state.waiting:
        return await _answer(attempt, state)
    action: NextAction = FinishRun(state.steps[-1].turn.reason)
    if not was_idle(state):
        action = await _after_step(attempt, state)
    if not isinstance(action, FinishRun):
        return action
    if state.arrived and not has_dropped(state):
        return CallModel(attempt.task.step + 1, notice=notice_of(state))
    if state.outstanding:
        return Drop() if _late(attempt, state) else Idle()
    return _repair(attempt, state) or action


async def _answer(attempt: Attempt, state: State) -> CallModel | CallTools:
    """Go on with the messages that came: what ends a turn is for answers that nothing follows."""
    last = state.steps[-1]
    if last.open_calls:
        return CallTools(last.number, last.open_calls)
    if was_idle(state) or last.turn.reason == INTERRUPTED:
        verdict = Verdict()
    else:
        verdict = await _verdict(attempt, state)
    notice = notice_of(state) if state.arrived else None
    return CallModel(attempt.task.step + 1, verdict.feedback, notice=notice)


def _late(attempt: Attempt, state: State) -> list[Result]:
    """The deferred calls whose time is over: what waits for a person does not count."""
    if not attempt.task.is_idle_over:
        return []
    under_way = [result for result in state.outstanding if result.call not in state.asking]
    late = attempt.task.late
    # An older version has queued the task, and named none.
    return [result for result in under_way if late is None or result.call in late]


async def _after_step(attempt: Attempt, state: State) -> NextAction:
    """What follows in the turn, by the agent's stop conditions and its verdict."""
    step = attempt.task.step
    max_steps = _max_steps(attempt)
    action = decide(state, max_steps=max_steps)
    if isinstance(action, CallTools):
        return action
    if isinstance(action, CallModel) and await _is_stopped(attempt, state):
        action = decide(state, max_steps=max_steps, is_stopped=True)
    verdict = await _verdict(attempt, state)
    may_go_on = _may_go_on(attempt, state)
    if verdict.feedback is not None and may_go_on:
        return CallModel(step + 1, verdict.feedback, is_last=verdict.proceed is False)
    if verdict.proceed is False and isinstance(action, CallModel):
        return decide(state, max_steps=max_steps, is_stopped=True)
    if verdict.proceed and may_go_on:
        return CallModel(step + 1)
    return action


def _repair(attempt: Attempt, state: State) -> Repair | None:
    """A repair, if the answer does not have the output type; each run has one at most."""
    try:
        _output(attempt, state)
    except InvalidOutput as error:
        if was_repaired(state) or not _may_go_on(attempt, state):
            return None
        feedback = f"{error}\nAnswer again, with nothing but the corrected JSON object."
        return Repair(attempt.task.step + 1, feedback)
    return None


def _output(attempt: Attempt, state: State) -> Any:
    """The answer as the output type; None without one.  Raises `InvalidOutput`."""
    wanted = attempt.output_type
    return None if wanted is None else wanted.parse(state.steps[-1].turn.text)


def _may_go_on(attempt: Attempt, state: State) -> bool:
    return state.steps[-1].number - state.turn_start + 1 < _max_steps(attempt)


def _max_steps(attempt: Attempt) -> int:
    return attempt.options.max_steps or attempt.agent.max_steps


def _dropped(placeholder: Result) -> Result:
    why = "It was not done when the run had to end."
    return replace(
        placeholder, result=None, is_placeholder=False, error=ErrorInfo(name="Dropped", message=why)
    )


async def _call_model(attempt: Attempt, state: State, action: CallModel | Repair) -> Work:
    attempt.close()
    if not was_idle(state):
        _finish_step(attempt, state.steps[-1], is_continued=True)
    handed = handoff_in(attempt, state) if isinstance(action, CallModel) else None
    if handed is not None and isinstance(action, CallModel):
        action = replace(action, agent=handed.agent_id)
        payload = HandoffPayload(
            step=attempt.task.step, from_agent=attempt.agent.id, to_agent=handed.agent_id
        )
        attempt.writer.put(Handoff, payload)
    attempt.writer.put(StepStart, StepStartPayload(step=action.step))
    following = NewTask(f"{action.step}:model", "model", action.step)
    work = await _work(attempt, action, [following])
    return work if handed is None else replace(work, hand_over=hand_over(attempt, handed))


async def _call_tools(attempt: Attempt, state: State, action: CallTools) -> Work:
    """Queue open calls again: only after a journal that another version wrote."""
    attempt.close()
    following = await next_tasks(attempt, state.steps[-1].turn)
    return await _work(attempt, action, following.tasks)


async def _idle(attempt: Attempt, state: State, action: Idle) -> Work:
    """Nothing to do until a deferred call has a result, or the time for that is over."""
    await load_mcp_tools(attempt)
    attempt.close()
    ids = [task_id(attempt.task.run_id, result.call) for result in state.outstanding]
    if not was_idle(state):
        _finish_step(attempt, state.steps[-1], is_continued=True)
        payload = BackgroundProgressPayload(task_ids=ids, running_count=len(ids))
        attempt.writer.put(BackgroundTaskProgress, payload)
    work = await _work(attempt, action, [])
    idle_ms = int(_most_idle(attempt, state) * 1000)
    return replace(work, idle_ms=idle_ms, journal_length=attempt.claim.journal_length)


async def _drop(attempt: Attempt, state: State, action: Drop) -> Work:
    """Cancel the calls that are not done, in a commit before the one that ends the run."""
    attempt.close()
    dropped = [_dropped(result) for result in _late(attempt, state)]
    for result in dropped:
        call = ToolCall(id=result.call, name=result.name)
        reason = None if result.error is None else result.error.message
        emit_background_chunk(attempt, BackgroundTaskCancelled, call, reason=reason)
    step = attempt.task.step
    work = await _work(attempt, action, [NewTask(f"{step}:end:dropped", "end", step)])
    entries = [*(dump_entry(result) for result in dropped), *work.entries]
    return replace(
        work,
        entries=entries,
        drops=[result.call for result in dropped],
        journal_length=attempt.claim.journal_length,
    )


def _most_idle(attempt: Attempt, state: State) -> float:
    if attempt.options.until_idle is not None:
        return attempt.options.until_idle
    waits = [in_seconds(Background().wait_timeout)]
    for result in state.outstanding:
        tool = attempt.tools.get(result.name)
        made = None if tool is None else attempt.agent.background_of(tool)
        if made is not None:
            waits.append(in_seconds(made.wait_timeout))
    return max(waits[1:] or waits)


async def _is_stopped(attempt: Attempt, state: State) -> bool:
    conditions: list[StopCondition] = [*attempt.agent.stop_when]
    conditions.extend(attempt.policies(attempt.options.stop_when))
    if not conditions:
        return False
    info = step_info(state)
    for condition in conditions:
        if await attempt.call_user(condition, info):
            return True
    return False


async def _verdict(attempt: Attempt, state: State) -> Verdict:
    judge = attempt.agent.on_iteration_complete
    said = None if judge is None else await attempt.call_user(judge, step_info(state))
    return said if isinstance(said, Verdict) else Verdict()


def _finish_step(
    attempt: Attempt, step: Step, *, is_continued: bool, reason: str | None = None
) -> None:
    given = {} if is_continued else {"last": True}
    payload = StepFinishPayload(
        step=step.number,
        step_result=StepResult(reason=reason or step.turn.reason, is_continued=is_continued),
        output=Output(usage=step.turn.usage),
        **given,
    )
    attempt.writer.put(StepFinish, payload)


def _tells(attempt: Attempt) -> bool:
    """Whether anybody is told of the run's end before it is committed."""
    if attempt.task.branch:
        # No message comes to a child run, and nobody else aborts it.
        return False
    has_memory = attempt.agent.memory is not None and attempt.claim.thread is not None
    has_hook = "on_finish" in attempt.agent.hooks
    return has_memory or has_hook or attempt.process.on_ending is not None


async def _end(attempt: Attempt, state: State, action: FinishRun) -> Done | None:
    """End the run, which is closed before anybody is told: readers see that the answer is complete.

    From then on no message comes in. None where one came before.
    """
    answer, is_valid = None, True
    try:
        answer = _output(attempt, state)
    except InvalidOutput:
        is_valid = False
    if is_valid and not _tells(attempt):
        return await _finish(attempt, state, action)
    attempt.close()
    if is_valid:
        _end_answer(attempt, state, answer, action.reason)
    closed = await attempt.close_run(await _work(attempt, Tell(), []))
    if closed == "aborted":
        attempt.close()
        return Done(Work())
    return None if closed == "grew" else await _finish(attempt, state, action, is_told=True)


def _end_answer(attempt: Attempt, state: State, answer: Any, reason: str) -> None:
    if answer is not None:
        made = pydantic_core.to_jsonable_python(answer)
        attempt.writer.put(Object, ObjectPayload(object=made))
    if not was_idle(state):
        _finish_step(attempt, state.steps[-1], is_continued=False, reason=reason)


async def _finish(
    attempt: Attempt, state: State, action: FinishRun, *, is_told: bool = False
) -> Done:
    """Thread, hook, result backend: each idempotent, all before the commit that ends the run."""
    try:
        answer = _output(attempt, state)
    except InvalidOutput as error:
        return await failed_run(attempt, state, error)
    await _wait_for_hooks(attempt)
    await save_thread(attempt, state)
    reason = action.reason
    await call_hook(attempt, "finish", state, finish_reason=reason, output=answer)
    attempt.close()
    output = Output(usage=state.usage)
    if answer is not None:
        output = Output(usage=state.usage, object=pydantic_core.to_jsonable_python(answer))
    if not is_told:
        _end_answer(attempt, state, answer, reason)
    ended = StepResult(reason=reason, is_continued=False)
    attempt.writer.put(Finish, FinishPayload(step_result=ended, output=output))
    if attempt.task.branch:
        end = await answered_call(attempt, state, answer)
        work = await _work(attempt, action, [], replace(end, reason=reason))
        return Done(replace(work, journal_length=attempt.claim.journal_length))
    ending = Ending(
        run_id=attempt.task.run_id,
        agent=attempt.agent.id,
        status="finished",
        text=state.text,
        reason=reason,
        usage=state.usage,
    )
    await attempt.tell_engine(ending)
    work = await _work(attempt, action, [], RunEnd("finished", reason))
    return Done(replace(work, journal_length=attempt.claim.journal_length))


async def _wait_for_hooks(attempt: Attempt) -> None:
    """A run that counts as finished has told its hooks of its suspensions as well."""
    if attempt.task.branch or "on_suspended" not in attempt.agent.hooks:
        return
    record = await attempt.process.send(runs.read(attempt.process.keys, attempt.task.run_id))
    if any(task.kind == "hook" for task in record.tasks):
        raise Requeue(_HOOKS_WAIT, "A hook of a suspension has not been called yet.", {})


async def _work(
    attempt: Attempt,
    action: NextAction | Tell,
    following: list[NewTask],
    finish: RunEnd | None = None,
) -> Work:
    return Work(
        chunks=await attempt.writer.drain(),
        entries=[dump_entry(decided(attempt.task.step, action))],
        next=following,
        finish=finish,
    )
