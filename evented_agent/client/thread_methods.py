"""What can be done with conversations, each as a pair: for threads, and for event loops."""

from datetime import datetime

from evented_agent.client.conversations import (
    ThreadPage,
    page_of_threads,
    read_thread_info,
    rename_thread,
)
from evented_agent.client.deployment import Deployment
from evented_agent.client.erasure import delete_conversation
from evented_agent.client.queries import read_thread
from evented_agent.client.thread_course import Position, RunsOfThread, ThreadCourse
from evented_agent.client.thread_stream import AsyncThreadStream, ThreadStream
from evented_agent.models.messages import Message
from evented_agent.state.thread_info import ThreadInfo


class ThreadMethods:
    """What a caller does with conversations: list, read, name, forget and follow them."""

    @property
    def _deployment(self) -> Deployment:
        """Where the runs are."""
        raise NotImplementedError

    def _agent_scope(self, agent: str | None) -> str | None:
        """The agent whose runs are meant; None for all."""
        return agent

    def threads(
        self,
        *,
        resource_id: str | None = None,
        since: datetime | None = None,
        limit: int = 50,
        page: str | None = None,
    ) -> ThreadPage:
        """The conversations of a resource, or all, at most *limit*, those in use last first.

        *since* leaves out those in which nothing has happened since then. The `next_page` of what
        it returns, passed as *page*, gives those that follow. A conversation is found from its
        first call on, as long as its messages are kept.
        """
        plan = page_of_threads(self._deployment, resource_id, since=since, limit=limit, page=page)
        return self._deployment.drive("threads", plan)

    async def athreads(
        self,
        *,
        resource_id: str | None = None,
        since: datetime | None = None,
        limit: int = 50,
        page: str | None = None,
    ) -> ThreadPage:
        """`threads` for the running event loop."""
        plan = page_of_threads(self._deployment, resource_id, since=since, limit=limit, page=page)
        return await self._deployment.adrive(plan)

    def thread_info(self, thread_id: str, *, resource_id: str | None = None) -> ThreadInfo | None:
        """A conversation as `threads` shows it; None where there is none."""
        plan = read_thread_info(self._deployment, thread_id, resource_id)
        return self._deployment.drive("thread_info", plan)

    async def athread_info(
        self, thread_id: str, *, resource_id: str | None = None
    ) -> ThreadInfo | None:
        """`thread_info` for the running event loop."""
        plan = read_thread_info(self._deployment, thread_id, resource_id)
        return await self._deployment.adrive(plan)

    def set_thread_title(
        self, thread_id: str, title: str | None, *, resource_id: str | None = None
    ) -> None:
        """Call a conversation something, up to 200 characters; None takes its title away.

        Durable on return.  Raises `ThreadNotFound`.
        """
        plan = rename_thread(self._deployment, thread_id, title, resource_id)
        self._deployment.drive("set_thread_title", plan)

    async def aset_thread_title(
        self, thread_id: str, title: str | None, *, resource_id: str | None = None
    ) -> None:
        """`set_thread_title` for the running event loop."""
        plan = rename_thread(self._deployment, thread_id, title, resource_id)
        await self._deployment.adrive(plan)

    def thread(self, thread_id: str, *, resource_id: str | None = None) -> list[Message]:
        """The conversation that runs with this *thread_id* and *resource_id* have had so far.

        Empty for one that is unknown, or that an agent's own `Memory` keeps.
        """
        plan = read_thread(self._deployment, thread_id, resource_id)
        return self._deployment.drive("thread", plan)

    async def athread(self, thread_id: str, *, resource_id: str | None = None) -> list[Message]:
        """`thread` for the running event loop."""
        return await self._deployment.adrive(read_thread(self._deployment, thread_id, resource_id))

    def delete_thread(self, thread_id: str, *, resource_id: str | None = None) -> None:
        """Forget a conversation; its runs stay."""
        plan = delete_conversation(self._deployment, thread_id, resource_id)
        self._deployment.drive("delete_thread", plan)

    async def adelete_thread(self, thread_id: str, *, resource_id: str | None = None) -> None:
        """`delete_thread` for the running event loop."""
        plan = delete_conversation(self._deployment, thread_id, resource_id)
        await self._deployment.adrive(plan)

    def follow(
        self,
        thread_id: str,
        *,
        resource_id: str | None = None,
        agent: str | None = None,
        after: Position | None = None,
        timeout: float | None = None,
    ) -> ThreadStream:
        """Follow a conversation over its runs, past and to come: one run after the other.

        *after* is where to go on: the id of a run and a cursor in it, the `position` of a stream
        that was left. *timeout* is how many seconds without a chunk raise `TimeoutError`; nothing
        else ends it. An agent's own method follows the runs of that agent.  Raises
        `RunNotFound` where the run of *after* is gone, `InvalidCursor`.
        """
        at = self._deployment
        which = RunsOfThread(thread_id, resource_id, self._agent_scope(agent))
        at.drive("follow", ThreadCourse(at, which).begin(after))
        return ThreadStream(at, which, after=after, timeout=timeout)

    async def afollow(
        self,
        thread_id: str,
        *,
        resource_id: str | None = None,
        agent: str | None = None,
        after: Position | None = None,
        timeout: float | None = None,
    ) -> AsyncThreadStream:
        """`follow` for the running event loop."""
        at = self._deployment
        which = RunsOfThread(thread_id, resource_id, self._agent_scope(agent))
        await at.adrive(ThreadCourse(at, which).begin(after))
        return AsyncThreadStream(at, which, after=after, timeout=timeout)
