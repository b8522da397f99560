"""Trees of runs, who decides in them, and what must hold of them whoever died."""

import contextlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from evented_agent import EventedAgent, NotSuspended, RunConflict, RunResult, Runs
from evented_agent.chunks import (
    AnyChunk,
    Handoff,
    RunWaiting,
    ToolCallDecided,
    Transcript,
    child_chunk,
)
from evented_agent.chunks.children import Child
from tests.durability.outcomes import ENDS
from tests.support.proxy import Write
from tests.support.workers import wait_until

Agents = dict[str, EventedAgent]
Call = tuple[str, dict[str, Any]]


def given(agent: str, *plan: Call) -> Call:
    """The call that gives an agent a plan."""
    return agent, {"input": json.dumps(plan)}


def wrong_with(runs: Runs, run_id: str, marks: Path) -> Iterator[str]:
    """What is wrong with a tree of runs that has ended, a sentence for each."""
    chunks, result = list(runs.observe(run_id, timeout=30)), runs.result(run_id)
    if [chunk.seq for chunk in chunks] != list(range(1, len(chunks) + 1)):
        yield "seq has gaps"
    if [chunk.type for chunk in chunks if chunk.type in ENDS] != [chunks[-1].type]:
        yield "not exactly one end, or something follows it"
    info = runs.get(run_id)
    if any(child.status in ("queued", "running", "suspended") for child in info.children):
        yield f"a child outlives its tree: {info.children}"
    yield from _wrong_text(runs, chunks, result)
    yield from _wrong_counts(runs, result, marks)
    decisions = [chunk for chunk in said_in(chunks) if isinstance(chunk, ToolCallDecided)]
    decided = Counter(chunk.payload.number for chunk in decisions)
    if any(count > 1 for count in decided.values()):
        yield f"decided twice: {decided}"


def said_in(chunks: list[AnyChunk]) -> list[AnyChunk]:
    """All that is said in a tree, by whomever."""
    return [child_chunk(chunk) if isinstance(chunk, Child) else chunk for chunk in chunks]


def _wrong_text(runs: Runs, chunks: list[AnyChunk], result: RunResult) -> Iterator[str]:
    """Readers of the tree, and of each child, end up with what the journals have."""
    children = [each.run_id for each in runs.get(result.run_id).children]
    for run_id in (result.run_id, *children):
        transcript = Transcript()
        for chunk in said_in(chunks):
            if chunk.run_id == run_id:
                transcript.feed(chunk)
        found = runs.result(run_id)
        if found.status == "finished" and transcript.text != found.text:
            yield f"{run_id}: readers have {transcript.text!r}, the journal {found.text!r}"


def _wrong_counts(runs: Runs, result: RunResult, marks: Path) -> Iterator[str]:
    """Each call has one result, and what the tree has used is what its runs have used."""
    children = [runs.result(each.run_id) for each in runs.get(result.run_id).children]
    finished = [result, *children]
    if result.status == "finished":
        used = sum(step.usage.total_tokens for each in finished for step in each.steps)
        if result.usage.total_tokens != used:
            yield f"{result.usage.total_tokens} tokens were counted, {used} used"
    for name in ("look", "erase"):
        file = marks / name
        lines = file.read_text().splitlines() if file.exists() else []
        attempts = [line for line in lines if line.startswith(result.run_id)]
        if len(attempts) != len(set(attempts)):
            yield f"{name} was called twice in an attempt: {attempts}"


class _Story:
    """What the stories have in common."""

    plan: Sequence[Call]
    answer: str
    agent = "boss"
    #: Tasks that may not come to be.
    uncertain = re.compile(r"(?!)")

    def __init__(self, agents: Agents, runs: Runs, name: str, queue: str = "") -> None:
        self._queue = queue or name
        self._agent, self._runs, self._name = agents[self.agent], runs, name

    def begin(self) -> Any:
        return self._agent.stream(json.dumps(self.plan), run_id=self._name, queue=self._queue)

    def part_of(self, run_id: str) -> str | None:
        return "run" if run_id == self._name else None

    def matters(self, write: Write) -> bool:
        """The writes that only trees make: of children, and of the calls that they answer."""
        if write.script in ("heartbeat", "reconcile", "append"):
            return False
        return write.nth == 1 and self.is_about(write)

    def is_about(self, write: Write) -> bool:
        return self.is_certain(write) and (write.script == "spawn" or write.task.startswith("~"))

    @classmethod
    def is_certain(cls, write: Write) -> bool:
        """Whether it is made each time that the story is played."""
        return not cls.uncertain.match(write.task)

    def wrong(self, marks: Path) -> Iterator[str]:
        yield from wrong_with(self._runs, self._name, marks)
        result = self._runs.result(self._name)
        if result.answer != self.answer:
            yield f"it has answered {result.answer!r}"


class OfPeople(_Story):
    """A scout looks while another one, below a lead, waits for an approval."""

    plan = (
        given("scout", ("look", {"at": "a"})),
        given("lead", given("scout", ("erase", {"name": "b"}))),
    )
    answer = "I have: I have: saw a.; I have: I have: erased b..."

    def play(self) -> None:
        run = self.begin()
        for chunk in run:
            if isinstance(chunk, RunWaiting) and chunk.payload.waits_for == "people":
                # What is read again after a reset may have been decided.
                with contextlib.suppress(NotSuspended, RunConflict):
                    self._agent.approve(self._name, tool_call_id=chunk.payload.calls[0])
        while run.status == "suspended":
            run.approve()
            list(run)
        run.result(timeout=60)


class OfRetry(_Story):
    """The run fails while a child is asked, and goes on."""

    plan = (given("scout", ("erase", {"name": "b"})), ("sign", {"name": "it"}))
    answer = "I have: I have: erased b.; signed it."

    def play(self) -> None:
        run = self.begin()
        wait_until(lambda: run.status == "failed", "nobody signs", 60)
        run = self._agent.retry(self._name)
        self._approve("sign")
        self._approve("erase")
        run.result(timeout=60)

    def _approve(self, tool: str) -> None:
        def pending() -> list[str]:
            found = self._runs.get(self._name).pending
            return [each.tool_call_id for each in found if each.tool_name == tool]

        [call] = wait_until(pending, f"{tool} waits", 60)
        self._agent.approve(self._name, tool_call_id=call)


class OfAbort(_Story):
    """The run is aborted while its children work and wait."""

    plan = (
        given("scout", ("erase", {"name": "b"})),
        given("lead", given("scout", *[("look", {"at": "a"})] * 3)),
    )
    # Either call may have the first child; how far each comes before the abort is not the same.
    uncertain = re.compile(r"~\d+(/(?!1:model)|~)")

    def play(self) -> None:
        run, seen = self.begin(), 0
        for chunk in run:
            begins = isinstance(chunk, Child) and chunk.payload.type == "start"
            seen += begins
            if begins and seen == 3:
                self._agent.abort(self._name, reason="enough")
        wait_until(lambda: run.status == "aborted", "it is aborted", 60)

    def wrong(self, marks: Path) -> Iterator[str]:
        yield from wrong_with(self._runs, self._name, marks)


class OfHandoff(_Story):
    """Another agent goes on with the run."""

    plan = (("transfer_to_scout", {"reason": "It looks."}),)
    answer = "I have: The agent scout goes on.."
    agent = "front"

    def play(self) -> None:
        self.begin().result(timeout=60)

    def is_about(self, write: Write) -> bool:
        return write.script in ("claim", "commit")

    def wrong(self, marks: Path) -> Iterator[str]:
        yield from super().wrong(marks)
        handed = [c for c in self._runs.observe(self._name) if isinstance(c, Handoff)]
        if len(handed) != 1 or self._runs.get(self._name).acting != "scout":
            yield f"it was handed over {len(handed)} times"


#: Stories of child runs, and one of an agent that goes on with another one's run.
STORIES: dict[str, type[Any]] = {
    "people": OfPeople,
    "retry": OfRetry,
    "abort": OfAbort,
    "hand-off": OfHandoff,
}
