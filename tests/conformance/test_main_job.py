"""What every engine does with a run: stream it, follow it, end it."""

import asyncio
import json
import uuid
from collections.abc import Callable

import pytest

from evented_agent import (
    DeclarationError,
    RunAborted,
    RunConflict,
    RunFailed,
    RunNotFound,
    RunStream,
)
from evented_agent.chunks import StepFinish, TextDelta
from tests.conformance.conftest import Engine
from tests.support.workers import wait_until

ENDS = ("finish", "error", "abort")


def types(run: RunStream) -> list[str]:
    return [chunk.type for chunk in run]


def call(tool: str, /, **arguments: object) -> str:
    return f"{tool} {json.dumps(arguments)}"


def test_stream_returns_at_once_and_the_result_comes_later(engine: Engine) -> None:
    run = engine["hello"].stream("Hi.")
    assert run.run_id
    assert run.result(timeout=20).text == "Hello, world."


def test_chunks_come_in_the_order_of_the_contract(engine: Engine) -> None:
    run = engine["toolbox"].stream(call("add", a=1, b=2))
    assert types(run) == [
        *("start", "step-start"),
        *("tool-call-input-streaming-start", "tool-call-delta", "tool-call-input-streaming-end"),
        *("tool-call", "tool-result", "step-finish", "step-start"),
        *("text-start", "text-delta", "text-end", "step-finish", "finish"),
    ]


def test_chunks_are_numbered_without_gaps(engine: Engine) -> None:
    seqs = [chunk.seq for chunk in engine["toolbox"].stream(call("add", a=1, b=2))]
    assert seqs == list(range(1, len(seqs) + 1))


def test_a_step_says_whether_another_follows(engine: Engine) -> None:
    run = engine["toolbox"].stream(call("add", a=1, b=2))
    steps = [chunk for chunk in run if isinstance(chunk, StepFinish)]
    assert [step.payload.step_result.is_continued for step in steps] == [True, False]


def test_a_second_reader_sees_the_same_from_the_start(engine: Engine) -> None:
    run = engine["hello"].stream("Hi.")
    first = [chunk.sse() for chunk in run]
    assert [chunk.sse() for chunk in engine["hello"].observe(run.run_id)] == first


def test_a_reader_goes_on_from_a_cursor_without_repetition(engine: Engine) -> None:
    run = engine["hello"].stream("Hi.")
    chunks = list(run)
    rest = engine["hello"].observe(run.run_id, after=chunks[2].cursor)
    assert [chunk.seq for chunk in rest] == [chunk.seq for chunk in chunks[3:]]


def test_a_reader_that_joins_in_the_middle_ends_up_with_the_same_text(engine: Engine) -> None:
    run = engine["slow"].stream("Hi.")
    seen = [next(iter(run)) for _ in range(1)]
    *_, last = engine["slow"].observe(run.run_id).text_parts()
    assert seen[0].type == "start"
    assert last.snapshot == run.result(timeout=20).text


def test_leaving_does_not_touch_the_run_or_other_readers(engine: Engine) -> None:
    with engine["slow"].stream("Hi.") as run:
        for chunk in run:
            if isinstance(chunk, TextDelta):
                break
    assert engine["slow"].observe(run.run_id).result(timeout=20).status == "finished"


def test_runs_do_not_see_each_other(engine: Engine) -> None:
    runs = [engine["toolbox"].stream(call("add", a=n, b=0)) for n in range(5)]
    assert [run.result(timeout=20).answer for run in runs] == [str(n) for n in range(5)]


def test_the_same_run_id_and_input_is_the_same_run(engine: Engine) -> None:
    name = f"same-{uuid.uuid4().hex}"
    first = engine["hello"].stream("Hi.", run_id=name)
    engine["hello"].stream("Hi.", run_id=name)
    assert types(first).count("start") == 1


def test_the_same_run_id_with_another_input_is_refused(engine: Engine) -> None:
    name = f"other-{uuid.uuid4().hex}"
    engine["hello"].stream("Hi.", run_id=name)
    with pytest.raises(RunConflict):
        engine["hello"].stream("Bye.", run_id=name)


def test_an_unknown_run_is_not_waited_for(engine: Engine) -> None:
    with pytest.raises(RunNotFound):
        engine["hello"].observe("nothing-of-the-kind")


def test_a_late_observer_gets_everything_and_the_end(engine: Engine) -> None:
    run = engine["hello"].stream("Hi.")
    run.result(timeout=20)
    assert types(engine["hello"].observe(run.run_id))[-1] == "finish"


def test_calls_of_one_step_all_run(engine: Engine) -> None:
    asked = "\n".join(call("add", a=n, b=n) for n in range(3))
    result = engine["toolbox"].generate(asked, timeout=20)
    assert result.answer == "0; 2; 4"


def test_a_tool_that_raises_is_told_to_the_model_and_the_run_goes_on(engine: Engine) -> None:
    run = engine["toolbox"].stream(call("fail", why="no such luck"))
    assert "tool-error" in types(run)
    assert run.result(timeout=20).answer == "error RuntimeError: no such luck"


def test_an_unknown_tool_is_told_to_the_model_with_the_names_that_exist(engine: Engine) -> None:
    result = engine["toolbox"].generate(call("nope"), timeout=20)
    assert "add, fail, report" in result.answer


def test_wrong_arguments_are_told_to_the_model(engine: Engine) -> None:
    result = engine["toolbox"].generate(call("add", a="x"), timeout=20)
    assert "InvalidArguments" in result.answer


def test_tools_get_the_context_and_an_idempotency_key_and_may_emit(engine: Engine) -> None:
    run = engine["toolbox"].stream(call("report"), context={"user": "ann"})
    assert "tool-output" in types(run)
    assert run.result(timeout=20).answer == f"done for {{'user': 'ann'}} with {run.run_id}:call_1_0"


def test_max_steps_is_a_total_of_model_calls(engine: Engine) -> None:
    result = engine["endless"].generate("Go.", max_steps=3, timeout=20)
    assert len(result.steps) == 3
    assert result.finish_reason == "tool-calls"
    assert len(result.steps[-1].results) == 1


def test_a_named_condition_stops_the_run(engine: Engine) -> None:
    result = engine["endless"].generate("Go.", max_steps=9, stop_when="two", timeout=20)
    assert len(result.steps) == 2


def test_another_model_answers_where_the_first_is_away(engine: Engine) -> None:
    result = engine["fallback"].generate("Hi.", timeout=20)
    assert result.answer == "The second answers."
    assert result.steps[0].model == "scripted/second"


def test_a_failed_run_says_so_once_and_raises_with_the_partial_result(engine: Engine) -> None:
    run = engine["fails-partly"].stream(uuid.uuid4().hex)
    ends = [kind for kind in types(run) if kind in ENDS]
    assert ends == ["error"]
    with pytest.raises(RunFailed, match="the model went away"):
        run.result(timeout=20)


def test_usage_is_added_up_over_the_steps(engine: Engine) -> None:
    result = engine["toolbox"].generate(call("add", a=1, b=2), timeout=20)
    assert result.usage.total_tokens == 30


def test_messages_hold_the_whole_conversation(engine: Engine) -> None:
    result = engine["toolbox"].generate(call("add", a=1, b=2), timeout=20)
    assert [message.role for message in result.messages] == [
        *("user", "assistant", "tool", "assistant")
    ]


def test_an_abort_ends_a_streaming_run_and_keeps_its_text(engine: Engine) -> None:
    run = engine["slow"].stream("Hi.")
    for chunk in run:
        if isinstance(chunk, TextDelta) and chunk.seq > 10:
            break
    assert run.abort("enough")
    assert types(run)[-1] == "abort"
    with pytest.raises(RunAborted) as aborted:
        run.result(timeout=20)
    assert aborted.value.result.text.startswith("word0 word1")


def test_a_tool_sees_the_abort(engine: Engine) -> None:
    run = engine["toolbox"].stream(call("patient"))
    wait_until(lambda: engine["toolbox"].get(run.run_id).worker, "somebody works on it")
    run.abort()
    assert types(run)[-1] == "abort"


def test_aborting_a_run_that_has_ended_changes_nothing(engine: Engine) -> None:
    run = engine["hello"].stream("Hi.")
    run.result(timeout=20)
    assert not run.abort()
    assert run.status == "finished"


def test_a_deadline_ends_the_run_wherever_it_is(engine: Engine) -> None:
    run = engine["slow"].stream("Hi.", deadline=0.7)
    assert types(run)[-1] == "abort"
    info = engine["slow"].get(run.run_id)
    assert (info.status, info.finish_reason) == ("aborted", "deadline")


def test_listen_calls_back_with_each_kind_of_chunk(engine: Engine) -> None:
    seen: list[str] = []

    def note(name: str) -> Callable[[object], None]:
        return lambda _: seen.append(name)

    result = (
        engine["hello"]
        .stream("Hi.")
        .listen(on_finish=note("finish"), on_step_finish=note("step"), on_error=note("error"))
    )
    assert (seen, result.text) == (["step", "finish"], "Hello, world.")


def test_a_failing_callback_does_not_end_the_reading(engine: Engine) -> None:
    def broken(_: object) -> None:
        raise RuntimeError("not my day")

    assert engine["hello"].stream("Hi.").listen(on_chunk=broken).status == "finished"


def test_an_option_that_is_a_function_is_refused_with_where_it_belongs(engine: Engine) -> None:
    with pytest.raises(DeclarationError, match="Declare it on the Agent"):
        engine["hello"].stream("Hi.", prepare_step=print)  # type: ignore[arg-type]


def test_the_async_twin_streams_the_same(engine: Engine) -> None:
    async def follow() -> list[str]:
        async with engine["hello"].astream("Hi.") as run:
            return [chunk.type async for chunk in run]

    assert asyncio.run(follow())[-1] == "finish"


def test_runs_are_found_by_what_they_belong_to(engine: Engine) -> None:
    owner = uuid.uuid4().hex
    for _ in range(3):
        engine["hello"].stream("Hi.", resource_id=owner).result(timeout=20)
    found = engine["hello"].list(resource_id=owner, status="finished")
    assert len(found) == 3
    assert engine["hello"].list(resource_id=owner, status="failed") == []


def test_runs_are_listed_page_by_page(engine: Engine) -> None:
    owner = uuid.uuid4().hex
    made = [engine["hello"].stream("Hi.", resource_id=owner).run_id for _ in range(5)]
    seen: list[str] = []
    page = engine["hello"].list(resource_id=owner, limit=2)
    seen.extend(info.run_id for info in page)
    while page.next_page:
        page = engine["hello"].list(resource_id=owner, limit=2, page=page.next_page)
        seen.extend(info.run_id for info in page)
    assert sorted(seen) == sorted(made)
    assert len(seen) == len(set(seen))


def test_a_failed_run_goes_on_where_it_failed(engine: Engine) -> None:
    run = engine["fails-partly"].stream(uuid.uuid4().hex)
    assert types(run)[-1] == "error"
    rest = engine["fails-partly"].retry(run.run_id)

    assert rest.result(timeout=20).text == "half an answer"
    again = [chunk.seq for chunk in engine["fails-partly"].observe(run.run_id)]
    assert again == list(range(1, len(again) + 1))
    *_, last = engine["fails-partly"].observe(run.run_id).text_parts()
    assert last.snapshot == "half an answer"
    late = engine["fails-partly"].observe(run.run_id, after=run.cursor)
    assert next(iter(late)).type == "topic-reset"


def test_a_run_is_deleted_with_all_it_said(engine: Engine) -> None:
    run = engine["hello"].stream("Hi.")
    run.result(timeout=20)
    engine["hello"].delete(run.run_id)
    with pytest.raises(Exception, match="was deleted"):
        engine["hello"].observe(run.run_id)
