"""A run in its thread: waiting for its turn, loading the history, saving its messages."""

import contextlib
from collections.abc import Sequence

import pydantic_core

from evented_agent.agents.memory import Thread
from evented_agent.errors import RunDeleted, RunNotFound
from evented_agent.execution.attempt import Attempt, Process, Requeue
from evented_agent.execution.own_context import OwnContext
from evented_agent.ledger import runs, threads, watch
from evented_agent.ledger.keys import thread_name
from evented_agent.ledger.records import Claim, Due, Record
from evented_agent.ledger.run_turns import turn_ends_in
from evented_agent.ledger.settings import milliseconds
from evented_agent.logs import logger_of
from evented_agent.models.messages import (
    Message,
    checked_messages,
    dump_thread_entry,
    load_messages,
    load_thread,
)
from evented_agent.state.fold import State

logger = logger_of(__name__)

#: Seconds between two polls for the turn, doubling; mostly the run is woken before that.
_FIRST_POLL, _MOST_POLL = 1.0, 30.0
#: Seconds until a run that was interrupted for this one has left, mostly.
_INTERRUPTED = 0.2
#: Runs whose messages are read for a window that only counts tokens.
_MOST_RUNS = 1000
#: The abort reason of a run that another one interrupts.
INTERRUPTION = "Another run of its thread interrupted it."


async def wait_for_turn(attempt: Attempt) -> None:
    """Raise `Requeue` as long as another run has its turn in the thread."""
    thread, policy = attempt.claim.thread, attempt.options.when_busy
    if thread is None or policy == "parallel":
        return
    run_id = attempt.task.run_id
    turn = await _enter(attempt)
    while turn.holder != run_id:
        holder = turn.holder
        record = await _find(attempt.process, holder)
        ends_in = 0 if record is None else turn_ends_in(record)
        if ends_in == 0 or await _gives_way(attempt, turn, record):
            # Its worker died before it could leave the thread, or nobody serves its agent; or it
            # only waits.
            call = threads.leave(
                attempt.process.keys, _name(attempt.claim), holder, number=turn.number
            )
            await attempt.process.send(call)
            turn = await _enter(attempt)
            continue
        if policy == "interrupt":
            # A worker that was frozen must not abort a run that came after its own.
            await attempt.check_lease()
            abort = runs.abort(attempt.process.keys, holder, reason=INTERRUPTION)
            await attempt.process.send(abort)
        raise _not_its_turn(attempt, thread, holder, ends_in)


async def _gives_way(attempt: Attempt, turn: threads.TurnHolder, record: Record | None) -> bool:
    """Whether the run that has the turn only waits, and lets this one have it."""
    options = attempt.options
    is_taken = options.when_busy != "interrupt" and options.when_waiting != "queue"
    if record is None or not record.only_waits or not is_taken:
        return False
    # A worker that was frozen must not take a turn for a run that another goes on with.
    await attempt.check_lease()
    call = runs.yield_turn(attempt.process.keys, turn.holder, number=turn.number)
    with contextlib.suppress(RunNotFound, RunDeleted):
        return await attempt.process.send(call)
    return True


async def wake_next(process: Process, claim: Claim) -> Sequence[Due]:
    """Let the next run of the thread try for its turn: the one that has it only waits now."""
    if claim.thread is None:
        return ()
    call = threads.next_turn(process.keys, _name(claim), claim.task.run_id)
    following = await process.send(call)
    return () if following is None else await process.send(watch.wake(process.keys, following))


async def load_history(attempt: Attempt) -> Sequence[Message]:
    """The messages of the thread that fit the agent's window; none without a thread."""
    if attempt.claim.thread is None:
        return ()
    agent = attempt.agent
    if agent.memory is not None:
        thread = Thread(attempt.claim.thread, attempt.claim.resource)
        loaded = await OwnContext(agent.memory.load(thread, agent.window))
        return agent.window.of(checked_messages(loaded))
    most = max(1, min(agent.window.messages, _MOST_RUNS))
    call = threads.recall(attempt.process.keys, _name(attempt.claim), most=most)
    entries = await attempt.process.send(call)
    return agent.window.of(load_thread(entries))


async def save_thread(attempt: Attempt, state: State) -> None:
    """Save the run's messages in its thread; a repeated save overwrites the first."""
    if attempt.claim.thread is None:
        return
    await attempt.check_lease()
    given = load_messages(pydantic_core.from_json(attempt.claim.messages))
    messages = [*given, *state.closed_messages()]
    run_id = attempt.task.run_id
    if attempt.agent.memory is not None:
        thread = Thread(attempt.claim.thread, attempt.claim.resource)
        # Only here can a run that was deleted be kept from saving its words.
        await attempt.ledger.heartbeat()
        await OwnContext(attempt.agent.memory.save(thread, run_id, messages))
        return
    process = attempt.process
    call = threads.remember(
        process.keys,
        _name(attempt.claim),
        run_id,
        journal_length=attempt.claim.journal_length,
        entry=dump_thread_entry(run_id, messages),
        messages=len(messages),
        ttl_ms=milliseconds(process.settings.thread_ttl),
    )
    await process.send(call)


async def leave_thread(process: Process, claim: Claim) -> Sequence[Due]:
    """Leave the thread and wake the next run of it; returns the messages to send."""
    if claim.thread is None:
        return ()
    call = threads.leave(process.keys, _name(claim), claim.task.run_id)
    following = await process.send(call)
    if following is None:
        return ()
    wake = watch.wake(process.keys, following)
    return await process.send(wake)


def _name(claim: Claim) -> str:
    assert claim.thread is not None
    return thread_name(claim.thread, claim.resource)


async def _enter(attempt: Attempt) -> threads.TurnHolder:
    ttl_ms = milliseconds(attempt.process.settings.thread_ttl)
    name, run_id = _name(attempt.claim), attempt.task.run_id
    void = attempt.claim.yielded
    call = threads.enter(attempt.process.keys, name, run_id, ttl_ms=ttl_ms, void=void)
    return await attempt.process.send(call)


async def _find(process: Process, run_id: str) -> Record | None:
    try:
        return await process.send(runs.read(process.keys, run_id))
    except (RunNotFound, RunDeleted):
        return None


def _not_its_turn(attempt: Attempt, thread: str, holder: str, ends_in: int | None) -> Requeue:
    waited = attempt.task.waited
    delay = min(_FIRST_POLL * 2**waited, _MOST_POLL)
    if attempt.options.when_busy == "interrupt" and waited == 0:
        delay = _INTERRUPTED
    if ends_in is not None:
        delay = min(delay, ends_in / 1000 + _INTERRUPTED)
    why = f"its turn in thread {thread!r}, which run {holder!r} has"
    return Requeue(delay, why, {"waited": min(waited + 1, 10), "waits_for": why})
