"""Notification tasks: the hooks of failed, aborted and suspended runs, and their threads."""

import contextlib

from evented_agent.chunks import ErrorInfo
from evented_agent.errors import RunDeleted
from evented_agent.execution.attempt import Attempt, Done
from evented_agent.execution.tasks.hooks import call_hook
from evented_agent.execution.tasks.thread import save_thread
from evented_agent.ledger import runs, threads
from evented_agent.ledger.keys import thread_name
from evented_agent.ledger.records import Record, Work
from evented_agent.ledger.settings import milliseconds
from evented_agent.logs import logger_of
from evented_agent.state.fold import State, fold
from evented_agent.state.new_run import following_dropped
from evented_agent.state.views import pending_call
from evented_agent.telemetry.tracing import following_span

logger = logger_of(__name__)


async def run_after(attempt: Attempt) -> Done:
    """Save the messages of a failed or aborted run in its thread, and call its hook."""
    state = fold(await attempt.entries())
    record = await attempt.process.send(runs.read(attempt.process.keys, attempt.task.run_id))
    fields = record.fields
    # A run that was aborted before it began leaves nothing.
    if fields["status"] == "failed" or state.steps or state.history:
        await save_thread(attempt, state)
    reason = fields.get("finish_reason")
    if fields["status"] == "failed":
        await _go_on_with(attempt, record, state)
        error = ErrorInfo.model_validate_json(fields["error"]) if "error" in fields else None
        await call_hook(attempt, "error", state, error=error, finish_reason=reason)
    else:
        await call_hook(attempt, "abort", state, finish_reason=reason)
    attempt.close()
    return Done(Work())


async def _go_on_with(attempt: Attempt, record: Record, state: State) -> None:
    """Begin the next run of the thread with the messages that the failed one left unanswered."""
    process = attempt.process
    following = following_dropped(process.keys, record, state)
    if following is None:
        return
    await attempt.check_lease()
    name = thread_name(record.fields["thread"], record.fields.get("resource"))
    if following.takes_turns:
        ttl_ms = milliseconds(process.settings.thread_ttl)
        enter = threads.enter(process.keys, name, following.run_id, ttl_ms=ttl_ms, is_begun=True)
        await process.send(enter)
    span = following_span(process.settings, record, following.run_id)
    with contextlib.suppress(RunDeleted), span:
        if await process.send(following.create(span.stored)):
            attempt.sends.append(following.due)
        elif (await process.send(runs.read(process.keys, following.run_id))).ended:
            # It was begun before, and nobody else takes it out of the line.
            await process.send(threads.leave(process.keys, name, following.run_id))


async def run_hook(attempt: Attempt) -> Done:
    """Call the agent's hook for a suspension."""
    state = fold(await attempt.entries())
    record = await attempt.process.send(runs.read(attempt.process.keys, attempt.task.run_id))
    held = attempt.task.suspended
    assert held is not None
    pending = pending_call(record, attempt.task, held)
    await call_hook(attempt, "suspended", state, of=str(held.number), pending=pending)
    attempt.close()
    return Done(Work())
