"""The end of a step: decide what follows, or finish the run."""

from dataclasses import dataclass, replace
from typing import Any

import pydantic_core

from evented_agent.agents.callbacks import StopCondition, Verdict
from evented_agent.agents.output_types import InvalidOutput
from evented_agent.agents.tools.background import Background
from evented_agent.chunks import ErrorInfo
from evented_agent.execution.attempt import Attempt, Done, Ending, Requeue, failed_run
from evented_agent.execution.tasks.background import emit_background_chunk, notice_of, task_id
from evented_agent.execution.tasks.hooks import call_hook
from evented_agent.execution.tasks.next_tasks import next_tasks
from evented_agent.execution.tasks.thread import save_thread
from evented_agent.ledger.records import NewTask, RunEnd, Work
from evented_agent.models.messages import ToolCall
from evented_agent.state.decide import CallModel, CallTools, FinishRun, NextAction, decide
from evented_agent.state.fold import State, Step, fold
from evented_agent.state.journal import Decided, Result, dump_entry
from evented_agent.state.views import step_info


@dataclass(frozen=True, slots=True)
class _Plan:
    """What follows, what the model is told first, and the answer where it must have a type."""

    decision: NextAction
    entry: Decided
    output: Any = None
    invalid: InvalidOutput | None = None


async def run_end(attempt: Attempt) -> Done | Requeue:
    """Fold the journal and decide; a finished run is told to everybody before the commit."""
    state = fold(await attempt.entries())
    plan = await _plan(attempt, state)
    step = str(attempt.task.step)
    again = None
    if not _was_idle(state):
        again = await call_hook(attempt, "step", state, of=step, info=step_info(state))
    if again is not None:
        return again
    if plan.invalid is not None:
        return await failed_run(attempt, state, plan.invalid)
    if plan.entry.follows == "idle":
        return Done(await _idle(attempt, state, plan))
    if plan.entry.follows == "drop":
        return Done(await _drop(attempt, state, plan))
    if isinstance(plan.decision, FinishRun):
        return await _finish(attempt, state, plan, plan.decision.reason)
    attempt.close()
    return Done(await _go_on(attempt, state, plan))


async def _plan(attempt: Attempt, state: State) -> _Plan:
    """What follows: the turn goes on, deferred calls have a say, or the run is done."""
    plan = _Plan(FinishRun(state.steps[-1].turn.reason), Decided(attempt.task.step, "finish"))
    if not _was_idle(state):
        plan = await _plan_turn(attempt, state)
    if not isinstance(plan.decision, FinishRun):
        return plan
    step = attempt.task.step
    if state.arrived and not _has_dropped(state):
        return _Plan(CallModel(step + 1), Decided(step, "follow-up", notice=notice_of(state)))
    if state.outstanding:
        follows = "drop" if attempt.task.is_idle_over else "idle"
        return _Plan(plan.decision, Decided(step, follows))
    return _with_output(attempt, state, plan, _may_go_on(attempt, state))


def _was_idle(state: State) -> bool:
    """Whether the turn had ended before: only deferred calls have gone on since."""
    decided = state.steps[-1].decided
    return decided is not None and decided.follows in ("idle", "drop")


def _has_dropped(state: State) -> bool:
    """Whether the run ends without waiting for its deferred calls any longer."""
    decided = state.steps[-1].decided
    return decided is not None and decided.follows == "drop"


def _may_go_on(attempt: Attempt, state: State) -> bool:
    max_steps = attempt.options.max_steps or attempt.agent.max_steps
    return state.steps[-1].number - state.turn_start + 1 < max_steps


def _dropped(placeholder: Result) -> Result:
    why = "It was not done when the run had to end."
    return replace(
        placeholder, result=None, is_placeholder=False, error=ErrorInfo(name="Dropped", message=why)
    )


async def _plan_turn(attempt: Attempt, state: State) -> _Plan:
    step = attempt.task.step
    max_steps = attempt.options.max_steps or attempt.agent.max_steps
    may_go_on = _may_go_on(attempt, state)
    decision = decide(state, max_steps=max_steps)
    if isinstance(decision, CallTools):
        return _Plan(decision, Decided(step, "tools"))
    if isinstance(decision, CallModel) and await _is_stopped(attempt, state):
        decision = decide(state, max_steps=max_steps, is_stopped=True)
    verdict = await _verdict(attempt, state)
    if verdict.feedback is not None and may_go_on:
        is_last = verdict.proceed is False
        return _Plan(CallModel(step + 1), Decided(step, "step", verdict.feedback, is_last))
    if verdict.proceed is False and isinstance(decision, CallModel):
        decision = decide(state, max_steps=max_steps, is_stopped=True)
    elif verdict.proceed and may_go_on:
        decision = CallModel(step + 1)
    follows = "step" if isinstance(decision, CallModel) else "finish"
    return _Plan(decision, Decided(step, follows))


def _with_output(attempt: Attempt, state: State, plan: _Plan, may_go_on: bool) -> _Plan:
    """The plan to finish, if the answer has its type; once, the model may repair it."""
    wanted = attempt.output_type
    if wanted is None:
        return plan
    step = attempt.task.step
    try:
        wanted.parse(state.steps[-1].turn.text)
    except InvalidOutput as error:
        was_repaired = any(
            step.decided and step.decided.follows == "repair" for step in state.steps
        )
        if was_repaired or not may_go_on:
            return replace(plan, invalid=error)
        feedback = f"{error}\nAnswer again, with nothing but the corrected JSON object."
        return _Plan(CallModel(step + 1), Decided(step, "repair", feedback))
    return replace(plan, output=wanted.parse(state.steps[-1].turn.text))


async def _go_on(attempt: Attempt, state: State, plan: _Plan) -> Work:
    last = state.steps[-1]
    match plan.decision:
        case CallModel(step=step):
            if not _was_idle(state):
                _finish_step(attempt, last, is_continued=True)
            attempt.writer.put("step-start", {"step": step})
            return await _work(attempt, plan.entry, [NewTask(f"{step}:model", "model", step)])
        case _:
            # Only after a journal that another version wrote: its open calls are queued again.
            following = await next_tasks(attempt, last.turn)
            return await _work(attempt, plan.entry, following.tasks)


async def _idle(attempt: Attempt, state: State, plan: _Plan) -> Work:
    """Nothing to do until a deferred call has come to something, or the time for that is over."""
    attempt.close()
    ids = [task_id(attempt.task.run_id, result.call) for result in state.outstanding]
    if not _was_idle(state):
        _finish_step(attempt, state.steps[-1], is_continued=True)
        payload = {"taskIds": ids, "runningCount": len(ids)}
        attempt.writer.put("background-task-progress", payload)
    work = await _work(attempt, plan.entry, [])
    return replace(work, idle_ms=int(_most_idle(attempt, state) * 1000))


async def _drop(attempt: Attempt, state: State, plan: _Plan) -> Work:
    """Cancel what is not done; apart from the end, which nothing can overtake from here on."""
    attempt.close()
    dropped = [_dropped(result) for result in state.outstanding]
    for result in dropped:
        call = ToolCall(id=result.call, name=result.name)
        emit_background_chunk(
            attempt, "cancelled", call, reason=result.error and result.error.message
        )
    step = attempt.task.step
    work = await _work(attempt, plan.entry, [NewTask(f"{step}:end:dropped", "end", step)])
    entries = [*(dump_entry(result) for result in dropped), *work.entries]
    return replace(work, entries=entries, drops_deferred=True)


def _most_idle(attempt: Attempt, state: State) -> float:
    if attempt.options.until_idle is not None:
        return attempt.options.until_idle
    waits = [Background().wait_timeout]
    for result in state.outstanding:
        tool = attempt.agent.tool_named(result.name)
        made = None if tool is None else attempt.agent.background_of(tool)
        if made is not None:
            waits.append(made.wait_timeout)
    return max(waits[1:] or waits)


async def _is_stopped(attempt: Attempt, state: State) -> bool:
    conditions: list[StopCondition] = [*attempt.agent.stop_when]
    conditions.extend(attempt.policies(attempt.options.stop_when))
    if not conditions:
        return False
    info = step_info(state)
    return await attempt.in_thread(lambda: any(condition(info) for condition in conditions))


async def _verdict(attempt: Attempt, state: State) -> Verdict:
    judge = attempt.agent.on_iteration_complete
    said = None if judge is None else await attempt.call_user(judge, step_info(state))
    return said if isinstance(said, Verdict) else Verdict()


def _finish_step(
    attempt: Attempt, step: Step, *, is_continued: bool, reason: str | None = None
) -> None:
    payload = {
        "step": step.number,
        "stepResult": {"reason": reason or step.turn.reason, "isContinued": is_continued},
        "output": {"usage": step.turn.usage.model_dump(by_alias=True)},
    }
    attempt.writer.put("step-finish", payload)


async def _finish(attempt: Attempt, state: State, plan: _Plan, reason: str) -> Done | Requeue:
    """Everything that a finished run promises, each of it idempotent; then the commit says so."""
    await save_thread(attempt, state)
    told = {"finish_reason": reason, "output": plan.output}
    if again := await call_hook(attempt, "finish", state, **told):
        return again
    attempt.close()
    output: dict[str, Any] = {"usage": state.usage.model_dump(by_alias=True)}
    if plan.output is not None:
        output["object"] = pydantic_core.to_jsonable_python(plan.output)
        attempt.writer.put("object", {"object": output["object"]})
    if not _was_idle(state):
        _finish_step(attempt, state.steps[-1], is_continued=False, reason=reason)
    payload = {"stepResult": {"reason": reason, "isContinued": False}, "output": output}
    attempt.writer.put("finish", payload)
    ending = Ending(
        run_id=attempt.task.run_id,
        agent=attempt.agent.id,
        status="finished",
        text=state.text,
        reason=reason,
        usage=state.usage,
    )
    await attempt.in_thread(lambda: attempt.process.on_ending(ending))
    return Done(await _work(attempt, plan.entry, [], RunEnd("finished", reason)))


async def _work(
    attempt: Attempt, entry: Decided, following: list[NewTask], finish: RunEnd | None = None
) -> Work:
    return Work(
        chunks=await attempt.writer.drain(),
        entries=[dump_entry(entry)],
        next=following,
        journal_length=attempt.claim.journal_length,
        finish=finish,
    )
