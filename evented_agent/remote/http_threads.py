"""What `HttpRuns` does with conversations: the verbs of `Runs`."""

from datetime import datetime

import pydantic_core

from evented_agent.client.conversations import ThreadPage
from evented_agent.client.follow import start_of
from evented_agent.client.thread_course import Position, RunsOfThread
from evented_agent.client.thread_stream import AsyncThreadStream, ThreadStream
from evented_agent.errors import ThreadNotFound
from evented_agent.models.messages import Message
from evented_agent.remote.http_calls import thread_path
from evented_agent.remote.http_requests import HttpSender, Outgoing, nothing_in
from evented_agent.remote.http_streams import HttpAsyncThreadStream, HttpThreadStream
from evented_agent.state.thread_info import ThreadInfo
from evented_agent.state.wire import MESSAGES, THREAD_INFO, THREAD_INFOS


class HttpThreadMethods:
    """The conversations that a server of `evented_agent.web` serves."""

    _sender: HttpSender

    def threads(
        self,
        *,
        resource_id: str | None = None,
        since: datetime | None = None,
        limit: int = 50,
        page: str | None = None,
    ) -> ThreadPage:
        """The conversations in use last, at most *limit* (200); see `Runs.threads`."""
        return self._sender.send("threads", threads_request(resource_id, since, limit, page))

    async def athreads(
        self,
        *,
        resource_id: str | None = None,
        since: datetime | None = None,
        limit: int = 50,
        page: str | None = None,
    ) -> ThreadPage:
        """`threads` for the running event loop."""
        return await self._sender.asend(threads_request(resource_id, since, limit, page))

    def thread_info(self, thread_id: str, *, resource_id: str | None = None) -> ThreadInfo | None:
        """A conversation as `threads` shows it; None where there is none."""
        return self._sender.send("thread_info", thread_info_request(thread_id, resource_id))

    async def athread_info(
        self, thread_id: str, *, resource_id: str | None = None
    ) -> ThreadInfo | None:
        """`thread_info` for the running event loop."""
        return await self._sender.asend(thread_info_request(thread_id, resource_id))

    def set_thread_title(
        self, thread_id: str, title: str | None, *, resource_id: str | None = None
    ) -> None:
        """Call a conversation something; None takes its title away. Raises `ThreadNotFound`."""
        self._sender.send("set_thread_title", title_request(thread_id, title, resource_id))

    async def aset_thread_title(
        self, thread_id: str, title: str | None, *, resource_id: str | None = None
    ) -> None:
        """`set_thread_title` for the running event loop."""
        await self._sender.asend(title_request(thread_id, title, resource_id))

    def thread(self, thread_id: str, *, resource_id: str | None = None) -> list[Message]:
        """What was said in a conversation so far."""
        return self._sender.send("thread", thread_request(thread_id, resource_id))

    async def athread(self, thread_id: str, *, resource_id: str | None = None) -> list[Message]:
        """`thread` for the running event loop."""
        return await self._sender.asend(thread_request(thread_id, resource_id))

    def delete_thread(self, thread_id: str, *, resource_id: str | None = None) -> None:
        """Forget a conversation; its runs stay."""
        self._sender.send("delete_thread", forget_request(thread_id, resource_id))

    async def adelete_thread(self, thread_id: str, *, resource_id: str | None = None) -> None:
        """`delete_thread` for the running event loop."""
        await self._sender.asend(forget_request(thread_id, resource_id))

    def follow(
        self,
        thread_id: str,
        *,
        resource_id: str | None = None,
        agent: str | None = None,
        after: Position | None = None,
        timeout: float | None = None,
    ) -> ThreadStream:
        """Follow a conversation over its runs; see `Runs.follow`; it asks when it is read."""
        return HttpThreadStream(
            self._sender,
            _checked(RunsOfThread(thread_id, resource_id, agent), after),
            after=after,
            timeout=timeout,
        )

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
        return HttpAsyncThreadStream(
            self._sender,
            _checked(RunsOfThread(thread_id, resource_id, agent), after),
            after=after,
            timeout=timeout,
        )


def _checked(which: RunsOfThread, after: Position | None) -> RunsOfThread:
    if after is not None:
        start_of(after[1])
    return which


def threads_request(
    resource_id: str | None, since: datetime | None, limit: int, page: str | None
) -> Outgoing[ThreadPage]:
    query = {
        "resource_id": resource_id,
        "since": since and since.isoformat(),
        "limit": limit,
        "page": page,
    }

    def parse(reply: bytes) -> ThreadPage:
        found = pydantic_core.from_json(reply)
        return ThreadPage(THREAD_INFOS.validate_python(found["threads"]), found["next_page"])

    return Outgoing("GET", "/threads", parse, query)


def thread_info_request(thread_id: str, resource_id: str | None) -> Outgoing[ThreadInfo | None]:
    query = {"resource_id": resource_id, "without_messages": "true"}

    def parse(reply: bytes) -> ThreadInfo | None:
        found = pydantic_core.from_json(reply).get("thread")
        return None if found is None else THREAD_INFO.validate_python(found)

    return Outgoing("GET", thread_path(thread_id), parse, query)


def thread_request(thread_id: str, resource_id: str | None) -> Outgoing[list[Message]]:
    def parse(reply: bytes) -> list[Message]:
        return MESSAGES.validate_python(pydantic_core.from_json(reply)["messages"])

    return Outgoing("GET", thread_path(thread_id), parse, {"resource_id": resource_id})


def title_request(thread_id: str, title: str | None, resource_id: str | None) -> Outgoing[None]:
    def missing() -> ThreadNotFound:
        return ThreadNotFound(thread_id, resource_id)

    return Outgoing(
        "PATCH",
        thread_path(thread_id),
        nothing_in,
        {"resource_id": resource_id},
        {"title": title},
        failures={"thread_not_found": missing},
    )


def forget_request(thread_id: str, resource_id: str | None) -> Outgoing[None]:
    return Outgoing("DELETE", thread_path(thread_id), nothing_in, {"resource_id": resource_id})
