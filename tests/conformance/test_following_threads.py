"""Following a conversation over its runs, on every engine."""

import asyncio
import uuid
from collections.abc import Iterator, Sequence
from itertools import pairwise

import pytest

from evented_agent import InvalidCursor, RunNotFound, RunStream
from evented_agent.chunks import AnyChunk
from tests.conformance.conftest import Engine
from tests.support.workers import wait_until


@pytest.fixture
def thread() -> str:
    return f"followed {uuid.uuid4().hex}"


def until_end_of(chunks: Iterator[AnyChunk], run_id: str) -> list[AnyChunk]:
    found: list[AnyChunk] = []
    while not (found and found[-1].ends_topic and found[-1].run_id == run_id):
        found.append(next(chunks))
    return found


def whole(engine: Engine, runs: Sequence[RunStream]) -> list[AnyChunk]:
    return [chunk for run in runs for chunk in engine["memory"].observe(run.run_id)]


def test_a_conversation_is_followed_over_its_runs_past_and_to_come(
    engine: Engine, thread: str
) -> None:
    runs = [engine["memory"].stream("one", thread_id=thread)]
    runs[0].result(timeout=20)
    with engine["memory"].follow(thread, timeout=30) as stream:
        chunks = iter(stream)
        found = until_end_of(chunks, runs[0].run_id)
        for question in ("two", "three"):
            runs.append(engine["memory"].stream(question, thread_id=thread))
            found += until_end_of(chunks, runs[-1].run_id)
    assert found == whole(engine, runs)
    assert stream.position == (runs[-1].run_id, found[-1].cursor)


def test_a_reader_takes_up_at_every_place_where_it_was_left(engine: Engine, thread: str) -> None:
    runs = [engine["memory"].stream(text, thread_id=thread) for text in ("one", "two")]
    runs[-1].result(timeout=20)
    expected = whole(engine, runs)
    for number, chunk in enumerate(expected[:-1]):
        left = engine["memory"].follow(thread, after=(chunk.run_id, chunk.cursor), timeout=30)
        found = until_end_of(iter(left), runs[-1].run_id)
        left.close()
        assert found == expected[number + 1 :]


def test_a_run_that_waits_for_its_turn_is_read_after_the_one_before(
    engine: Engine, thread: str
) -> None:
    first = engine["memory"].stream("slow", thread_id=thread)
    second = engine["memory"].stream("two", thread_id=thread)
    chunks = iter(engine["memory"].follow(thread, timeout=30))
    assert next(chunks).run_id == first.run_id
    first.abort()
    found = until_end_of(chunks, second.run_id)
    changes = [(one.run_id, other.run_id) for one, other in pairwise(found) if one != other]
    assert [change for change in changes if change[0] != change[1]] == [
        (first.run_id, second.run_id)
    ]


def test_of_runs_in_parallel_the_later_one_is_read_when_the_earlier_has_ended(
    engine: Engine, thread: str
) -> None:
    first = engine["memory"].stream("slow", thread_id=thread)
    second = engine["memory"].stream("two", thread_id=thread, when_busy="parallel")
    assert second.result(timeout=20).status == "finished"
    chunks = iter(engine["memory"].follow(thread, timeout=30))
    assert next(chunks).run_id == first.run_id
    first.abort()
    assert until_end_of(chunks, second.run_id)[-len(list(second)) :] == list(
        engine["memory"].observe(second.run_id)
    )


def test_who_follows_a_conversation_sees_that_of_its_resource_alone(
    engine: Engine, thread: str
) -> None:
    theirs = engine["memory"].stream("Hi.", thread_id=thread, resource_id="bob")
    theirs.result(timeout=20)
    run = engine["memory"].stream("Hi.", thread_id=thread, resource_id="ann")
    chunks = iter(engine["memory"].follow(thread, resource_id="ann", timeout=30))
    assert {chunk.run_id for chunk in until_end_of(chunks, run.run_id)} == {run.run_id}
    with pytest.raises(RunNotFound):
        engine["memory"].follow(thread, resource_id="ann", after=(theirs.run_id, 0))
    with pytest.raises(InvalidCursor):
        engine["memory"].follow(thread, after=(run.run_id, "x"))


def test_runs_that_were_deleted_are_passed_over(engine: Engine, thread: str) -> None:
    runs = [engine["memory"].stream(text, thread_id=thread) for text in ("one", "two", "three")]
    runs[-1].result(timeout=20)
    engine["memory"].client.delete(runs[1].run_id)
    chunks = iter(engine["memory"].follow(thread, timeout=30))
    assert until_end_of(chunks, runs[2].run_id) == whole(engine, [runs[0], runs[2]])


def test_a_silent_conversation_ends_a_reader_with_its_time_alone(
    engine: Engine, thread: str
) -> None:
    with pytest.raises(TimeoutError, match="No chunk of thread"):
        next(iter(engine["memory"].follow(thread, timeout=0.3)))
    engine["memory"].generate("one", thread_id=thread, timeout=20)
    events = engine["memory"].follow(thread).sse(heartbeat=0.1)
    seen = [next(events)]
    while seen[-1] != ": hb\n\n":
        seen.append(next(events))
    run_id, _, cursor = seen[-2].splitlines()[0].removeprefix("id: ").partition(":")
    assert engine["memory"].get(run_id).cursor == cursor


def test_a_conversation_is_followed_on_an_event_loop(engine: Engine, thread: str) -> None:
    async def follow() -> list[AnyChunk]:
        first = await engine["memory"].astream("one", thread_id=thread)
        found: list[AnyChunk] = []
        async with await engine["memory"].afollow(thread, timeout=30) as stream:
            async for chunk in stream:
                found.append(chunk)
                if chunk.ends_topic and chunk.run_id != first.run_id:
                    return found
                if chunk.ends_topic:
                    await engine["memory"].astream("two", thread_id=thread)
        raise AssertionError

    found = asyncio.run(follow())
    runs = wait_until(lambda: engine["memory"].list(thread_id=thread), "both are there")
    assert found == [
        chunk for info in reversed(runs) for chunk in engine["memory"].observe(info.run_id)
    ]
