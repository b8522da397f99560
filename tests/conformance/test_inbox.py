"""What every engine does with messages to runs that are under way."""

import json
import uuid
from collections.abc import Sequence
from typing import Any

import pytest

from evented_agent import InboxFull, RunConflict, RunEnded, RunFailed, RunStream
from evented_agent.chunks import (
    AnyChunk,
    MessageApplied,
    MessageDropped,
    MessageQueued,
    RunWaiting,
    TextDelta,
)
from evented_agent.models.messages import AssistantMessage, UserMessage
from tests.conformance.agents import LONG, mark, marks
from tests.conformance.conftest import Engine
from tests.support.workers import wait_until


@pytest.fixture
def topic() -> str:
    return f"topic-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def thread() -> str:
    return f"chat {uuid.uuid4().hex}"


def call(tool: str, /, **arguments: object) -> str:
    return f"{tool} {json.dumps(arguments)}"


def begun(engine: Engine, said: str = "slow", **options: object) -> RunStream:
    """A run whose model has said its first words."""
    run = engine["inbox"].stream(said, **options)  # type: ignore[arg-type]
    for chunk in run:
        if isinstance(chunk, TextDelta):
            return run
    raise AssertionError("the run said nothing")


def suspended(engine: Engine, asked: str, **options: object) -> RunStream:
    run = engine["inbox"].stream(asked, **options)  # type: ignore[arg-type]
    assert run.result(timeout=20).status == "suspended"
    return run


def so_far(engine: Engine, run: RunStream) -> str:
    """All that the run has said, which goes on."""
    return engine["inbox"].result(run.run_id).text


def types(chunks: Sequence[AnyChunk]) -> list[str]:
    """The types, each once where it stands several times in a row, without the model's words."""
    found: list[str] = []
    for chunk in chunks:
        if not chunk.type.startswith("text-") and (not found or found[-1] != chunk.type):
            found.append(chunk.type)
    return found


def said(run: RunStream) -> list[str]:
    """Who said what, tools aside."""
    messages = run.result(timeout=20).messages
    found = [each for each in messages if isinstance(each, UserMessage | AssistantMessage)]
    return [f"{each.role[0]}:{each.content}" for each in found]


def test_a_message_is_answered_after_the_answer_that_is_under_way(engine: Engine) -> None:
    run = begun(engine)
    receipt = engine["inbox"].send(run.run_id, "and this", message_id="m1", by="ann")
    assert (receipt.run_id, receipt.message_id, receipt.begins_run) == (run.run_id, "m1", False)

    rest = list(run)
    assert types(rest) == [
        *("message-queued", "step-finish", "step-start", "message-applied"),
        *("step-finish", "finish"),
    ]
    queued = next(chunk for chunk in rest if isinstance(chunk, MessageQueued))
    assert (queued.seq, queued.payload.by) == (receipt.number, "ann")
    assert said(run) == ["u:slow", f"a:heard slow. {LONG}", "u:and this", "a:heard and this. "]


def test_messages_are_answered_together_in_the_order_in_which_they_were_sent(
    engine: Engine,
) -> None:
    run = begun(engine)
    for number in range(5):
        engine["inbox"].send(run.run_id, f"no. {number}", message_id=str(number))
    [applied] = [chunk for chunk in run if isinstance(chunk, MessageApplied)]
    assert (applied.payload.message_ids, applied.payload.step) == ([*"01234"], 2)
    assert run.result().answer == "heard no. 0 | no. 1 | no. 2 | no. 3 | no. 4. "


def test_the_same_message_again_is_the_same_message(engine: Engine) -> None:
    run = begun(engine)
    first = engine["inbox"].send(run.run_id, "once", message_id="m")
    assert engine["inbox"].send(run.run_id, "once", message_id="m") == first
    with pytest.raises(RunConflict, match="'m'"):
        engine["inbox"].send(run.run_id, "otherwise", message_id="m")
    assert run.result(timeout=20).answer == "heard once. "
    assert engine["inbox"].send(run.run_id, "once", message_id="m") == first


def test_an_interrupting_message_cuts_the_answer_short(engine: Engine) -> None:
    run = begun(engine)
    engine["inbox"].send(run.run_id, "stop it", interrupt=True)
    rest = list(run)
    assert types(rest)[-1] == "finish"
    first, second = run.result().steps
    assert (first.finish_reason, second.finish_reason) == ("interrupted", "stop")
    assert f"heard slow. {LONG}".startswith(first.text)
    assert len(first.text) < len(LONG)
    assert second.text == "heard stop it. "
    assert run.result().text == f"{first.text}\n\n{second.text}"


def test_a_message_while_tools_run_is_answered_with_their_results(
    engine: Engine, topic: str
) -> None:
    run = engine["inbox"].stream(call("hold_open", topic=topic))
    wait_until(lambda: marks(f"held-{topic}"), "the tool runs")
    engine["inbox"].send(run.run_id, "are you there?", interrupt=True)
    mark(f"open-{topic}", "yes")
    result = run.result(timeout=20)
    assert [step.text for step in result.steps] == ["", "heard are you there?. "]
    assert result.steps[0].results[0].result == f"worked on {topic}"


def test_a_message_renews_the_number_of_steps(engine: Engine, topic: str) -> None:
    run = engine["inbox"].stream(call("hold_open", topic=topic), max_steps=1)
    wait_until(lambda: marks(f"held-{topic}"), "the tool runs")
    engine["inbox"].send(run.run_id, call("add", a=1, b=2))
    mark(f"open-{topic}", "yes")
    result = run.result(timeout=20)
    assert [step.finish_reason for step in result.steps] == ["tool-calls"] * 2
    assert result.finish_reason == "tool-calls"


def test_a_message_to_a_queued_run_is_part_of_its_first_question(
    engine: Engine, thread: str
) -> None:
    first = begun(engine, thread_id=thread)
    second = engine["inbox"].stream("two", thread_id=thread)
    engine["inbox"].send(second.run_id, "three")
    first.abort()
    assert second.result(timeout=20).answer == "heard two | three. "


def test_a_run_that_waits_for_a_person_answers_and_the_decision_is_news(engine: Engine) -> None:
    run = suspended(engine, call("erase", name="a"))
    receipt = engine["inbox"].send(run.run_id, "meanwhile?")
    rest = list(engine["inbox"].observe(run.run_id, after=receipt.after))
    assert types(rest) == [
        *("message-queued", "tool-call-deferred", "step-finish", "step-start"),
        *("message-applied", "step-finish", "background-task-progress", "run-waiting"),
    ]
    assert run.result().answer == "heard meanwhile?. "
    [pending] = run.pending

    news = list(engine["inbox"].approve(run.run_id, number=pending.number))
    assert types(news)[0] == "tool-call-decided"
    assert types(news)[-1] == "finish"
    assert run.result().answer == "News: erased a."


def test_a_declined_call_that_was_put_off_is_news_as_well(engine: Engine) -> None:
    run = suspended(engine, call("erase", name="a"))
    engine["inbox"].send(run.run_id, "meanwhile?")
    wait_until(lambda: run.status == "suspended" and so_far(engine, run), "it has answered")
    list(engine["inbox"].decline(run.run_id, reason="mine"))
    assert "The call was declined by a person: mine" in run.result(timeout=20).answer


def test_a_question_is_put_off_like_an_approval(engine: Engine) -> None:
    run = suspended(engine, call("book", flight="LH1"))
    engine["inbox"].send(run.run_id, "which plane is it?")
    wait_until(lambda: run.status == "suspended" and so_far(engine, run), "it has answered")
    list(engine["inbox"].resume(run.run_id, {"seat": 3}))
    assert run.result(timeout=20).answer == "News: booked 3."


def test_a_held_message_waits_for_the_decision(engine: Engine) -> None:
    run = suspended(engine, call("erase", name="a"))
    engine["inbox"].send(run.run_id, "afterwards", hold=True)
    assert run.status == "suspended"
    list(engine["inbox"].approve(run.run_id))
    result = run.result(timeout=20)
    assert [step.text for step in result.steps] == ["", "heard afterwards. "]
    assert result.steps[0].results[0].result == "erased a"


def test_a_message_may_decline_what_waits(engine: Engine) -> None:
    asked = f"{call('erase', name='a')}\n{call('book', flight='LH1')}"
    run = suspended(engine, asked)
    engine["inbox"].send(run.run_id, "forget it", decline=True, by="ann")
    result = run.result(timeout=20)
    assert result.answer == "heard forget it. "
    assert [(each.decision, each.by) for each in result.decisions] == [("declined", "ann")] * 2
    assert all(each.is_error for each in result.steps[0].results)


def test_a_message_during_a_background_report_is_answered_at_once(
    engine: Engine, topic: str
) -> None:
    run = engine["inbox"].stream(call("compile_report", topic=topic), until_idle=True)
    waiting = next(chunk for chunk in run if isinstance(chunk, RunWaiting))
    assert waiting.payload.waits_for == "background"
    engine["inbox"].send(run.run_id, "how is it going?")
    wait_until(lambda: so_far(engine, run).endswith("heard how is it going?. "), "it has answered")
    mark(f"open-{topic}", "yes")
    assert run.result(timeout=20).answer == f"News: all about {topic}."


def test_a_call_that_waits_beside_a_report_holds_no_message_back(
    engine: Engine, topic: str
) -> None:
    asked = f"{call('compile_report', topic=topic)}\n{call('erase', name='a')}"
    run = engine["inbox"].stream(asked)
    wait_until(lambda: run.pending, "a person is asked")
    engine["inbox"].send(run.run_id, "and?")
    wait_until(lambda: so_far(engine, run).endswith("heard and?. "), "it has answered")
    mark(f"open-{topic}", "yes")
    list(engine["inbox"].approve(run.run_id))
    result = run.result(timeout=20)
    assert result.status == "finished"
    assert {str(each.result) for each in result.steps[0].results} == {
        f"all about {topic}",
        "erased a",
    }


def test_a_message_to_a_run_that_has_ended_begins_the_next_of_its_thread(
    engine: Engine, thread: str
) -> None:
    first = engine["inbox"].stream("one", thread_id=thread)
    first.result(timeout=20)
    receipt = engine["inbox"].send(first.run_id, "two", message_id="m")
    assert receipt.begins_run
    assert engine["inbox"].send(first.run_id, "two", message_id="m") == receipt
    again = engine["inbox"].observe(receipt.run_id)
    assert again.result(timeout=20).answer == "heard two. "
    assert len(engine["inbox"].thread(thread)) == 4


def test_a_message_to_a_run_that_has_ended_without_a_thread_is_refused(engine: Engine) -> None:
    run = engine["inbox"].stream("one")
    run.result(timeout=20)
    for _ in range(2):
        with pytest.raises(RunEnded, match="finished"):
            engine["inbox"].send(run.run_id, "two", message_id="m")


def test_an_aborted_run_says_which_messages_it_left(engine: Engine) -> None:
    run = begun(engine)
    engine["inbox"].send(run.run_id, "too late", message_id="m")
    run.abort()
    rest = list(run)
    dropped, end = rest[-2:]
    assert isinstance(dropped, MessageDropped)
    assert (dropped.payload.message_ids, end.type) == (["m"], "abort")
    assert "too late" not in str(engine["inbox"].result(run.run_id).messages)


def test_what_a_failed_run_left_begins_the_next_of_its_thread(
    engine: Engine, thread: str, topic: str
) -> None:
    agent = engine["inbox"]
    run = agent.stream(call("hold_open", topic=topic), thread_id=thread)
    wait_until(lambda: marks(f"held-{topic}"), "the tool runs")
    agent.send(run.run_id, "first", message_id="m1")
    agent.send(run.run_id, f"fail once {topic}", message_id="m2")
    mark(f"open-{topic}", "yes")
    with pytest.raises(RunFailed):
        run.result(timeout=20)
    # Whoever sends the next message finds them before it.
    third = agent.send(run.run_id, "third", message_id="m3")
    assert third.begins_run
    assert agent.observe(third.run_id).result(timeout=20).answer == "heard third. "
    spoken = [each.content for each in agent.thread(thread) if isinstance(each, UserMessage)]
    assert spoken[1:] == ["first", f"fail once {topic}", "third"]


def test_messages_to_a_thread_go_to_the_run_that_has_the_turn(engine: Engine, thread: str) -> None:
    agent = engine["inbox"]
    first = agent.send(thread_id=thread, input="slow", message_id="a")
    assert first.begins_run
    second = agent.send(thread_id=thread, input="more", message_id="b")
    assert (second.run_id, second.begins_run) == (first.run_id, False)
    assert agent.send(thread_id=thread, input="slow", message_id="a") == first
    assert agent.observe(first.run_id).result(timeout=20).status == "finished"
    third = agent.send(thread_id=thread, input="later", message_id="c")
    assert third.begins_run
    assert agent.observe(third.run_id).result(timeout=20).answer == "heard later. "
    assert agent.send(thread_id=thread, input="more", message_id="b") == second


def test_steering_sends_the_input_to_the_run_that_has_the_turn(engine: Engine, thread: str) -> None:
    first = begun(engine, thread_id=thread)
    steered: dict[str, Any] = {"when_busy": "steer", "run_id": f"s{thread[-8:]}"}
    second = engine["inbox"].stream("two", thread_id=thread, **steered)
    assert second.run_id == first.run_id
    kinds = types(list(second))
    assert (kinds[0], kinds[-1]) == ("message-queued", "finish")
    assert second.result().answer == "heard two. "
    again = engine["inbox"].stream("two", thread_id=thread, **steered)
    assert again.run_id == first.run_id


def test_what_cannot_be_steered_runs_beside(engine: Engine, thread: str) -> None:
    first = begun(engine, thread_id=thread)
    other = engine["memory"].stream("two", thread_id=thread, when_busy="steer")
    assert other.run_id != first.run_id
    assert other.result(timeout=20).status == "finished"
    assert first.status == "running"
    first.abort()


def test_a_run_that_waits_for_a_person_is_steered(engine: Engine, thread: str) -> None:
    first = suspended(engine, call("erase", name="a"), thread_id=thread)
    second = engine["inbox"].stream("meanwhile", thread_id=thread)
    assert second.run_id == first.run_id
    assert types(list(second))[-1] == "run-waiting"
    assert second.result().answer == "heard meanwhile. "


def test_another_agent_takes_the_turn_of_a_run_that_waits(engine: Engine, thread: str) -> None:
    first = suspended(engine, call("erase", name="a"), thread_id=thread)
    other = engine["memory"].stream("hello", thread_id=thread)
    assert other.run_id != first.run_id
    assert other.result(timeout=20).status == "finished"
    list(engine["inbox"].approve(first.run_id))
    assert first.result(timeout=20).answer == "Done: erased a."


def test_a_run_that_waits_for_a_person_is_interrupted(engine: Engine, thread: str) -> None:
    first = suspended(engine, call("erase", name="a"), thread_id=thread)
    second = engine["inbox"].stream("two", thread_id=thread, when_busy="interrupt")
    assert second.result(timeout=20).answer == "heard two. "
    assert first.status == "aborted"


def test_a_run_in_the_queue_goes_first_when_the_one_before_it_begins_to_wait(
    engine: Engine, thread: str, topic: str
) -> None:
    asked = f"{call('hold_open', topic=topic)}\n{call('erase', name='a')}"
    first = engine["inbox"].stream(asked, thread_id=thread)
    wait_until(lambda: marks(f"held-{topic}"), "the tool runs")
    second = engine["memory"].stream("hello", thread_id=thread)
    mark(f"open-{topic}", "yes")
    assert second.result(timeout=20).status == "finished"
    assert first.status == "suspended"


def test_a_run_may_wait_in_the_queue_for_a_run_that_waits(engine: Engine, thread: str) -> None:
    first = suspended(engine, call("erase", name="a"), thread_id=thread)
    second = engine["inbox"].stream("two", thread_id=thread, when_waiting="queue")
    assert second.run_id != first.run_id
    wait_until(lambda: engine["inbox"].get(second.run_id).waiting_for, "it waits")
    list(engine["inbox"].approve(first.run_id))
    assert second.result(timeout=20).status == "finished"


def test_a_run_whose_inbox_is_full_refuses_more(engine: Engine) -> None:
    run = suspended(engine, call("erase", name="a"))
    for number in range(1000):
        engine["inbox"].send(run.run_id, str(number), hold=True)
    with pytest.raises(InboxFull):
        engine["inbox"].send(run.run_id, "one more", hold=True)
    run.abort()
