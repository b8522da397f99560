"""Runs through real Celery workers: what a caller, a reader and a tool see."""

import asyncio
import json
from pathlib import Path

import pytest

from evented_agent import (
    BlockingCall,
    DeclarationError,
    EventedAgent,
    RunAborted,
    RunConflict,
    RunDeleted,
    RunFailed,
    RunNotFound,
    Runs,
    TooLarge,
)
from evented_agent.chunks import StepFinish, StepReset, ToolOutput
from tests.support.servers import RedisServer
from tests.support.words import TEXT
from tests.support.workers import WorkerProcess, wait_until

pytestmark = pytest.mark.usefixtures("module_worker")

Agents = dict[str, EventedAgent]


def call(agents: Agents, tool: str, **arguments: object) -> str:
    """Run the toolbox agent with one tool call; what the model was told."""
    return agents["toolbox"].generate(f"{tool} {json.dumps(arguments)}", timeout=20).text


def test_a_run_streams_in_order_and_ends_once(agents: Agents) -> None:
    with agents["calculator"].stream("Add.") as run:
        chunks = list(run)

    types = [chunk.type for chunk in chunks]
    assert [chunk.seq for chunk in chunks] == list(range(1, len(chunks) + 1))
    assert types[:2] == ["start", "step-start"]
    assert types[-2:] == ["step-finish", "finish"]
    assert sum(chunk.ends_topic for chunk in chunks) == 1
    assert types.index("tool-result") < types.index("step-finish")
    assert [c.payload.step_result.is_continued for c in chunks if isinstance(c, StepFinish)] == [
        True,
        False,
    ]


def test_results_usage_and_messages_come_back(agents: Agents) -> None:
    result = agents["calculator"].generate("Add.", timeout=20)

    assert result.text == "Let me add.\n\nThe sums are [3, 7]."
    assert result.answer == "The sums are [3, 7]."
    assert result.status == "finished"
    assert result.usage.total_tokens == 30
    assert [message.role for message in result.messages] == [
        *("user", "assistant", "tool", "tool", "assistant")
    ]


def test_a_reader_that_comes_later_sees_the_same(agents: Agents) -> None:
    run = agents["calculator"].stream("Add.")
    stayed = [(c.seq, c.type, c.payload) for c in run]

    later = [(c.seq, c.type, c.payload) for c in agents["hello"].observe(run.run_id)]

    assert later == stayed


def test_reading_goes_on_after_a_cursor_or_a_number(agents: Agents) -> None:
    run = agents["calculator"].stream("Add.")
    chunks = list(run)

    after_cursor = list(agents["calculator"].observe(run.run_id, after=chunks[4].cursor))
    after_seq = list(agents["calculator"].observe(run.run_id, after=5))

    assert (
        [c.seq for c in after_cursor] == [c.seq for c in after_seq] == [c.seq for c in chunks[5:]]
    )


def test_text_parts_add_up_to_the_result(agents: Agents) -> None:
    run = agents["calculator"].stream("Add.")
    parts = list(run.text_parts())

    assert "".join(part.delta for part in parts) == parts[-1].snapshot == run.result().text


def test_an_async_caller_has_the_same_api(agents: Agents) -> None:
    async def use() -> tuple[str, str, str, int]:
        async with agents["calculator"].astream("Add.") as run:
            count = len([chunk async for chunk in run])
            result = await run.result(timeout=20)
            info = await agents["calculator"].aget(run.run_id)
            later = await agents["calculator"].aobserve(run.run_id)
            return result.text, info.status, (await later.result()).text, count

    text, status, later, count = asyncio.run(use())

    assert text == later == "Let me add.\n\nThe sums are [3, 7]."
    assert (status, count > 20) == ("finished", True)


def test_a_blocking_call_on_an_event_loop_names_its_twin(agents: Agents) -> None:
    async def use() -> None:
        agents["hello"].stream("x")

    with pytest.raises(BlockingCall, match="Await astream"):
        asyncio.run(use())


def test_a_run_id_with_the_same_input_names_the_same_run(agents: Agents) -> None:
    first = agents["hello"].stream("Hi", run_id="twice-1")
    second = agents["hello"].stream("Hi", run_id="twice-1")

    assert [c.cursor for c in first] == [c.cursor for c in second]
    with pytest.raises(RunConflict, match="twice-1"):
        agents["hello"].stream("Something else", run_id="twice-1")


def test_a_failing_tool_is_told_to_the_model(agents: Agents) -> None:
    assert call(agents, "broken") == "error RuntimeError: no such luck"


def test_an_unknown_tool_is_told_with_those_that_exist(agents: Agents) -> None:
    assert "There is no tool 'dance'. Available tools: add, wait" in call(agents, "dance")


def test_arguments_of_a_wrong_type_are_told_to_the_model(agents: Agents) -> None:
    assert "b: Field required" in call(agents, "add", a=1)


def test_a_tool_is_tried_again_after_a_failure(agents: Agents, marks: Path) -> None:
    assert call(agents, "flaky") == "worked in attempt 2"
    assert (marks / "flaky").read_text().split() == ["1", "2"]


def test_a_tool_that_overruns_does_not_hold_the_run(agents: Agents) -> None:
    assert call(agents, "sleepy") == (
        "error ToolTimeout: No result within 0.3 s. The call still runs in its thread: use "
        "isolate=True for a tool to kill."
    )


def test_a_tool_can_tell_how_far_it_is(agents: Agents) -> None:
    outputs = [
        chunk.payload.output
        for chunk in agents["toolbox"].stream("progress {}")
        if isinstance(chunk, ToolOutput)
    ]

    assert outputs == [{"percent": 0}, {"percent": 50}, {"percent": 100}]


def test_a_large_result_is_stored_beside_the_topic(agents: Agents) -> None:
    run = agents["toolbox"].stream('large {"size": 500000}')
    sizes = [len(c.payload.result) for c in run if c.type == "tool-result"]

    assert sizes == [500_000]
    assert len(run.result().steps[0].results_by_call["call_1_0"].result) == 500_000


def test_a_result_over_the_limit_is_told_to_the_model(agents: Agents) -> None:
    assert "TooLarge: The tool result has 2,000,002 bytes" in call(agents, "large", size=2_000_000)


def test_the_next_model_answers_when_the_first_fails(agents: Agents) -> None:
    result = agents["fallback"].generate("Hi", timeout=20)

    assert result.text == "The second model answers."
    assert result.steps[0].model == "scripted/second"


def test_a_failed_run_raises_with_its_partial_result(agents: Agents) -> None:
    run = agents["failing"].stream("Hi")
    types = [chunk.type for chunk in run]

    assert types[-1] == "error"
    with pytest.raises(RunFailed, match="out of credit") as raised:
        run.result()
    assert raised.value.result.status == "failed"


def test_an_abort_is_seen_in_the_middle_of_an_answer(agents: Agents) -> None:
    run = agents["speaker"].stream("Talk.")
    for part in run.text_parts():
        if "word5 " in part.snapshot:
            assert run.abort("enough")
            break
    rest = list(run)

    assert rest[-1].type == "abort"
    assert rest[-1].payload.reason == "enough"
    with pytest.raises(RunAborted) as raised:
        run.result()
    assert raised.value.result.text
    assert TEXT.startswith(raised.value.result.text)
    assert not run.abort()


def test_an_abort_stops_a_tool(agents: Agents, marks: Path) -> None:
    run = agents["toolbox"].stream('wait {"seconds": 60}')
    wait_until((marks / "wait").exists, "the tool runs")
    run.abort()

    assert [chunk.type for chunk in run][-1] == "abort"


def test_runs_are_found_by_agent_thread_and_resource(agents: Agents, runs: Runs) -> None:
    run = agents["hello"].stream("Hi", thread_id="th-1", resource_id="owner-1")
    run.result(timeout=20)

    assert [info.run_id for info in runs.list(thread_id="th-1")] == [run.run_id]
    assert [info.run_id for info in runs.list(resource_id="owner-1", agent="hello")] == [run.run_id]
    assert run.run_id in [info.run_id for info in runs.list(status="finished", limit=500)]
    assert runs.list(resource_id="owner-1", status="failed") == []
    info = runs.get(run.run_id)
    assert (info.agent, info.thread_id, info.resource_id) == ("hello", "th-1", "owner-1")


def test_a_deleted_run_is_gone_and_said_to_be(agents: Agents, runs: Runs) -> None:
    run = agents["hello"].stream("Hi")
    run.result(timeout=20)
    runs.delete(run.run_id)

    with pytest.raises(RunDeleted):
        runs.get(run.run_id)
    with pytest.raises(RunDeleted):
        runs.observe(run.run_id)
    assert run.run_id not in [info.run_id for info in runs.list(limit=500)]


def test_a_run_that_was_never_started_is_not_waited_for(runs: Runs) -> None:
    for method in (runs.get, runs.observe, runs.abort, runs.delete, runs.result):
        with pytest.raises(RunNotFound, match="no-such-run"):
            method("no-such-run")


def test_wrong_input_is_refused_before_anything_is_written(agents: Agents) -> None:
    hello = agents["hello"]
    with pytest.raises(DeclarationError, match="max_steps"):
        hello.stream("Hi", max_steps=0)
    with pytest.raises(DeclarationError, match="has no tool 'dance'"):
        hello.stream("Hi", active_tools=["dance"])
    with pytest.raises(DeclarationError, match="run_id"):
        hello.stream("Hi", run_id="with space")
    with pytest.raises(DeclarationError, match="a function cannot travel"):
        hello.stream("Hi", context=print)
    with pytest.raises(DeclarationError, match="messages are not valid"):
        hello.stream([{"role": "nobody", "content": "x"}])
    with pytest.raises(TooLarge, match="The input has"):
        hello.stream("x" * 1_100_000)


def test_a_message_made_by_hand_kills_no_worker(
    agents: Agents, module_worker: WorkerProcess
) -> None:
    from tests.support.app import app

    made_up: list[tuple[object, ...]] = [
        (),
        ("x",),
        ("no-such-run", "1:model"),
        ("a", "b", "c"),
        (None, 7),
        ([], {}),
    ]
    for args in made_up:
        app.send_task("evented_agent.model", args=args, queue="agents")

    assert agents["hello"].generate("Hi", timeout=20).text == "Hello, world."
    assert module_worker.process.poll() is None


def test_async_result_gives_the_final_result(agents: Agents) -> None:
    from celery.result import AsyncResult

    from tests.support.app import app

    run = agents["hello"].stream("Hi")

    assert AsyncResult(run.run_id, app=app).get(timeout=20)["text"] == "Hello, world."


def test_what_an_ended_run_leaves_expires(
    agents: Agents, redis_server: RedisServer, runs: Runs
) -> None:
    run = agents["calculator"].stream("Add.")
    run.result(timeout=20)
    client = runs.ledger.client()
    keys = [key for key in client.keys(f"*{run.run_id}*") if b"celery-task-meta" not in key]

    assert keys
    assert all(client.ttl(key) > 0 for key in keys)


def test_a_run_says_what_it_waits_for(agents: Agents, runs: Runs) -> None:
    run = agents["hello"].stream("Hi", queue="nobody")

    waiting = wait_until(lambda: runs.get(run.run_id).waiting_for, "the run says what it lacks")

    assert "a worker for queue 'nobody'" in waiting
    assert run.abort()


def test_no_attempt_was_withdrawn_in_all_this(agents: Agents) -> None:
    chunks = list(agents["calculator"].stream("Add."))

    assert not [chunk for chunk in chunks if isinstance(chunk, StepReset)]
