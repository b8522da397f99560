"""Revoking a task, from Flower or ``app.control``, aborts its run."""

from typing import Any

from celery.worker.request import Request

from evented_agent.client.runs import Runs
from evented_agent.errors import EventedAgentError
from evented_agent.ledger.runs import abort
from evented_agent.logs import logger_of

logger = logger_of(__name__)

REASON = "A task of the run was revoked."


class AgentRequest(Request):
    """The worker's side of one message; made for those of agent tasks only."""

    def revoked(self) -> bool:
        """Whether the task was revoked before it began; its run is aborted then."""
        is_revoked = bool(super().revoked())
        if is_revoked:
            self._abort()
        return is_revoked

    def terminate(self, _pool: Any, signal: Any = None) -> None:
        """Abort the run of a task that has begun; no process is killed for it.

        Other runs share the process, and what ignores an abort is cut off after its grace.
        """
        self._abort()
        self._announce_revoked("terminated", True, signal, False)  # type: ignore[attr-defined]

    def _abort(self) -> None:
        runs = Runs.of(self.app)
        run_id = self.id.partition(":")[0]
        try:
            runs.ledger.send(abort(runs.keys, run_id, reason=REASON), retry_for=1)
        except EventedAgentError as error:
            logger.warning("Run %s could not be aborted: %s", run_id, error)
