"""What all readers of a process ask; one for each Redis.

It has no client and no thread of its own while nobody reads, and is made anew after a fork.
"""

import os
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any

from evented_agent.client.follow import MOST_READ, Read, Request
from evented_agent.client.hub.asker import Asker, TopicSource
from evented_agent.client.hub.group import Group, most_after
from evented_agent.client.hub.topic import Seat, Topic
from evented_agent.client.hub.waits import LoopTimer, LoopWait, ThreadWait, Wait
from evented_agent.ledger.connection import Ledger


class Hub:
    """Reads topics for any number of readers, in threads and on event loops."""

    def __init__(self, ledger: Ledger) -> None:
        self._lock = threading.Lock()
        self._asker = Asker(ledger)
        self._ledger = ledger
        self._groups: dict[str, list[Group]] = {}

    def ask(self, source: TopicSource, request: Request, wait: Wait) -> None:
        """Let *wait* be given the answer, at once."""
        self._asker.ask(source, request, wait)

    def take_seat(self, source: TopicSource, run_id: str, seat: Seat) -> tuple[Group, Topic]:
        """Read a topic as long as *seat* is held, once somebody waits for it."""
        shard = _shard_of(source.topic)
        with self._lock:
            groups = self._groups.setdefault(shard, [])
            for group in groups:
                with group.lock:
                    topic = group.topic(source.topic)
                    if topic is not None:
                        topic.seats.add(seat)
                        return group, topic
            topic = Topic(source.topic, source.blobs, run_id)
            topic.seats.add(seat)
            for group in groups:
                with group.lock:
                    if group.add(topic):
                        return group, topic
            group = Group(self._ledger, source.topic, self._asker.wake)
            with group.lock:
                group.add(topic)
            groups.append(group)
            return group, topic


class Subscription:
    """One reader's place at the hub, until it is closed: turns its requests into waits."""

    def __init__(self, ledger: Ledger, source: TopicSource, run_id: str) -> None:
        self._ledger = ledger
        self._source = source
        self._run_id = run_id
        self._pid = 0
        self._timer = LoopTimer()
        self._most = MOST_READ
        self.close()

    def answer(self, request: Request, seconds: float) -> Any:
        """Answer from this thread: a reply, or a `Failure`; a blocking read waits *seconds*."""
        answer: Any = None
        with closing(self._steps(request, seconds, ThreadWait)) as steps:
            while True:
                try:
                    wait, ends = steps.send(answer)
                except StopIteration as stop:
                    return stop.value
                if ends is not None and self._group is not None:
                    self._group.lead(wait, ends - time.monotonic())
                answer = wait.result(ends and ends - time.monotonic())

    async def aanswer(self, request: Request, seconds: float) -> Any:
        """`answer` for the running event loop."""
        answer: Any = None
        with closing(self._steps(request, seconds, LoopWait)) as steps:
            while True:
                try:
                    wait, ends = steps.send(answer)
                except StopIteration as stop:
                    return stop.value
                if ends is not None:
                    self._timer.watch(wait, ends - time.monotonic())
                try:
                    answer = await wait.result()
                finally:
                    self._timer.forget()

    def close(self) -> None:
        """Let go of the topic; a traceback may hold a reader for longer."""
        self._seat: Seat | None = None
        self._group: Group | None = None
        self._topic: Topic | None = None
        self._timer.close()

    def _steps(
        self, request: Request, seconds: float, make_wait: Callable[[], Any]
    ) -> Generator[Any, Any, Any]:
        """Yield each wait and until when, be sent what came of it; return the answer."""
        hub = self._hub()
        if not isinstance(request, Read):
            return (yield from self._asked(hub, request, make_wait))
        if not request.block:
            return (yield from self._from_log(hub, request.position, make_wait))
        position, ends = request.position, time.monotonic() + seconds
        answer = yield from self._wait(hub, position, make_wait(), ends, rewind=False)
        if answer is None:
            # Further behind than what the topic keeps.
            answer = yield from self._from_log(hub, position, make_wait)
            if answer == []:
                answer = yield from self._wait(hub, position, make_wait(), ends, rewind=True)
        return answer

    def _asked(
        self, hub: Hub, request: Request, make_wait: Callable[[], Any]
    ) -> Generator[Any, Any, Any]:
        wait = make_wait()
        hub.ask(self._source, request, wait)
        return (yield wait, None)

    def _from_log(
        self, hub: Hub, position: str, make_wait: Callable[[], Any]
    ) -> Generator[Any, Any, Any]:
        """Ask for about as many entries as the last answer had room for."""
        request = Read(position, block=False, most=self._most)
        answer = yield from self._asked(hub, request, make_wait)
        if isinstance(answer, list):
            self._most = most_after(len(answer) or MOST_READ)
        return answer

    def _wait(
        self, hub: Hub, position: str, wait: Wait, ends: float, *, rewind: bool
    ) -> Generator[Any, Any, Any]:
        if self._group is None or self._topic is None:
            self._seat = Seat()
            self._group, self._topic = hub.take_seat(self._source, self._run_id, self._seat)
        group, topic = self._group, self._topic
        try:
            at_once = group.wait(topic, position, wait, rewind=rewind)
            if at_once is None or at_once:
                return at_once
            # What comes too late is still there, for the next read.
            return (yield wait, ends) or []
        finally:
            group.withdraw(topic, wait)

    def _hub(self) -> Hub:
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self.close()
        return _hubs.of(self._ledger.url)


def _shard_of(key: str) -> str:
    """The hash tag of a key: what has the same is in one slot of a cluster."""
    return key.partition("{")[2].partition("}")[0]


class _Hubs:
    """The hubs of this process, by the address of their Redis."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hubs: dict[str, Hub] = {}
        self._of_parents: list[dict[str, Hub]] = []
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        """A child has none of its parent's threads, and must not use its connections.

        They are kept, since redis-py would close them with locks that nobody will ever release.
        """
        self._lock = threading.Lock()
        self._of_parents.append(self._hubs)
        self._hubs = {}

    def of(self, url: str) -> Hub:
        with self._lock:
            hub = self._hubs.get(url)
            if hub is None:
                hub = self._hubs[url] = Hub(Ledger(url))
            return hub


_hubs = _Hubs()
