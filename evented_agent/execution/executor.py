"""Runs attempts: claim a task, work, commit, continue with the end task if one was claimed."""

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from evented_agent.chunks.json_values import error_text, for_log
from evented_agent.errors import EventedAgentError, LedgerUnavailable, RunDeleted
from evented_agent.execution.attempt import (
    Attempt,
    Done,
    InThread,
    Process,
    Requeue,
    Spawned,
    Suspended,
    backoff,
    failed_run,
    reportable,
)
from evented_agent.execution.lease import Heartbeats, boottime
from evented_agent.execution.reports import (
    AttemptResult,
    count_claim,
    count_turn,
    trace_commit,
)
from evented_agent.execution.tasks.after import run_after, run_hook
from evented_agent.execution.tasks.end import run_end
from evented_agent.execution.tasks.model import run_model
from evented_agent.execution.tasks.thread import leave_thread, wake_next
from evented_agent.execution.tasks.tool import run_tool
from evented_agent.ledger import attempts, runs
from evented_agent.ledger.records import (
    FORMAT,
    GAP,
    Claim,
    Committed,
    Due,
    Fenced,
    JournalChanged,
    Refused,
    RunEnd,
    Task,
    Work,
)
from evented_agent.ledger.tree_records import TreeFull
from evented_agent.logs import begin_work, logger_of
from evented_agent.state.fold import State
from evented_agent.telemetry.conventions import RUN

logger = logger_of(__name__)

#: How often a notification task is tried before it is skipped.
MOST_TRIES = 8
#: Failures of what follows a run's end from which on the thread is left to the next run.
PATIENCE = 2
#: Most seconds before a task runs again whose end could not be written.
_MOST_WAIT = 60.0


#: What a requeue changes where it is because something failed, rather than to wait.
_RETRIES = {"tries", "hook_tries"}

_WORK: dict[str, Callable[[Attempt], Awaitable[AttemptResult]]] = {
    "model": run_model,
    "tool": run_tool,
    "end": run_end,
    "after": run_after,
    "hook": run_hook,
}


@dataclass(slots=True)
class Outcome:
    """What became of one message.

    *sends* are the messages to send now. *handed_back* is why this process did not do the work,
    or not all of it; *retried* why the task runs again later; *failure* why it failed for good.
    """

    sends: list[Due] = field(default_factory=list)
    handed_back: str | None = None
    retried: str | None = None
    failure: BaseException | None = None
    #: Whether the failure is the model's to deal with: the run goes on.
    is_handled: bool = False


@dataclass(frozen=True, slots=True)
class _Held:
    """A claim, and when it was asked for: its lease began then, not when the reply was read."""

    claim: Claim
    since: float


class Executor:
    """Executes tasks on one event loop."""

    def __init__(self, process: Process, loop: asyncio.AbstractEventLoop) -> None:
        self._process = process
        self.heartbeats = Heartbeats(process.ledger, lease_ms=process.settings.lease_ms, loop=loop)

    async def execute(self, run_id: str, task_key: str, in_thread: InThread) -> Outcome:
        """Claim a task and run it; also the end task of its step, if it was the step's last."""
        outcome = Outcome()
        since = boottime()
        claim = await self._claim(run_id, task_key)
        if isinstance(claim, Refused):
            outcome.handed_back = claim.reason
            return outcome
        count_claim(self._process.counts, claim)
        held: _Held | None = _Held(claim, since)
        while held is not None:
            held = await self._attempt(held, in_thread, outcome)
        return outcome

    def release_all(self) -> Sequence[Task]:
        """Stop every attempt of this process; returns the tasks, which are still to be released."""
        leases = self.heartbeats.leases()
        for lease in leases:
            lease.stop("released")
        return [lease.task for lease in leases]

    async def _claim(self, run_id: str, task_key: str) -> Claim | Refused:
        call = attempts.claim(
            self._process.keys,
            run_id,
            task_key,
            token=secrets.token_hex(8),
            worker=self._process.worker,
            newest=FORMAT,
            agents=sorted(self._process.agents),
        )
        return await self._process.send(call)

    async def _attempt(self, held: _Held, in_thread: InThread, outcome: Outcome) -> _Held | None:
        """Run one claimed task; returns the claim of the end task if the commit made one."""
        claim = held.claim
        attempt = Attempt(self._process, claim, in_thread, held.since)
        _log_begin(claim)
        self.heartbeats.add(attempt.lease, attempt.ledger.heartbeat_command())
        try:
            if claim.aborted:
                attempt.lease.stop("aborted")
            return await self._work_and_commit(attempt, outcome)
        except Fenced as fenced:
            await self._fenced(attempt, fenced, outcome)
        except LedgerUnavailable as error:
            logger.warning("%s is retried once its lease expires: %s", _name(claim.task), error)
            outcome.handed_back = "unreachable"
        except asyncio.CancelledError:
            if not await self._stopped(attempt, outcome):
                raise
            outcome.handed_back = attempt.lease.stopped
        except Exception as error:
            logger.exception("%s could not be completed", _name(claim.task))
            outcome.failure = reportable(error)
            attempt.trace.failed(error)
            await self._give_up(attempt, error, outcome)
        finally:
            self.heartbeats.remove(attempt.lease)
            outcome.sends.extend(attempt.sends)
            attempt.trace.end(outcome.handed_back)
        if attempt.has_told:
            await self._forget_copy(claim.task.run_id, in_thread)
        return None

    async def _fenced(self, attempt: Attempt, fenced: Fenced, outcome: Outcome) -> None:
        outcome.handed_back = fenced.reason
        attempt.count("fenced_writes")
        if fenced.reason == GAP:
            await self._begin_anew(attempt, outcome)

    async def _begin_anew(self, attempt: Attempt, outcome: Outcome) -> None:
        """Redis has lost what this attempt wrote, as a failover may: that is nobody's crash."""
        logger.warning("%s begins anew: Redis has lost chunks of it", _name(attempt.task))
        with contextlib.suppress(Fenced, LedgerUnavailable):
            outcome.sends.extend(await attempt.ledger.release("lost"))

    async def _give_up(self, attempt: Attempt, error: Exception, outcome: Outcome) -> None:
        """Say what kept the attempt from its end; its lease is never left to run out for that.

        The run ends with *error*. Where not even that can be written, the task waits and runs
        again.
        """
        task = attempt.task
        try:
            await self._end_with(attempt, error, outcome)
        except (Fenced, LedgerUnavailable) as gone:
            logger.warning("%s could not be given up: %s", _name(task), gone)
        except (Exception, Requeue) as again:
            delay = backoff(task.retries, first=1, most=_MOST_WAIT)
            reason = f"{type(error).__name__}: {error_text(error)}"
            if not isinstance(again, Requeue):
                logger.exception("%s runs again in %.0f s: %s", _name(task), delay, for_log(reason))
                again = Requeue(delay, reason, {})
            with contextlib.suppress(Fenced, LedgerUnavailable):
                await self._requeue(attempt, again, outcome)

    async def _end_with(self, attempt: Attempt, error: Exception, outcome: Outcome) -> None:
        attempt.close()
        await attempt.writer.recover()
        attempt.writer.discard()
        if attempt.task.kind in ("after", "hook"):
            result = _retry_or_skip(attempt, error)
        else:
            result = await failed_run(attempt, State(), error)
        committed = await self._record(attempt, result)
        if isinstance(committed, Committed):
            outcome.sends.extend(committed.sends)

    async def _forget_copy(self, run_id: str, in_thread: InThread) -> None:
        """The end that the engine was told of is not committed: was the run deleted meanwhile?"""
        try:
            await self._process.send(runs.read(self._process.keys, run_id))
        except RunDeleted:
            await in_thread(lambda: self._process.on_deleted(run_id))
        except EventedAgentError as error:
            logger.warning("Whether run %s was deleted is not known: %s", run_id, error)

    async def _work_and_commit(self, attempt: Attempt, outcome: Outcome) -> _Held | None:
        while True:
            try:
                result = await self._work(attempt)
            except Requeue as again:
                await self._requeue(attempt, again, outcome)
                return None
            since = boottime()
            result, committed = await self._commit(attempt, result)
            if isinstance(committed, Committed):
                break
            attempt.decide_again(committed)
        outcome.sends.extend(committed.sends)
        if committed.is_newer:
            outcome.handed_back = "newer"
            return None
        trace_commit(attempt, result, committed)
        count_turn(attempt, result)
        await self._pass_turn_on(attempt, result, committed, outcome)
        if committed.aborted:
            await self._log_abort(attempt)
        elif isinstance(result, Done):
            _log_end(attempt, result.work.finish)
            # The end task that follows here must not hide how the call came out.
            if result.failure is not None:
                outcome.failure, outcome.is_handled = result.failure, result.is_handled
        return None if committed.end is None else _Held(committed.end, since)

    async def _pass_turn_on(
        self, attempt: Attempt, result: AttemptResult, committed: Committed, outcome: Outcome
    ) -> None:
        """Let the next run of the thread go on where this one has ended, or only waits."""
        if _is_last(attempt.task, result):
            outcome.sends.extend(await leave_thread(self._process, attempt.claim))
        elif committed.only_waits:
            outcome.sends.extend(await wake_next(self._process, attempt.claim))

    async def _requeue(self, attempt: Attempt, again: Requeue, outcome: Outcome) -> None:
        attempt.lease.seal()
        committed = await attempt.ledger.requeue(
            delay=again.delay, reason=again.reason, change=again.change
        )
        outcome.sends.extend(committed.sends)
        outcome.retried = again.reason
        attempt.trace.failed(again.__cause__ or "retry", again.reason)
        if _RETRIES & set(again.change):
            attempt.count("retries")
        if _holds_others(attempt.task, again):
            outcome.sends.extend(await leave_thread(self._process, attempt.claim))

    async def _work(self, attempt: Attempt) -> AttemptResult:
        try:
            return await _WORK[attempt.task.kind](attempt)
        except (Fenced, LedgerUnavailable):
            raise
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001 - the run ends
            if attempt.task.kind in ("after", "hook"):
                return _retry_or_skip(attempt, error)
            return await failed_run(attempt, State(), error)

    async def _log_abort(self, attempt: Attempt) -> None:
        """Log that a run has come to its end here, if this attempt was what it waited for."""
        run_id = attempt.task.run_id
        with contextlib.suppress(EventedAgentError):
            record = await self._process.send(runs.read(self._process.keys, run_id))
            if record.fields["status"] == "aborted":
                reason = record.fields.get("abort_reason") or "no reason given"
                agent = record.fields["agent"]
                logger.info("Run %s of agent %s was aborted: %s", run_id, agent, reason)
                attempt.trace.aborted_run(record, reason)

    async def _commit(
        self, attempt: Attempt, result: AttemptResult
    ) -> tuple[AttemptResult, Committed | JournalChanged]:
        """Record what an attempt has come to, and say as what."""
        if isinstance(result, Spawned):
            return await self._spawn(attempt, result)
        return result, await self._record(attempt, result)

    async def _record(
        self, attempt: Attempt, result: Done | Suspended
    ) -> Committed | JournalChanged:
        attempt.lease.seal()
        if isinstance(result, Suspended):
            return await attempt.ledger.suspend(
                result.chunks,
                sent=attempt.writer.sent,
                ask=result.ask,
                asked=result.asked,
                kind=result.kind,
            )
        return await attempt.ledger.commit(result.work, sent=attempt.writer.sent)

    async def _spawn(
        self, attempt: Attempt, result: Spawned
    ) -> tuple[Done | Spawned, Committed | JournalChanged]:
        """Begin a child run; what came of that, and as what it was recorded."""
        attempt.lease.seal()
        with attempt.trace.begin_child(result.agent.id, result.agent.version) as span:
            child = replace(result.child, trace=span.stored)
            reply = await attempt.ledger.spawn(result.chunks, sent=attempt.writer.sent, child=child)
            if isinstance(reply, TreeFull):
                span.failed("full", f"The tree of runs has too many: {reply.limit}")
            elif reply.aborted:
                span.failed("aborted", "The run is being aborted.")
            elif reply.sends:
                first = reply.sends[0]
                span.about(RUN, f"{first.run_id}{first.key.partition('/')[0]}")
        if isinstance(reply, Committed):
            return result, reply
        refused = _with_chunks(result.chunks, await result.refused(reply))
        return refused, await self._record(attempt, refused)

    async def _stopped(self, attempt: Attempt, outcome: Outcome) -> bool:
        """Whether the attempt was stopped on purpose; any other cancellation releases the task."""
        current = asyncio.current_task()
        assert current is not None
        stopped = attempt.lease.stopped
        if stopped in ("fenced", "released"):
            current.uncancel()
            return True
        if stopped == "lost":
            await self._begin_anew(attempt, outcome)
        else:
            await attempt.ledger.release(stopped or "interrupted")
        if stopped == "aborted":
            await self._log_abort(attempt)
        if stopped is not None:
            current.uncancel()
        return stopped is not None


def _retry_or_skip(attempt: Attempt, error: BaseException) -> Done:
    """Notification tasks never fail a run: they are retried, then skipped."""
    tries = attempt.task.tries + 1
    if tries < MOST_TRIES:
        reason = f"{type(error).__name__}: {error_text(error)}"
        raise Requeue(backoff(tries, first=1, most=60), reason, {"tries": tries})
    logger.error("%s failed %d times and is skipped", _name(attempt.task), tries, exc_info=error)
    attempt.close()
    return Done(Work())


def _with_chunks(before: Sequence[str], done: Done) -> Done:
    return replace(done, work=replace(done.work, chunks=[*before, *done.work.chunks]))


def _log_begin(claim: Claim) -> None:
    task = claim.task
    begin_work(task.own_run_id, task.key, claim.agent, task.generation)
    if task.kind == "model" and task.step == 1 and task.generation == 1:
        logger.info("Run %s of agent %s started", task.own_run_id, claim.agent)


def _log_end(attempt: Attempt, end: RunEnd | None) -> None:
    if end is None:
        return
    run_id, agent = attempt.task.own_run_id, attempt.agent.id
    if end.status == "finished":
        logger.info("Run %s of agent %s finished (%s)", run_id, agent, end.reason)
        return
    error = end.error or {}
    why = for_log(f"{error.get('name')}: {error.get('message')}")
    logger.error("Run %s of agent %s failed: %s", run_id, agent, why)


def _holds_others(task: Task, again: Requeue) -> bool:
    """Whether what should follow a run's end fails again and again, while others wait for it."""
    return task.kind == "after" and again.change.get("tries", 0) >= PATIENCE


def _is_last(task: Task, result: AttemptResult) -> bool:
    """Whether this is the run's last task; a failed or aborted run ends with its after task."""
    if not isinstance(result, Done) or task.branch:
        return False
    finish = result.work.finish
    return task.kind == "after" or (finish is not None and finish.status == "finished")


def _name(task: Task) -> str:
    return f"Task {task.key} of run {task.run_id}"
