"""How to look at runs, each as a pair: for threads, and for event loops."""

import builtins
from datetime import datetime

from evented_agent.agents.tools.approvals import Pending
from evented_agent.client.listing import (
    RunFilter,
    RunPage,
    cost_of_runs,
    page_of_runs,
    pending_calls,
)
from evented_agent.client.owner import for_owner, run_of
from evented_agent.client.queries import (
    list_attempts,
    read_background_task,
    read_background_tasks,
    read_info,
    read_result,
)
from evented_agent.client.thread_methods import ThreadMethods
from evented_agent.models.cost import RunsCost
from evented_agent.state.run_info import RunInfo, Status
from evented_agent.state.run_result import BackgroundTask, RunResult
from evented_agent.state.task_attempt import AttemptList


class LookMethods(ThreadMethods):
    """How a caller looks at runs: one, lists of them, what waits in them, and their attempts."""

    def get(self, run_id: str, *, resource_id: str | None = None) -> RunInfo:
        """The state of a run now.  Raises `RunNotFound`, `RunDeleted`."""
        at = self._deployment
        return at.drive("get", for_owner(at, run_id, resource_id, read_info(at, run_id)))

    async def aget(self, run_id: str, *, resource_id: str | None = None) -> RunInfo:
        """`get` for the running event loop."""
        at = self._deployment
        return await at.adrive(for_owner(at, run_id, resource_id, read_info(at, run_id)))

    def result(self, run_id: str, *, resource_id: str | None = None) -> RunResult:
        """What the run came to, so far.  Raises `RunNotFound`, `RunDeleted`.

        Its *output* has the type that the agent declares where this process has the agent's code,
        elsewhere it is plain JSON.
        """
        at = self._deployment
        return at.drive("result", for_owner(at, run_id, resource_id, read_result(at, run_id)))

    async def aresult(self, run_id: str, *, resource_id: str | None = None) -> RunResult:
        """`result` for the running event loop."""
        at = self._deployment
        return await at.adrive(for_owner(at, run_id, resource_id, read_result(at, run_id)))

    def list(
        self,
        *,
        status: Status | None = None,
        agent: str | None = None,
        thread_id: str | None = None,
        resource_id: str | None = None,
        since: datetime | None = None,
        limit: int = 50,
        page: str | None = None,
    ) -> RunPage:
        """The newest runs that match all that is given, at most *limit*; see `RunFilter`.

        The `next_page` of what it returns, passed as *page*, gives those that follow. An agent's
        own method lists the runs of that agent.
        """
        scope = self._agent_scope(agent)
        wanted = RunFilter(status, scope, thread_id, resource_id, since)
        plan = page_of_runs(self._deployment, wanted, limit=limit, page=page)
        return self._deployment.drive("list", plan)

    async def alist(
        self,
        *,
        status: Status | None = None,
        agent: str | None = None,
        thread_id: str | None = None,
        resource_id: str | None = None,
        since: datetime | None = None,
        limit: int = 50,
        page: str | None = None,
    ) -> RunPage:
        """`list` for the running event loop."""
        scope = self._agent_scope(agent)
        wanted = RunFilter(status, scope, thread_id, resource_id, since)
        plan = page_of_runs(self._deployment, wanted, limit=limit, page=page)
        return await self._deployment.adrive(plan)

    def cost(
        self,
        *,
        agent: str | None = None,
        thread_id: str | None = None,
        resource_id: str | None = None,
        since: datetime | None = None,
        limit: int = 200,
        page: str | None = None,
    ) -> RunsCost:
        """What the runs of a conversation, of a resource, or of all, cost together.

        Added up from their records, at most *limit* runs, the newest first; the `next_page` of what
        it returns, passed as *page*, adds up those that follow. Runs whose record is gone (7 days
        after their end, `Settings.record_ttl`) are not counted. An agent's own method adds up the
        runs of that agent.
        """
        wanted = RunFilter(None, self._agent_scope(agent), thread_id, resource_id, since)
        plan = cost_of_runs(self._deployment, wanted, limit=limit, page=page)
        return self._deployment.drive("cost", plan)

    async def acost(
        self,
        *,
        agent: str | None = None,
        thread_id: str | None = None,
        resource_id: str | None = None,
        since: datetime | None = None,
        limit: int = 200,
        page: str | None = None,
    ) -> RunsCost:
        """`cost` for the running event loop."""
        wanted = RunFilter(None, self._agent_scope(agent), thread_id, resource_id, since)
        plan = cost_of_runs(self._deployment, wanted, limit=limit, page=page)
        return await self._deployment.adrive(plan)

    def pending(
        self,
        *,
        agent: str | None = None,
        thread_id: str | None = None,
        resource_id: str | None = None,
        since: datetime | None = None,
        limit: int = 50,
    ) -> builtins.list[Pending]:
        """The calls that wait for a person, the oldest first; at most of *limit* runs a status.

        An agent's own method lists the calls of that agent.
        """
        wanted = RunFilter(None, self._agent_scope(agent), thread_id, resource_id, since)
        plan = pending_calls(self._deployment, wanted, limit=limit)
        return self._deployment.drive("pending", plan)

    async def apending(
        self,
        *,
        agent: str | None = None,
        thread_id: str | None = None,
        resource_id: str | None = None,
        since: datetime | None = None,
        limit: int = 50,
    ) -> builtins.list[Pending]:
        """`pending` for the running event loop."""
        wanted = RunFilter(None, self._agent_scope(agent), thread_id, resource_id, since)
        return await self._deployment.adrive(pending_calls(self._deployment, wanted, limit=limit))

    def background_tasks(
        self, run_id: str, *, resource_id: str | None = None
    ) -> builtins.list[BackgroundTask]:
        """The background calls of a run, in the model's order.

        Raises `RunNotFound`, `RunDeleted`.
        """
        at = self._deployment
        plan = for_owner(at, run_id, resource_id, read_background_tasks(at, run_id))
        return at.drive("background_tasks", plan)

    async def abackground_tasks(
        self, run_id: str, *, resource_id: str | None = None
    ) -> builtins.list[BackgroundTask]:
        """`background_tasks` for the running event loop."""
        at = self._deployment
        plan = for_owner(at, run_id, resource_id, read_background_tasks(at, run_id))
        return await at.adrive(plan)

    def background_task(
        self, task_id: str, *, resource_id: str | None = None
    ) -> BackgroundTask | None:
        """One background call, ``<run id>:<tool call id>``; None where the run has no such call.

        Raises `RunNotFound`, `RunDeleted`.
        """
        at = self._deployment
        plan = for_owner(at, run_of(task_id), resource_id, read_background_task(at, task_id))
        return at.drive("background_task", plan)

    async def abackground_task(
        self, task_id: str, *, resource_id: str | None = None
    ) -> BackgroundTask | None:
        """`background_task` for the running event loop."""
        at = self._deployment
        plan = for_owner(at, run_of(task_id), resource_id, read_background_task(at, task_id))
        return await at.adrive(plan)

    def attempts(self, run_id: str, *, resource_id: str | None = None) -> AttemptList:
        """The attempts of the run's tasks: who ran what, when, and how it ended; the last 500.

        Those of its children are among them. Those that have ended come first, in that order, then
        those that run or are queued.  Raises `RunNotFound`, `RunDeleted`.
        """
        at = self._deployment
        return at.drive("attempts", for_owner(at, run_id, resource_id, list_attempts(at, run_id)))

    async def aattempts(self, run_id: str, *, resource_id: str | None = None) -> AttemptList:
        """`attempts` for the running event loop."""
        at = self._deployment
        return await at.adrive(for_owner(at, run_id, resource_id, list_attempts(at, run_id)))
