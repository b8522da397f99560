"""What the demo checks afterwards: nothing lost, nothing doubled."""

import posixpath
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from evented_agent import EventedAgent, RunResult
from evented_agent.cli.demo.agent import index_of
from evented_agent.cli.demo.folder import contents
from evented_agent.cli.demo.follow import Story
from evented_agent.models.messages import ToolMessage


class Check(NamedTuple):
    """One claim, and whether it holds."""

    holds: bool
    says: str


def check_text(story: Story, librarian: EventedAgent, result: RunResult) -> Check:
    """Whoever reads, whenever, has the same text in the end."""
    late = ""
    for part in librarian.observe(result.run_id, timeout=30).text_parts():
        late = part.snapshot
    if story.text == late == result.text:
        same = "the reader that stayed, a late reader and result() have the same text"
        return Check(bool(late), f"{same} ({len(late):,} characters)")
    lengths = f"{len(story.text)}, {len(late)} and {len(result.text)} characters"
    return Check(False, f"the reader that stayed, a late reader and result() differ: {lengths}")


def check_calls(result: RunResult, log: Path) -> Check:
    """Each call that the model made was executed once; the tools themselves count."""
    asked = [
        f"{result.run_id}:{call.id}"
        for step in result.steps
        for call in step.tool_calls
        if not _is_refused(step.results_by_call[call.id])
    ]
    executed = Counter(log.read_text("utf-8").splitlines() if log.exists() else ())
    if executed == Counter(asked):
        return Check(bool(asked), f"{len(asked)} tool calls, each executed exactly once")
    wrong = {key: executed[key] for key in {*asked, *executed} if executed[key] != 1}
    return Check(False, f"of {len(asked)} tool calls these were not executed once: {wrong}")


def check_files(result: RunResult, before: Mapping[str, str], directory: Path) -> Check:
    """The folder holds what the recorded moves make of it, unchanged."""
    expected = dict(before)
    for source, target in _moves(result):
        if source in expected:
            expected[target] = expected.pop(source)
    after = contents(directory)
    moved = len(before.keys() - after.keys())
    if after != expected:
        return Check(False, f"the folder holds {sorted(after)} instead of {sorted(expected)}")
    return Check(moved > 0, f"{moved} of {len(before)} files moved, none lost or changed")


def check_index(result: RunResult, calls: Path) -> Check:
    """What was done in the background was reported in a turn of its own."""
    indexes = [
        (step, answer)
        for step in result.steps
        for answer in step.results
        if answer.name == "write_index"
    ]
    if not indexes:
        return Check(True, "the model asked for no index")
    step, answer = indexes[-1]
    index = index_of(str(calls))
    written = len(index.read_text().splitlines()) if index.exists() else 0
    is_told = result.steps[-1].step > step.step
    says = f"an index of {written} files was written in the background, and reported afterwards"
    return Check(written == answer.result and is_told, says)


def check_recovery(story: Story) -> Check:
    """A worker was killed in mid-answer, and the other one went on."""
    if story.killed is None:
        return Check(False, "no worker was killed: the answer was too short; try again")
    if story.recovery is None:
        done = "its answer was complete already; try again"
        return Check(False, f"{story.killed.name} was killed too late: {done}")
    withdrawn = f"{story.withdrawn} tokens were withdrawn"
    return Check(
        story.withdrawn > 0, f"the answer went on {story.recovery:.1f} s after kill -9; {withdrawn}"
    )


def _is_refused(answer: ToolMessage) -> bool:
    """Whether the call never reached a tool: a model may make mistakes."""
    kind, _, _ = str(answer.result).partition(":")
    return answer.is_error and kind in ("ToolNotFound", "InvalidArguments")


def _moves(result: RunResult) -> Sequence[tuple[str, str]]:
    """The moves that the run's record holds, as old and new path."""
    done = [
        (posixpath.normpath(str(call.arguments["path"])), step.results_by_call[call.id])
        for step in result.steps
        for call in step.tool_calls
        if call.name == "move_file" and call.id in step.results_by_call
    ]
    return [(source, str(moved.result)) for source, moved in done if not moved.is_error]
