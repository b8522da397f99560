"""The end of a step: decide what follows, or finish the run."""

from evented_agent.agents import StepInfo
from evented_agent.execution.approval import next_tasks
from evented_agent.execution.attempt import Attempt, Done, Ending
from evented_agent.ledger.records import Finish, NewTask, Work
from evented_agent.loop import (
    CallModel,
    CallTools,
    Decided,
    Decision,
    FinishRun,
    State,
    Step,
    decide,
    dump_entry,
    fold,
)
from evented_agent.messages import ToolMessage


async def run_end(attempt: Attempt) -> Done:
    """Fold the journal and decide; a finished run is told to the engine before the commit."""
    state = fold(await attempt.entries())
    max_steps = attempt.options.max_steps or attempt.agent.max_steps
    decision = decide(state, max_steps=max_steps)
    if isinstance(decision, CallModel) and await _is_stopped(attempt, state):
        decision = decide(state, max_steps=max_steps, is_stopped=True)
    attempt.close()
    return Done(await _follow_up(attempt, state, decision))


async def _follow_up(attempt: Attempt, state: State, decision: Decision) -> Work:
    last = state.steps[-1]
    match decision:
        case CallModel(step=step):
            _finish_step(attempt, last, is_continued=True)
            attempt.output.put("step-start", {"step": step})
            return await _work(attempt, "step", [NewTask(f"{step}:model", "model", step)])
        case CallTools():
            # Only after a journal that another version wrote: its open calls are queued again.
            return await _work(attempt, "tools", await next_tasks(attempt, last.turn))
        case FinishRun(reason=reason):
            _finish_step(attempt, last, is_continued=False, reason=reason)
            return await _finish_run(attempt, state, reason)


async def _is_stopped(attempt: Attempt, state: State) -> bool:
    conditions = attempt.agent.stop_when
    if not conditions:
        return False
    info = step_info(state)
    return await attempt.in_thread(lambda: any(condition(info) for condition in conditions))


def step_info(state: State) -> StepInfo:
    """The last step as stop conditions see it."""
    last = state.steps[-1]
    results = [message for message in state.messages() if isinstance(message, ToolMessage)]
    return StepInfo(
        step=last.number,
        text=last.turn.text,
        tool_calls=list(last.turn.calls),
        results=[message for message in results if message.tool_call_id in last.results],
        usage=last.turn.usage,
        total_usage=state.usage,
        finish_reason=last.turn.reason,
    )


def _finish_step(
    attempt: Attempt, step: Step, *, is_continued: bool, reason: str | None = None
) -> None:
    payload = {
        "step": step.number,
        "stepResult": {"reason": reason or step.turn.reason, "isContinued": is_continued},
        "output": {"usage": step.turn.usage.model_dump(by_alias=True)},
    }
    attempt.output.put("step-finish", payload)


async def _finish_run(attempt: Attempt, state: State, reason: str) -> Work:
    usage = state.usage
    payload = {
        "stepResult": {"reason": reason, "isContinued": False},
        "output": {"usage": usage.model_dump(by_alias=True)},
    }
    attempt.output.put("finish", payload)
    ending = Ending(
        run_id=attempt.task.run_id,
        agent=attempt.agent.id,
        status="finished",
        text=state.text,
        reason=reason,
        usage=usage,
    )
    await attempt.in_thread(lambda: attempt.process.on_ending(ending))
    return await _work(attempt, "finish", [], Finish("finished", reason))


async def _work(
    attempt: Attempt, follows: str, following: list[NewTask], finish: Finish | None = None
) -> Work:
    return Work(
        chunks=await attempt.output.rest(),
        entries=[dump_entry(Decided(attempt.task.step, follows))],
        next=following,
        journal_length=attempt.claim.journal_length,
        finish=finish,
    )
