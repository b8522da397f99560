"""Calls of an agent's hooks: at least once per event, each time with the same key."""

from typing import Any, TypedDict, Unpack

from evented_agent.agents.callbacks import EventKind, RunEvent, StepInfo
from evented_agent.agents.tools.approvals import Pending
from evented_agent.chunks import ErrorInfo
from evented_agent.chunks.json_values import error_text, for_log
from evented_agent.execution.attempt import Attempt, Requeue, backoff
from evented_agent.logs import logger_of
from evented_agent.state.fold import State

logger = logger_of(__name__)

#: How often a hook that fails is called before it is skipped.
TRIES = 3
#: Seconds before the second call of a hook that failed, doubling up to the most.
_FIRST_WAIT, _MOST_WAIT = 1.0, 10.0


class EventDetails(TypedDict, total=False):
    """What only some kinds of events have; see `RunEvent`."""

    finish_reason: str | None
    error: ErrorInfo | None
    output: Any
    info: StepInfo
    pending: Pending


async def call_hook(
    attempt: Attempt,
    kind: EventKind,
    state: State,
    *,
    of: str = "",
    **details: Unpack[EventDetails],
) -> None:
    """Call the agent's hook; raises `Requeue` where it failed and is to be called again later.

    *of* is what the event is about, where a run may have several of its kind.
    """
    hook = attempt.agent.hooks.get(f"on_{kind}")
    if hook is None:
        return
    event = RunEvent(
        key=f"{attempt.task.own_run_id}:{kind}{of and ':'}{of}",
        kind=kind,
        run_id=attempt.task.own_run_id,
        agent=attempt.agent.id,
        step=attempt.task.step,
        text=state.text,
        usage=state.usage,
        cost=state.cost,
        thread_id=attempt.claim.thread,
        resource_id=attempt.claim.resource,
        context=attempt.options.context,
        **details,
    )
    await attempt.check_lease()
    try:
        await attempt.call_user(hook, event)
    except Exception as error:
        tries = attempt.task.hook_tries + 1
        if tries < TRIES:
            failure = f"on_{kind}: {type(error).__name__}: {error_text(error)}"
            logger.warning("A hook of agent %s failed: %s", attempt.agent.id, for_log(failure))
            delay = backoff(tries - 1, first=_FIRST_WAIT, most=_MOST_WAIT)
            raise Requeue(delay, failure, {"hook_tries": tries}) from error
        logger.exception(
            "The hook on_%s of agent %s failed %d times on %s and is skipped",
            kind,
            attempt.agent.id,
            tries,
            event.key,
        )
