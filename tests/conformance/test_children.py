"""What every engine does where an agent calls another one, whose run is a child of its own."""

import json
import uuid

import pytest

from evented_agent import RunFailed, RunStream
from evented_agent.chunks import Child, Finish, RunWaiting, TextDelta, ToolResult
from evented_agent.errors import ChildRun, NotSuspended
from tests.conformance.agents import mark, marks
from tests.conformance.conftest import Engine
from tests.support.workers import wait_until


def ask(agent: str, said: str) -> str:
    return f"{agent} {json.dumps({'input': said})}"


def call(tool: str, /, **arguments: object) -> str:
    return f"{tool} {json.dumps(arguments)}"


def suspended(engine: Engine, asked: str) -> RunStream:
    run = engine["chief"].stream(asked)
    assert run.result(timeout=20).status == "suspended"
    return run


def test_a_child_answers_the_call(engine: Engine) -> None:
    run = engine["chief"].stream(ask("researcher", call("add", a=1, b=2)))
    chunks = list(run)
    result = run.result(timeout=20)
    assert result.answer == "They say: Done: 3.."
    child = f"{run.run_id}~1"
    inside = [chunk.payload for chunk in chunks if isinstance(chunk, Child)]
    assert {each.run_id for each in inside} == {child}
    assert [each.type for each in inside if "-" not in each.type] == ["start", "finish"]
    assert [chunk.seq for chunk in chunks] == list(range(1, len(chunks) + 1))
    [answer] = [chunk.payload.result for chunk in chunks if isinstance(chunk, ToolResult)]
    assert answer == "Done: 3."
    info = engine["chief"].get(run.run_id)
    [told] = info.children
    assert (told.run_id, told.agent, told.status) == (child, "researcher", "finished")
    assert f"{child}:start 1" in marks("hooks")
    assert f"{child}:finish 2 stop" in marks("hooks")


def test_a_child_is_looked_at_and_read_like_a_run(engine: Engine) -> None:
    run = engine["chief"].stream(ask("researcher", call("add", a=1, b=2)))
    whole = run.result(timeout=20)
    child = engine["chief"].observe(f"{run.run_id}~1")
    chunks = list(child)
    assert {chunk.run_id for chunk in chunks} == {f"{run.run_id}~1"}
    assert isinstance(chunks[-1], Finish)
    said = "".join(chunk.payload.text for chunk in chunks if isinstance(chunk, TextDelta))
    result = child.result(timeout=20)
    assert result.text == said == "Done: 3."
    assert (result.status, result.agent, result.finish_reason) == ("finished", "researcher", "stop")
    assert result.steps[0].tool_calls[0].id.startswith("~1/")
    info = engine["chief"].get(f"{run.run_id}~1")
    assert (info.parent_id, info.asked) == (run.run_id, call("add", a=1, b=2))
    assert whole.usage.total_tokens == info.usage.total_tokens + sum(
        step.usage.total_tokens for step in whole.steps
    )


def test_children_work_side_by_side_and_call_others(engine: Engine) -> None:
    first = ask("researcher", call("add", a=1, b=2))
    below = ask("deputy", ask("researcher", call("add", a=3, b=4)))
    run = engine["chief"].stream(f"{first}\n{below}\n{call('add', a=5, b=6)}")
    assert run.result(timeout=20).answer == "They say: Done: 3.; They say: Done: 7..; 11."
    children = engine["chief"].get(run.run_id).children
    agents = {each.run_id.removeprefix(run.run_id): each.agent for each in children}
    assert sorted(agents.values()) == ["deputy", "researcher", "researcher"]
    [deputy] = [branch for branch, agent in agents.items() if agent == "deputy"]
    assert agents[f"{deputy}~1"] == "researcher"


def test_input_and_output_are_typed(engine: Engine) -> None:
    run = engine["chief"].stream(call("typist", name="Ann of the long name"))
    answer = run.result(timeout=20).answer
    assert answer == "They say: {'name': 'Ann of the long name', 'age': 7}."


def test_a_child_that_fails_is_an_error_for_the_model(engine: Engine) -> None:
    run = engine["chief"].stream(ask("broken", "anything"))
    answer = run.result(timeout=20).answer
    assert answer.startswith("They say: error ModelError: ")
    assert [child.status for child in engine["chief"].get(run.run_id).children] == ["failed"]


def test_an_approval_in_a_child_is_the_run_s(engine: Engine) -> None:
    name = uuid.uuid4().hex
    run = suspended(engine, ask("deputy", ask("researcher", call("erase", name=name))))
    info = engine["chief"].get(run.run_id)
    [pending] = info.pending
    assert (pending.agent, pending.tool_name) == ("researcher", "erase")
    assert pending.tool_call_id.startswith("~1~1/")
    assert {child.status for child in info.children} == {"suspended"}
    assert any(each.tool_call_id == pending.tool_call_id for each in engine["chief"].pending())
    waits = [
        chunk for chunk in engine["chief"].observe(run.run_id) if isinstance(chunk, RunWaiting)
    ]
    assert waits[-1].payload.calls == [pending.tool_call_id]
    run.approve(tool_call_id=pending.tool_call_id, by="ann")
    assert run.result(timeout=20).answer == f"They say: They say: Done: erased {name}..."
    assert [line for line in marks("erase") if line.endswith(name)] != []
    assert engine["chief"].get(run.run_id).decisions[0].by == "ann"
    wait_until(
        lambda: any(pending.tool_call_id in line for line in marks("hooks")), "the hook is called"
    )


def test_a_question_in_a_child_is_answered_by_its_id_too(engine: Engine) -> None:
    run = suspended(engine, ask("researcher", call("book", flight="LH1")))
    child = engine["chief"].observe(f"{run.run_id}~1")
    assert child.status == "suspended"
    child.resume({"seat": 7})
    assert child.result(timeout=20).text == "Done: booked 7."
    assert run.result(timeout=20).answer == "They say: Done: booked 7.."


def test_the_call_itself_may_need_approval(engine: Engine) -> None:
    run = suspended(engine, ask("checked", call("add", a=1, b=2)))
    assert engine["chief"].get(run.run_id).children == []
    run.approve()
    assert run.result(timeout=20).answer == "They say: Done: 3.."


def test_calls_that_wait_in_several_children_are_told_apart(engine: Engine) -> None:
    names = [uuid.uuid4().hex for _ in range(2)]
    asked = "\n".join(ask("researcher", call("erase", name=name)) for name in names)
    run = suspended(engine, asked)
    pending = engine["chief"].get(run.run_id).pending
    assert len({each.tool_call_id for each in pending}) == 2
    with pytest.raises(NotSuspended):
        run.approve()
    run.approve(tool_call_id=pending[0].tool_call_id)
    run.decline(number=pending[1].number, reason="not this one")
    answer = run.result(timeout=20).answer
    assert "Done: erased" in answer
    assert "not this one" in answer


def test_an_abort_ends_the_tree(engine: Engine) -> None:
    topic = uuid.uuid4().hex
    run = engine["chief"].stream(ask("deputy", ask("researcher", call("hold_open", topic=topic))))
    wait_until(lambda: bool(marks(f"held-{topic}")), "the child works")
    run.abort("enough")
    wait_until(lambda: engine["chief"].get(run.run_id).status == "aborted", "the run is aborted")
    assert {child.status for child in engine["chief"].get(run.run_id).children} == {"aborted"}
    chunks = list(engine["chief"].observe(run.run_id))
    assert chunks[-1].type == "abort"


def test_a_timeout_puts_the_child_away(engine: Engine) -> None:
    topic = uuid.uuid4().hex
    run = engine["chief"].stream(ask("hurried", call("hold_open", topic=topic)))
    assert run.result(timeout=20).answer.startswith("They say: error ToolTimeout: ")
    assert list(engine["chief"].observe(f"{run.run_id}~1"))[-1].type == "abort"
    assert [child.status for child in engine["chief"].get(run.run_id).children] == ["aborted"]


def test_a_child_in_the_background_is_news(engine: Engine) -> None:
    topic = uuid.uuid4().hex
    run = engine["chief"].stream(ask("apart", call("hold_open", topic=topic)))
    wait_until(lambda: bool(marks(f"held-{topic}")), "the child works")
    [background] = engine["chief"].background_tasks(run.run_id)
    assert background.status == "running"
    mark(f"open-{topic}", "now")
    result = run.result(timeout=20)
    assert result.answer == f"News: Done: worked on {topic}.."
    [background] = engine["chief"].background_tasks(run.run_id)
    assert (background.status, background.result) == ("completed", f"Done: worked on {topic}.")


def test_a_child_in_the_background_can_be_cancelled(engine: Engine) -> None:
    topic = uuid.uuid4().hex
    run = engine["chief"].stream(ask("apart", call("hold_open", topic=topic)))
    wait_until(lambda: bool(marks(f"held-{topic}")), "the child works")
    [background] = engine["chief"].background_tasks(run.run_id)
    assert engine["chief"].cancel(background.task_id)
    assert run.result(timeout=20).answer.startswith("News: error Cancelled: ")
    assert [child.status for child in engine["chief"].get(run.run_id).children] == ["aborted"]


def test_a_message_is_answered_while_a_child_waits_for_a_person(engine: Engine) -> None:
    run = suspended(engine, ask("researcher", call("book", flight="LH1")))
    [pending] = engine["chief"].get(run.run_id).pending
    engine["chief"].send(run.run_id, "are you there?")
    chief = engine["chief"]
    wait_until(lambda: "heard are you there?" in chief.result(run.run_id).text, "it is answered")
    run.resume({"seat": 9}, tool_call_id=pending.tool_call_id)
    assert run.result(timeout=20).answer == "News: Done: booked 9.."


def test_a_child_cannot_be_handled_without_its_tree(engine: Engine) -> None:
    run = engine["chief"].stream(ask("researcher", call("add", a=1, b=2)))
    run.result(timeout=20)
    child = f"{run.run_id}~1"
    chief = engine["chief"]
    for act in (chief.abort, chief.retry, chief.delete, lambda each: chief.send(each, "hello")):
        with pytest.raises(ChildRun, match=run.run_id):
            act(child)
    chief.delete(run.run_id)
    with pytest.raises(Exception, match="deleted"):
        chief.get(child)


def test_a_retry_goes_on_in_the_child(engine: Engine) -> None:
    topic = uuid.uuid4().hex
    asked = f"{ask('researcher', call('hold_open', topic=topic))}\n{call('sign', name='it')}"
    run = engine["chief"].stream(asked)
    with pytest.raises(RunFailed):
        run.result(timeout=20)
    assert [child.status for child in engine["chief"].get(run.run_id).children] == ["failed"]
    again = engine["chief"].retry(run.run_id)
    again.approve()
    mark(f"open-{topic}", "now")
    result = again.result(timeout=20)
    assert result.answer == f"They say: Done: worked on {topic}.; signed it."


def test_a_background_call_of_a_child_can_be_found_and_cancelled(engine: Engine) -> None:
    topic = uuid.uuid4().hex
    run = engine["chief"].stream(ask("researcher", call("compile_report", topic=topic)))
    wait_until(lambda: bool(marks(f"compile-{topic}")), "the report is being written")
    [background] = engine["chief"].background_tasks(f"{run.run_id}~1")
    assert background.task_id.startswith(f"{run.run_id}:~1/")
    assert engine["chief"].background_task(background.task_id) == background
    assert engine["chief"].cancel(background.task_id, reason="no longer wanted")
    found = engine["chief"].background_task(background.task_id)
    assert found is not None
    assert found.status == "cancelled"
    assert "no longer wanted" in run.result(timeout=20).answer
