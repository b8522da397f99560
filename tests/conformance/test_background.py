"""What every engine does with calls that run beside the steps of their run."""

import json
import uuid
from collections.abc import Iterable

import pytest

from evented_agent import RunAborted, RunStream
from evented_agent.chunks import AnyChunk, RunWaiting
from tests.conformance.agents import mark, marks
from tests.conformance.conftest import Engine
from tests.support.workers import wait_until


@pytest.fixture
def topic() -> str:
    return f"topic-{uuid.uuid4().hex[:8]}"


def call(tool: str, /, **arguments: object) -> str:
    return f"{tool} {json.dumps(arguments)}"


def let_go(topic: str) -> None:
    mark(f"open-{topic}", "yes")


def idle(run: RunStream) -> list[str]:
    """Read until the first turn has ended and only background calls are under way."""
    seen: list[str] = []
    for chunk in run:
        seen.append(chunk.type)
        if chunk.type == "background-task-progress":
            break
    return seen


def test_a_deferred_call_lets_the_chat_go_on_and_a_turn_follows_it(
    engine: Engine, topic: str
) -> None:
    run = engine["writer"].stream(call("compile_report", topic=topic), until_idle=True)
    first = idle(run)
    let_go(topic)
    rest = [chunk.type for chunk in run]

    assert {"background-task-started", "text-delta"} <= set(first)
    assert {"background-task-completed", "text-delta"} <= set(rest)
    assert "background-task-running" in first + rest
    assert (first + rest).count("finish") == 1
    assert run.result(timeout=20).text == f"It is being done.\n\nNews: all about {topic}."


def test_each_chunk_names_its_background_task(engine: Engine, topic: str) -> None:
    let_go(topic)
    run = engine["writer"].stream(call("compile_report", topic=topic), until_idle=True)
    ids = {
        chunk.payload.task_id
        for chunk in run
        if chunk.type.startswith("background-task-") and hasattr(chunk.payload, "task_id")
    }
    assert ids == {f"{run.run_id}:call_1_0"}


def test_a_background_task_can_be_looked_at(engine: Engine, topic: str) -> None:
    run = engine["writer"].stream(call("compile_report", topic=topic), until_idle=True)
    idle(run)
    [task] = engine["writer"].background_tasks(run.run_id)
    assert (task.tool_name, task.arguments) == ("compile_report", {"topic": topic})
    assert task.status in ("pending", "running")
    let_go(topic)
    run.result(timeout=20)
    done = engine["writer"].background_task(task.task_id)
    assert done is not None
    assert (done.status, done.result) == ("completed", f"all about {topic}")
    assert engine["writer"].background_task(f"{run.run_id}:another") is None


def test_the_result_takes_the_place_of_the_placeholder_in_the_thread(
    engine: Engine, topic: str
) -> None:
    run = engine["writer"].stream(
        call("compile_report", topic=topic), until_idle=True, thread_id=topic
    )
    idle(run)
    let_go(topic)
    run.result(timeout=20)
    said = engine["writer"].thread(topic)
    assert [message.role for message in said] == [
        *("user", "assistant", "tool", "assistant", "assistant")
    ]
    assert "all about" in str(said[2])


def waits(chunks: Iterable[AnyChunk]) -> list[RunWaiting]:
    return [chunk for chunk in chunks if isinstance(chunk, RunWaiting)]


def test_a_run_says_that_it_waits_for_background_calls(engine: Engine, topic: str) -> None:
    run = engine["writer"].stream(call("compile_report", topic=topic), until_idle=True)
    idle(run)
    said = next(chunk for chunk in run if isinstance(chunk, RunWaiting))
    let_go(topic)
    assert run.result(timeout=20).status == "finished"

    assert (said.payload.waits_for, said.payload.calls) == ("background", ["call_1_0"])
    assert said.payload.until is not None
    assert waits(engine["writer"].observe(run.run_id)) == [said]


def test_a_run_waits_for_the_background_again_once_a_person_has_decided(
    engine: Engine, topic: str
) -> None:
    run = engine["writer"].stream(call("ask_apart", topic=topic), until_idle=True)
    wait_until(lambda: run.status == "suspended", "it waits")
    engine["writer"].resume(run.run_id, "yes")
    assert run.result(timeout=20).status == "finished"

    said = [each.payload.waits_for for each in waits(engine["writer"].observe(run.run_id))]
    assert said[-2:] == ["people", "background"]


def test_a_reader_that_joins_again_has_the_same_text(engine: Engine, topic: str) -> None:
    run = engine["writer"].stream(call("compile_report", topic=topic), until_idle=True)
    idle(run)
    joined = engine["writer"].observe(run.run_id)
    let_go(topic)
    *_, last = joined.text_parts()
    assert last.snapshot == run.result(timeout=20).text


def test_completions_at_the_same_time_are_followed_once_each_at_most(
    engine: Engine, topic: str
) -> None:
    topics = [f"{topic}-{n}" for n in range(3)]
    asked = "\n".join(call("compile_report", topic=each) for each in topics)
    run = engine["writer"].stream(asked, until_idle=True)
    idle(run)
    for each in topics:
        let_go(each)
    result = run.result(timeout=20)
    assert result.answer == f"News: {'; '.join(f'all about {each}' for each in topics)}."
    assert 3 <= len(result.steps) <= 5


def test_a_background_call_that_fails_is_told(engine: Engine, topic: str) -> None:
    let_go(f"bad-{topic}")
    run = engine["writer"].stream(call("compile_report", topic=f"bad-{topic}"), until_idle=True)
    assert "background-task-failed" in [chunk.type for chunk in run]
    failed = run.result(timeout=20).steps[0].results_by_call["call_1_0"]
    assert failed.is_error
    assert "no such topic" in failed.result


def test_a_background_call_is_cancelled(engine: Engine, topic: str) -> None:
    run = engine["writer"].stream(call("compile_report", topic=topic), until_idle=True)
    idle(run)
    task_id = f"{run.run_id}:call_1_0"
    assert engine["writer"].cancel(task_id, reason="no longer needed")
    assert "background-task-cancelled" in [chunk.type for chunk in run]
    assert "no longer needed" in run.result(timeout=20).answer
    assert not engine["writer"].cancel(task_id)


def test_a_background_call_waits_for_a_person(engine: Engine, topic: str) -> None:
    run = engine["writer"].stream(call("ask_apart", topic=topic), until_idle=True)
    wait_until(lambda: run.status == "suspended", "it waits")
    [task] = engine["writer"].background_tasks(run.run_id)
    assert task.status == "suspended"
    engine["writer"].resume(run.run_id, "yes")
    types = [chunk.type for chunk in engine["writer"].observe(run.run_id)]
    assert {"background-task-suspended", "background-task-resumed"} <= set(types)
    assert "they say yes" in run.result(timeout=20).answer


def test_a_run_ends_when_its_idle_time_is_over(engine: Engine, topic: str) -> None:
    run = engine["writer"].stream(call("compile_report", topic=topic), until_idle=0.5)
    assert [chunk.type for chunk in run][-2:] == ["background-task-cancelled", "finish"]
    dropped = run.result(timeout=20).steps[0].results_by_call["call_1_0"]
    assert dropped.is_error
    assert dropped.result.startswith("Dropped: ")


def test_an_abort_ends_all_of_it(engine: Engine, topic: str) -> None:
    run = engine["writer"].stream(call("compile_report", topic=topic), until_idle=True)
    idle(run)
    run.abort()
    with pytest.raises(RunAborted):
        run.result(timeout=20)
    let_go(topic)
    types = [chunk.type for chunk in engine["writer"].observe(run.run_id)]
    assert types[-1] == "abort"
    assert "background-task-completed" not in types


def test_an_awaited_call_holds_its_step(engine: Engine, topic: str) -> None:
    run = engine["writer"].stream(call("fetch", topic=topic))
    types = [chunk.type for chunk in run]
    assert types.index("background-task-completed") < types.index("step-finish")


def test_a_foreground_call_is_no_background_task(engine: Engine) -> None:
    run = engine["writer"].stream(call("add", a=1, b=2), until_idle=True)
    assert not [chunk for chunk in run if chunk.type.startswith("background-task-")]


def test_calls_with_the_same_key_run_one_at_a_time(engine: Engine, topic: str) -> None:
    asked = "\n".join(call("one_at_a_time", topic=topic) for _ in range(3))
    result = engine["writer"].stream(asked, until_idle=True).result(timeout=30)
    assert [each.result for each in result.steps[0].results] == ["done"] * 3
    assert marks(f"alone-{topic}") == ["in", "out"] * 3
