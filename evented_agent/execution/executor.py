"""Runs attempts: claim, work, commit, and on to the end task that a commit claimed."""

import asyncio
import dataclasses
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from evented_agent.errors import EventedAgentError, LedgerUnavailable
from evented_agent.execution.attempt import Again, Attempt, Done, InThread, Pause, Process
from evented_agent.execution.end_task import run_end
from evented_agent.execution.lease import Heartbeats, boottime
from evented_agent.execution.model_task import failed_run, run_model
from evented_agent.execution.output import PATIENCE
from evented_agent.execution.tool_task import run_tool
from evented_agent.ledger import operations
from evented_agent.ledger.records import (
    FORMAT,
    Claim,
    Committed,
    Due,
    Fenced,
    Grew,
    Refused,
    Task,
)
from evented_agent.loop import State

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Outcome:
    """What became of one message.

    *sends* are the messages to send now. *handed_back* tells why this process did not, or not to
    the end, do the work; *retried* that the task runs again later; *failure* that it failed for
    good.
    """

    sends: list[Due] = field(default_factory=list)
    handed_back: str | None = None
    retried: str | None = None
    failure: BaseException | None = None


class Executor:
    """Executes tasks on one event loop."""

    def __init__(self, process: Process, loop: asyncio.AbstractEventLoop) -> None:
        self._process = process
        self.heartbeats = Heartbeats(
            process.keys, process.ledger, lease_ms=process.settings.lease_ms, loop=loop
        )

    async def execute(self, run_id: str, task_key: str, in_thread: InThread) -> Outcome:
        """Claim a task and work on it; also on the end task of its step, if it was the last."""
        outcome = Outcome()
        since = boottime()
        claim = await self._claim(run_id, task_key)
        if isinstance(claim, Refused):
            outcome.handed_back = claim.reason
            return outcome
        following: Claim | None = claim
        while following is not None:
            following = await self._attempt(following, in_thread, since, outcome)
            since = boottime()
        return outcome

    def release_all(self) -> Sequence[Task]:
        """Stop every attempt of this process; the tasks that somebody has to release."""
        leases = self.heartbeats.leases()
        for lease in leases:
            lease.stop("released")
        return [lease.task for lease in leases]

    async def _claim(self, run_id: str, task_key: str) -> Claim | Refused:
        call = operations.claim(
            self._process.keys,
            run_id,
            task_key,
            token=secrets.token_hex(8),
            worker=self._process.worker,
            newest=FORMAT,
            agents=sorted(self._process.agents),
        )
        return await self._process.ledger.asend(call, patience=PATIENCE)

    async def _attempt(
        self, claim: Claim, in_thread: InThread, since: float, outcome: Outcome
    ) -> Claim | None:
        """Work on one claim; returns the end task's claim where the commit made it."""
        attempt = Attempt(self._process, claim, in_thread, since)
        self.heartbeats.add(attempt.lease)
        try:
            if claim.aborted:
                attempt.lease.stop("aborted")
            return await self._work_and_commit(attempt, outcome)
        except Fenced as fenced:
            outcome.handed_back = fenced.reason
        except LedgerUnavailable as error:
            logger.warning("%s is left to its lease: %s", _name(claim.task), error)
            outcome.handed_back = "unreachable"
        except asyncio.CancelledError:
            if not await self._stopped(attempt):
                raise
            outcome.handed_back = attempt.lease.stopped
        finally:
            self.heartbeats.remove(attempt.lease)
        return None

    async def _work_and_commit(self, attempt: Attempt, outcome: Outcome) -> Claim | None:
        while True:
            result = await self._work(attempt)
            committed = await self._record(attempt, result)
            if isinstance(committed, Committed):
                break
            # Somebody else's result arrived meanwhile: decide again, with it.
            claim = dataclasses.replace(
                attempt.claim,
                entries=committed.entries,
                journal_length=committed.journal_length,
            )
            attempt = Attempt(self._process, claim, attempt.in_thread, boottime())
        outcome.sends.extend(committed.sends)
        if isinstance(result, Again):
            outcome.retried = result.reason
        elif isinstance(result, Done) and result.failure is not None:
            outcome.failure = result.failure
        return committed.end

    async def _work(self, attempt: Attempt) -> Done | Again | Pause:
        try:
            match attempt.task.kind:
                case "model":
                    return await run_model(attempt)
                case "tool":
                    return await run_tool(attempt)
                case "end":
                    return await run_end(attempt)
        except (Fenced, LedgerUnavailable):
            raise
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            if not isinstance(error, EventedAgentError):
                logger.exception("%s failed", _name(attempt.task))
            return await failed_run(attempt, State(), error)

    async def _record(self, attempt: Attempt, result: Done | Again | Pause) -> Committed | Grew:
        process = self._process
        attempt.lease.seal()
        if isinstance(result, Again):
            call = operations.retry(
                process.keys,
                attempt.task,
                delay_ms=int(result.delay * 1000),
                reason=result.reason[:500],
                change=result.change,
            )
            return await process.ledger.asend(call, patience=PATIENCE)
        if isinstance(result, Pause):
            pause = operations.suspend(
                process.keys,
                attempt.task,
                sent=attempt.output.sent,
                chunks=result.chunks,
                ask=result.ask,
                asked=result.asked,
            )
            return await process.ledger.asend(pause, patience=PATIENCE)
        commit = operations.commit(
            process.keys,
            attempt.task,
            sent=attempt.output.sent,
            work=result.work,
            worker=process.worker,
            end_token=secrets.token_hex(8),
        )
        return await process.ledger.asend(commit, patience=PATIENCE)

    async def _stopped(self, attempt: Attempt) -> bool:
        """Whether a cancellation was our own; one from outside hands the task back."""
        current = asyncio.current_task()
        assert current is not None
        stopped = attempt.lease.stopped
        if stopped in ("fenced", "released"):
            current.uncancel()
            return True
        release = operations.release(
            self._process.keys,
            attempt.task.run_id,
            token=attempt.task.token,
            reason=stopped or "interrupted",
        )
        await self._process.ledger.asend(release)
        if stopped is not None:
            current.uncancel()
        return stopped is not None


def _name(task: Task) -> str:
    return f"Task {task.key} of run {task.run_id}"
