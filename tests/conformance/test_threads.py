"""What every engine remembers of a conversation, and whose turn it is in one."""

import json
import uuid

import pytest

from evented_agent import RunAborted, RunStream, ThreadBusy, ThreadNotFound, ThreadTurn
from evented_agent.chunks import RunWaiting, Start, TextDelta
from evented_agent.models.messages import UserMessage
from tests.conformance.conftest import Engine
from tests.support.workers import wait_until


@pytest.fixture
def thread() -> str:
    return f"{{odd}} thread: {uuid.uuid4().hex}"


def test_the_next_run_of_a_thread_sees_what_was_said(engine: Engine, thread: str) -> None:
    engine["memory"].generate("I am Ann.", thread_id=thread, timeout=20)
    result = engine["memory"].generate("Who am I?", thread_id=thread, timeout=20)
    assert result.answer == "I remember 3: I am Ann. | Who am I?"


def test_the_history_is_there_in_later_steps_too(engine: Engine, thread: str) -> None:
    asked = f"add {json.dumps({'a': 1, 'b': 2})}"
    engine["toolbox"].generate(asked, thread_id=thread, timeout=20)
    result = engine["toolbox"].generate(asked, thread_id=thread, timeout=20)
    assert result.answer == "3; 3"


def test_a_window_begins_with_what_a_user_said(engine: Engine, thread: str) -> None:
    for n in range(4):
        engine["memory"].generate(f"no. {n}", thread_id=thread, timeout=20)
    result = engine["memory"].generate("last", thread_id=thread, timeout=20)
    assert result.answer == "I remember 5: no. 2 | no. 3 | last"


def test_a_thread_belongs_to_its_resource(engine: Engine, thread: str) -> None:
    engine["memory"].generate("A secret.", thread_id=thread, resource_id="ann", timeout=20)
    other = engine["memory"].generate("Hi.", thread_id=thread, resource_id="bob", timeout=20)
    assert other.answer == "I remember 1: Hi."
    assert len(engine["memory"].thread(thread, resource_id="ann")) == 2
    assert engine["memory"].thread(thread) == []


def test_runs_of_a_thread_wait_for_their_turn_in_order(engine: Engine, thread: str) -> None:
    first = engine["memory"].stream("slow", thread_id=thread, deadline=1.5)
    rest = [engine["memory"].stream("slow", thread_id=thread) for _ in range(2)]
    wait_until(lambda: rest[0].status == "queued", "the second waits")
    last = rest[-1]
    rest[0].abort()
    wait_until(lambda: first.status == "aborted", "the first has ended")
    wait_until(lambda: last.status == "running", "the last has its turn")
    last.abort()


def test_a_waiting_run_says_what_it_waits_for(engine: Engine, thread: str) -> None:
    first = engine["memory"].stream("slow", thread_id=thread)
    second = engine["memory"].stream("slow", thread_id=thread)
    said = wait_until(lambda: engine["memory"].get(second.run_id).waiting_for, "it waits")
    assert first.run_id in said or "worker" in said
    first.abort()
    wait_until(lambda: second.status == "running", "the second has its turn")
    second.abort()


def test_a_run_tells_its_readers_once_that_it_waits_for_its_turn(
    engine: Engine, thread: str
) -> None:
    first = engine["memory"].stream("slow", thread_id=thread)
    second = engine["memory"].stream("two", thread_id=thread)
    early = iter(second)
    kinds = [next(early).type for _ in range(3)]
    wait_until(lambda: engine["memory"].get(second.run_id).waiting_for, "it waits")
    first.abort()
    kinds += [chunk.type for chunk in early]

    assert kinds[:3] == ["start", "step-start", "run-waiting"]
    assert (kinds.count("run-waiting"), kinds[-1]) == (1, "finish")
    late = list(engine["memory"].observe(second.run_id))
    assert [chunk.type for chunk in late] == kinds
    assert isinstance(late[2], RunWaiting)
    assert late[2].payload.waits_for == "turn"


def test_a_run_that_has_its_turn_at_once_waits_for_nothing(engine: Engine, thread: str) -> None:
    run = engine["memory"].stream("Hi.", thread_id=thread)
    assert "run-waiting" not in [chunk.type for chunk in run]


def test_a_run_shows_its_input_before_it_has_begun(engine: Engine, thread: str) -> None:
    first = engine["memory"].stream("slow", thread_id=thread)
    question = "How long? " + "x" * 70_000
    second = engine["memory"].stream(question, thread_id=thread)
    assert engine["memory"].get(second.run_id).input == [UserMessage(content=question)]
    start = next(iter(second))
    assert isinstance(start, Start)
    assert start.payload.input is None
    for run in (first, second):
        run.abort()


def test_the_partial_text_of_an_aborted_run_is_remembered(engine: Engine, thread: str) -> None:
    run = engine["memory"].stream("slow", thread_id=thread)
    for chunk in run:
        if isinstance(chunk, TextDelta) and chunk.seq > 10:
            break
    run.abort()
    with pytest.raises(RunAborted):
        run.result(timeout=20)
    said = wait_until(lambda: engine["memory"].thread(thread), "it is remembered")
    assert [message.role for message in said] == ["user", "assistant"]
    assert str(said[1].content).startswith("word0 word1")


def test_a_run_that_is_aborted_before_it_began_leaves_nothing(engine: Engine, thread: str) -> None:
    first = engine["memory"].stream("slow", thread_id=thread)
    wait_until(lambda: first.status == "running", "the first has its turn")
    never = engine["memory"].stream("never asked", thread_id=thread)
    wait_until(lambda: engine["memory"].get(never.run_id).waiting_for, "it waits")
    never.abort()
    wait_until(lambda: never.status == "aborted", "it has ended")
    first.abort()
    wait_until(lambda: engine["memory"].thread(thread), "the first is remembered")
    last = engine["memory"].generate("two", thread_id=thread, timeout=20)
    assert "never asked" not in last.answer
    assert "never asked" not in str(engine["memory"].thread(thread))


def test_a_busy_thread_is_refused_where_that_is_asked_for(engine: Engine, thread: str) -> None:
    first = engine["memory"].stream("slow", thread_id=thread)
    with pytest.raises(ThreadBusy, match=first.run_id):
        engine["memory"].stream("two", thread_id=thread, when_busy="reject")
    first.abort()

    def free() -> RunStream | None:
        try:
            return engine["memory"].stream("three", thread_id=thread, when_busy="reject")
        except ThreadBusy:
            return None

    run = wait_until(free, "the first has left")
    assert run.result(timeout=20).status == "finished"


def test_an_interrupting_run_takes_the_turn(engine: Engine, thread: str) -> None:
    first = engine["memory"].stream("slow", thread_id=thread)
    wait_until(lambda: first.status == "running", "the first runs")
    second = engine["memory"].stream("two", thread_id=thread, when_busy="interrupt")
    assert "two" in second.result(timeout=20).answer
    assert first.status == "aborted"


def test_parallel_runs_do_not_wait(engine: Engine, thread: str) -> None:
    first = engine["memory"].stream("slow", thread_id=thread)
    second = engine["memory"].stream("two", thread_id=thread, when_busy="parallel")
    assert second.result(timeout=20).answer == "I remember 1: two"
    first.abort()


def test_conversations_are_listed_the_last_in_use_first(engine: Engine, thread: str) -> None:
    whose, client = f"resource of {thread}", engine["memory"].client
    for name in ("first", "second"):
        engine["memory"].generate(f"{name}!", thread_id=name, resource_id=whose, timeout=20)
    engine["memory"].generate("again!", thread_id="first", resource_id=whose, timeout=20)
    client.set_thread_title("second", "Called so", resource_id=whose)

    found = client.threads(resource_id=whose)
    assert [each.thread_id for each in found] == ["first", "second"]
    first, second = found
    assert (first.messages, first.runs, first.title, first.turn) == (4, 2, None, None)
    assert (second.messages, second.runs, second.title) == (2, 1, "Called so")
    assert first.last_message == "I remember 3: first! | again!"
    assert first.created_at < second.created_at < second.updated_at < first.updated_at
    assert {each.resource_id for each in found} == {whose}
    assert client.thread_info("second", resource_id=whose) == second
    assert client.threads(resource_id=whose, since=first.updated_at) == [first]
    assert "first" in [each.thread_id for each in client.threads(limit=1000)]


def test_conversations_come_page_by_page(engine: Engine, thread: str) -> None:
    client = engine["memory"].client
    for number in range(5):
        engine["memory"].generate("Hi.", thread_id=f"no. {number}", resource_id=thread, timeout=20)
    pages, page = [], None
    while True:
        found = client.threads(resource_id=thread, limit=2, page=page)
        pages.append([each.thread_id for each in found])
        if (page := found.next_page) is None:
            break
    assert pages == [["no. 4", "no. 3"], ["no. 2", "no. 1"], ["no. 0"]]


def test_a_conversation_says_which_run_has_the_turn(engine: Engine, thread: str) -> None:
    client = engine["memory"].client
    first = engine["memory"].stream("slow", thread_id=thread)
    engine["memory"].stream("two", thread_id=thread)
    wait_until(lambda: first.status == "running", "the first runs")
    [found] = [each for each in client.threads(limit=1000) if each.thread_id == thread]
    assert found.turn == ThreadTurn(first.run_id, "running")
    assert (found.messages, found.last_message) == (0, "")
    first.abort()

    def is_over() -> bool:
        info = client.thread_info(thread)
        return info is not None and info.runs == 2 and info.turn is None

    wait_until(is_over, "both have had their turn")


def test_a_conversation_that_is_forgotten_is_in_no_list(engine: Engine, thread: str) -> None:
    client = engine["memory"].client
    run = engine["memory"].stream("Hi.", thread_id=thread, resource_id="ann")
    assert run.result(timeout=20).status == "finished"
    client.set_thread_title(thread, "Secret", resource_id="ann")
    client.delete_thread(thread, resource_id="ann")

    assert client.thread_info(thread, resource_id="ann") is None
    for whose in ("ann", None):
        found = client.threads(resource_id=whose, limit=1000)
        assert thread not in [each.thread_id for each in found]
    with pytest.raises(ThreadNotFound, match="of resource 'ann'"):
        client.set_thread_title(thread, "Again", resource_id="ann")


def test_what_a_deleted_run_added_is_counted_no_more(engine: Engine, thread: str) -> None:
    client = engine["memory"].client
    engine["memory"].generate("one", thread_id=thread, timeout=20)
    last = engine["memory"].stream("two", thread_id=thread)
    assert last.result(timeout=20).status == "finished"
    client.delete(last.run_id)

    found = client.thread_info(thread)
    assert found is not None
    assert (found.messages, found.runs) == (2, 1)
    assert found.last_message == "I remember 1: one"


def test_a_run_is_remembered_once_however_often_it_is_created(engine: Engine, thread: str) -> None:
    name = f"once-{uuid.uuid4().hex}"
    for _ in range(2):
        engine["memory"].stream("Hi.", thread_id=thread, run_id=name).result(timeout=20)
    assert len(engine["memory"].thread(thread)) == 2
