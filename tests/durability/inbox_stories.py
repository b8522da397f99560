"""Runs with messages, and who writes to them: what people do follows from what they see."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from evented_agent import EventedAgent, NotSuspended, RunConflict, RunEnded, RunFailed, Runs
from evented_agent.chunks import AnyChunk, RunWaiting, TextDelta
from evented_agent.state.new_run import following_id
from tests.durability.inbox_outcomes import said_in, wrong_with
from tests.durability.outcomes import thread_of
from tests.support.proxy import Write
from tests.support.workers import wait_until

Agents = dict[str, EventedAgent]


class Story(Protocol):
    """A story under a name, which is that of its queue too where no other is given."""

    def __init__(self, agents: Agents, runs: Runs, name: str, queue: str = "") -> None: ...

    def play(self) -> None:
        """Play it through to its end."""

    def part_of(self, run_id: str) -> str | None:
        """What a run is in it; None for a run that is none of its own."""

    def matters(self, write: Write) -> bool:
        """Whether a worker is to be killed there; the run's id is its part."""

    def wrong(self, marks: Path) -> Iterator[str]:
        """What it has come to that it must not."""


class OfPeople:
    """A message interrupts, another comes while a person is asked, a third at the news of that."""

    def __init__(self, agents: Agents, runs: Runs, name: str, queue: str = "") -> None:
        self._queue = queue or name
        self._agent, self._runs, self._name = agents["told"], runs, name
        self._sent: set[str] = set()
        self._approved = False

    def play(self) -> None:
        options = {"run_id": self._name, "queue": self._queue, "thread_id": thread_of(self._name)}
        for chunk in self._agent.stream("slow", **options):  # type: ignore[arg-type]
            self._react(chunk)

    def _react(self, chunk: AnyChunk) -> None:
        if isinstance(chunk, RunWaiting) and chunk.payload.waits_for == "people":
            if not self._send("m2", "meanwhile?"):
                self._approve()
        elif isinstance(chunk, TextDelta):
            self._send("m1", "erase a", interrupt=True)
            if self._approved:
                self._send("m3", "and now?")

    def _send(self, message_id: str, text: str, *, interrupt: bool = False) -> bool:
        if message_id in self._sent:
            return False
        self._sent.add(message_id)
        self._agent.send(self._name, text, message_id=message_id, interrupt=interrupt)
        return True

    def _approve(self) -> None:
        # What is read again after a reset may have been decided.
        with contextlib.suppress(NotSuspended, RunConflict, RunEnded):
            self._agent.approve(self._name)
            self._approved = True

    def part_of(self, run_id: str) -> str | None:
        return "run" if run_id == self._name else None

    def matters(self, write: Write) -> bool:
        # How often the end waits for the hooks of suspensions is not always the same.
        rare = ("heartbeat", "reconcile", "requeue")
        is_repeated = write.script in ("append", "claim") and write.nth > 1
        return write.script not in rare and not is_repeated

    def wrong(self, marks: Path) -> Iterator[str]:
        yield from wrong_with(self._runs, self._name, marks)
        if (said := said_in(self._runs, thread_of(self._name))) != [
            *("slow", "erase a", "meanwhile?", "and now?")
        ]:
            yield f"the conversation has {said}"


class OfFailure:
    """A run fails over its messages, which begin the next one of the conversation."""

    def __init__(self, agents: Agents, runs: Runs, name: str, queue: str = "") -> None:
        self._queue = queue or name
        self._agent, self._runs, self._name = agents["told"], runs, name
        self._next = following_id(thread_of(name), None, "m1")

    def play(self) -> None:
        options = {"run_id": self._name, "queue": self._queue, "thread_id": thread_of(self._name)}
        run, is_sent = self._agent.stream("slow", **options), False  # type: ignore[arg-type]
        for chunk in run:
            if isinstance(chunk, TextDelta) and not is_sent:
                is_sent = True
                for number, text in enumerate(("one", f"fail {self._name}"), 1):
                    self._agent.send(self._name, text, message_id=f"m{number}")
        with contextlib.suppress(RunFailed):
            raise AssertionError(f"The run is {run.result().status}.")
        wait_until(lambda: len(said_in(self._runs, thread_of(self._name))) == 3, "all is kept", 40)

    def part_of(self, run_id: str) -> str | None:
        return {self._name: "run", self._next: "next"}.get(run_id)

    def matters(self, write: Write) -> bool:
        if write.run_id == "next":
            return write.script in ("enter", "create") and write.nth == 1
        # Only an answer that takes long has heartbeats.
        is_certain = write.task in ("2:model", "after") and write.script != "heartbeat"
        return is_certain or write.script in ("remember", "leave_thread")

    def wrong(self, marks: Path) -> Iterator[str]:
        yield from wrong_with(self._runs, self._name, marks)
        yield from wrong_with(self._runs, self._next, marks)
        said = said_in(self._runs, thread_of(self._name))
        if said != ["slow", "one", f"fail {self._name}"]:
            yield f"the conversation has {said}"


class OfTurns:
    """Another agent takes the turn of a run that waits, which is sent a message meanwhile."""

    def __init__(self, agents: Agents, runs: Runs, name: str, queue: str = "") -> None:
        self._queue = queue or name
        self._agents, self._runs, self._name = agents, runs, name

    def play(self) -> None:
        named = {"queue": self._queue, "thread_id": thread_of(self._name)}
        waits = self._agents["letters"].stream("erase a", run_id=self._name, **named)  # type: ignore[arg-type]
        wait_until(lambda: waits.status == "suspended", "a person is asked", 60)
        other = self._agents["told"].stream("slow", run_id=f"{self._name}-other", **named)  # type: ignore[arg-type]
        next(chunk for chunk in other if isinstance(chunk, TextDelta))
        self._agents["letters"].send(self._name, "m", message_id="m")
        self._agents["letters"].approve(self._name)
        other.result(timeout=60)
        wait_until(lambda: waits.status == "finished", "it has its turn again", 60)
        wait_until(lambda: len(said_in(self._runs, thread_of(self._name))) == 3, "all is kept", 40)

    def part_of(self, run_id: str) -> str | None:
        return {self._name: "run", f"{self._name}-other": "other"}.get(run_id)

    def matters(self, write: Write) -> bool:
        return write.script in ("enter", "yield_turn", "leave_thread", "requeue")

    def wrong(self, marks: Path) -> Iterator[str]:
        yield from wrong_with(self._runs, self._name, marks)
        yield from wrong_with(self._runs, f"{self._name}-other", marks)
        if (said := said_in(self._runs, thread_of(self._name))) != ["slow", "erase a", "m"]:
            yield f"the conversation has {said}"


STORIES: dict[str, type[Story]] = {
    "people": OfPeople,
    "failure": OfFailure,
    "turns": OfTurns,
}
