"""What must hold of messages to runs, whoever died: a sentence for whatever does not."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from evented_agent import RunResult, Runs
from evented_agent.chunks import AnyChunk, MessageApplied, MessageDropped, MessageQueued, StepReset
from evented_agent.models.messages import UserMessage
from tests.durability.outcomes import ENDS


def wrong_with(runs: Runs, run_id: str, marks: Path) -> Iterator[str]:
    """What is wrong with a run that has ended, all of whose messages have ids."""
    chunks, result = list(runs.observe(run_id, timeout=30)), runs.result(run_id)
    if [chunk.seq for chunk in chunks] != list(range(1, len(chunks) + 1)):
        yield "seq has gaps"
    if [chunk.type for chunk in chunks if chunk.type in ENDS] != [chunks[-1].type]:
        yield "not exactly one end, or something follows it"
    yield from _wrong_requests(chunks, result, marks)
    yield from _wrong_ends(result, marks)


def _wrong_requests(chunks: Sequence[AnyChunk], result: RunResult, marks: Path) -> Iterator[str]:
    """Each message is new in one completed request, in the order sent, and readers know which."""
    queued = [each.payload for each in chunks if isinstance(each, MessageQueued)]
    texts = {str((each.input or [{}])[0].get("content")): each.message_id for each in queued}
    dropped = [id_ for each in chunks if isinstance(each, MessageDropped) for id_ in ids_of(each)]
    applied = dict(applied_of(chunks))
    seen: list[str] = []
    asked = requests(marks)
    for step in result.steps:
        number, name = step.step, step.text.partition("]")[0].removeprefix("[")
        said = asked.get(name) if name else None
        if said is None:
            # Cut short before its first word: no request tells, but its messages are in the next.
            seen += applied.get(number, [])
            continue
        mine = [texts[text] for text in said if text in texts]
        if mine[: len(seen)] != seen:
            yield f"step {number} has {mine} after {seen}"
        if applied.get(number, []) != mine[len(seen) :]:
            told = applied.get(number, [])
            yield f"step {number}: readers are told of {told}, the model of {mine}"
        seen = mine
    if seen + dropped != [each.message_id for each in queued]:
        yield f"{[each.message_id for each in queued]} were sent, {seen} seen, {dropped} dropped"
    in_result = [str(m.content) for m in result.messages if isinstance(m, UserMessage)]
    if [texts[text] for text in in_result if text in texts] != seen:
        yield f"the result has {in_result}"
    if max(Counter(id_ for ids in applied.values() for id_ in ids).values(), default=1) > 1:
        yield f"applied twice: {applied}"


def applied_of(chunks: Sequence[AnyChunk]) -> list[tuple[int, list[str]]]:
    """Which messages were applied in which step, without what was withdrawn."""
    standing: list[MessageApplied] = []
    for chunk in chunks:
        if isinstance(chunk, MessageApplied):
            standing.append(chunk)
        elif isinstance(chunk, StepReset):
            since, task = chunk.payload.from_seq, chunk.task
            standing = [each for each in standing if each.task != task or each.seq < since]
    return [(each.payload.step, ids_of(each)) for each in standing]


def ids_of(chunk: MessageApplied | MessageDropped) -> list[str]:
    return list(chunk.payload.message_ids)


def requests(marks: Path) -> dict[str, list[str]]:
    """What users had said in each request, by the name that its answer has."""
    lines = (marks / "requests").read_text().splitlines()
    return dict(json.loads(line) for line in lines)


def _wrong_ends(result: RunResult, marks: Path) -> Iterator[str]:
    """Whoever was told of the run's end was told of this one."""
    file = marks / "told"
    lines = file.read_text().splitlines() if file.exists() else []
    told = [each for each in map(json.loads, lines) if each[0] == result.run_id]
    ends = {(kind, text) for _, _, kind, text in told if kind in ("finish", "error")}
    kind = "error" if result.status == "failed" else "finish"
    if told and ends != {(kind, result.text)}:
        yield f"hooks were told {ends} of a run that is {result.status}: {result.text!r}"


def said_in(runs: Runs, thread: str) -> list[str]:
    """What users said in a conversation, in the order in which it keeps it."""
    return [str(m.content) for m in runs.thread(thread) if isinstance(m, UserMessage)]
