"""The writes of one attempt: each fenced by its token, and retried while Redis cannot be reached.

Does not decide what is written, or what follows.
"""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from evented_agent.chunks.json_values import for_log, without_surrogates
from evented_agent.ledger import attempts
from evented_agent.ledger.attempts import Worker
from evented_agent.ledger.connection import Ledger
from evented_agent.ledger.keys import Keys
from evented_agent.ledger.records import (
    Committed,
    Due,
    JournalChanged,
    Signal,
    Task,
    Work,
)
from evented_agent.ledger.script import Command
from evented_agent.ledger.tree_records import NewChild, TreeFull

#: Seconds an attempt tries to reach Redis; reconcile has taken its task long before.
RETRY_FOR = 30.0
#: Most characters of why a task runs again.
_MOST_REASON = 500


class TaskLedger:
    """The ledger, bound to one claimed task.  All writes raise `Fenced` once the task is lost."""

    def __init__(self, keys: Keys, ledger: Ledger, worker: Worker, task: Task) -> None:
        self.task = task
        self._keys = keys
        self._ledger = ledger
        self._worker = worker

    def heartbeat_command(self) -> Command[Signal | None]:
        """Renew the lease; for whoever sends the heartbeats of many attempts together."""
        task = self.task
        return attempts.heartbeat(
            self._keys, task.run_id, task.key, token=task.token, lease_ms=self._worker.lease_ms
        )

    async def heartbeat(self) -> Signal | None:
        """Renew the lease; why the attempt is to stop, if it is."""
        return await self._ledger.asend(self.heartbeat_command(), retry_for=RETRY_FOR)

    async def append(
        self, chunks: Sequence[str], *, sent: int, closing: Sequence[str] | None
    ) -> Signal | None:
        """Add *chunks* after the *sent* ones; why the attempt is to stop, if it is.

        *closing* are the chunks that would close what is open now (None: as before).
        """
        task = self.task
        command = attempts.append(
            self._keys,
            task.run_id,
            task.key,
            token=task.token,
            sent=sent,
            chunks=chunks,
            closing=closing,
        )
        return await self._ledger.asend(command, retry_for=RETRY_FOR)

    async def store_blob(self, name: str, payload: str) -> None:
        """Store a large payload before the write that points to it."""
        command = attempts.store_blob(self._keys, self.task, name=name, payload=payload)
        await self._ledger.asend(command, retry_for=RETRY_FOR)

    async def commit(self, work: Work, *, sent: int) -> Committed | JournalChanged:
        """Complete the task, and claim the end task of its step if it was the last."""
        command = attempts.commit(
            self._keys,
            self.task,
            sent=sent,
            work=work,
            worker=self._worker,
            end_token=secrets.token_hex(8),
        )
        return await self._ledger.asend(command, retry_for=RETRY_FOR)

    async def close_run(
        self, work: Work, *, sent: int, journal_length: int
    ) -> int | Committed | JournalChanged:
        """Let nothing come in any more; returns how long the journal is then."""
        command = attempts.close(
            self._keys, self.task, sent=sent, work=work, journal_length=journal_length
        )
        return await self._ledger.asend(command, retry_for=RETRY_FOR)

    async def requeue(self, *, delay: float, reason: str, change: Mapping[str, Any]) -> Committed:
        """Queue the task again, to run after *delay* seconds; what it said is withdrawn."""
        command = attempts.requeue(
            self._keys,
            self.task,
            delay_ms=int(delay * 1000),
            reason=for_log(without_surrogates(reason), _MOST_REASON),
            change=change,
        )
        return await self._ledger.asend(command, retry_for=RETRY_FOR)

    async def suspend(
        self, chunks: Sequence[str], *, sent: int, ask: str, asked: str, kind: str
    ) -> Committed:
        """End the attempt with the chunk *ask*, which asks a person; what it said stays."""
        command = attempts.suspend(
            self._keys, self.task, sent=sent, chunks=chunks, ask=ask, asked=asked, kind=kind
        )
        return await self._ledger.asend(command, retry_for=RETRY_FOR)

    async def spawn(
        self, chunks: Sequence[str], *, sent: int, child: NewChild
    ) -> Committed | TreeFull:
        """End the attempt with a child run that answers its call."""
        command = attempts.spawn(self._keys, self.task, sent=sent, chunks=chunks, child=child)
        return await self._ledger.asend(command, retry_for=RETRY_FOR)

    async def release(self, reason: str) -> Sequence[Due]:
        """Hand the task back, for another worker to claim at once; returns the message to send."""
        task = self.task
        command = attempts.release(self._keys, task.run_id, token=task.token, reason=reason)
        return await self._ledger.asend(command)
