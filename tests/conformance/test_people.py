"""What every engine does with calls that wait for people."""

import json
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from evented_agent import InvalidDecision, NotSuspended, RunAborted, RunConflict, RunStream
from evented_agent.models.messages import ToolCall
from tests.conformance.agents import marks
from tests.conformance.conftest import Engine


def call(tool: str, /, **arguments: object) -> str:
    return f"{tool} {json.dumps(arguments)}"


def erase(*names: str) -> str:
    return "\n".join(call("erase", name=name) for name in names)


def suspended(engine: Engine, asked: str, **options: object) -> RunStream:
    run = engine["toolbox"].stream(asked, **options)  # type: ignore[arg-type]
    assert run.result(timeout=20).status == "suspended"
    return run


def erased(run: RunStream) -> list[str]:
    return sorted(line.split()[1] for line in marks("erase") if line.startswith(run.run_id))


def test_a_call_that_requires_approval_suspends_the_run(engine: Engine) -> None:
    run = suspended(engine, erase("a"))
    [pending] = run.pending
    assert (pending.kind, pending.tool_name, pending.arguments) == (
        "approval",
        "erase",
        {"name": "a"},
    )
    assert erased(run) == []


def test_a_reader_stops_at_the_suspension_and_goes_on_after_it(engine: Engine) -> None:
    run = engine["toolbox"].stream(erase("a"))
    assert [chunk.type for chunk in run][-2:] == ["tool-call-approval", "run-waiting"]
    engine["toolbox"].approve(run.run_id)
    assert [chunk.type for chunk in run][-1] == "finish"


def test_an_approved_call_runs_once_and_the_run_finishes(engine: Engine) -> None:
    run = suspended(engine, erase("a"))
    engine["toolbox"].approve(run.run_id, by="ann")
    assert run.result(timeout=20).answer == "erased a"
    assert erased(run) == ["a"]


def test_a_declined_call_never_runs_and_the_model_sees_the_reason(engine: Engine) -> None:
    run = suspended(engine, erase("a"))
    rest = engine["toolbox"].decline(run.run_id, reason="It is mine.")
    types = [chunk.type for chunk in rest]
    assert types[:2] == ["tool-call-decided", "tool-output-denied"]
    assert "It is mine." in run.result(timeout=20).answer
    assert erased(run) == []


def test_resume_with_approved_is_the_same_as_approve(engine: Engine) -> None:
    run = suspended(engine, erase("a"))
    engine["toolbox"].resume(run.run_id, {"approved": True, "note": "all data is kept"})
    assert run.result(timeout=20).answer == "erased a"


def test_approved_arguments_take_the_place_of_the_model_s(engine: Engine) -> None:
    run = suspended(engine, erase("a"))
    engine["toolbox"].approve(run.run_id, arguments={"name": "b"})
    result = run.result(timeout=20)
    assert (result.answer, erased(run)) == ("erased b", ["b"])


@pytest.mark.parametrize("order", ["forward", "reverse", "at once"])
def test_several_calls_are_approved_in_any_order(engine: Engine, order: str) -> None:
    run = suspended(engine, erase("a", "b", "c"))
    calls = [pending.tool_call_id for pending in run.pending]
    approve = engine["toolbox"].approve
    if order == "at once":
        with ThreadPoolExecutor(3) as threads:
            list(threads.map(lambda id_: approve(run.run_id, tool_call_id=id_), calls))
    else:
        for id_ in calls if order == "forward" else reversed(calls):
            approve(run.run_id, tool_call_id=id_)
    result = run.result(timeout=20)
    assert result.answer == "erased a; erased b; erased c"
    assert erased(run) == ["a", "b", "c"]


def test_a_double_click_changes_nothing(engine: Engine) -> None:
    run = suspended(engine, erase("a"))
    for _ in range(3):
        engine["toolbox"].approve(run.run_id)
    assert run.result(timeout=20).status == "finished"
    engine["toolbox"].approve(run.run_id)
    assert erased(run) == ["a"]


def test_another_decision_after_the_first_is_refused(engine: Engine) -> None:
    run = suspended(engine, erase("a"))
    engine["toolbox"].approve(run.run_id)
    with pytest.raises(RunConflict):
        engine["toolbox"].decline(run.run_id)


def test_an_ambiguous_decision_asks_which_call_is_meant(engine: Engine) -> None:
    run = suspended(engine, erase("a", "b"))
    with pytest.raises(NotSuspended, match="tool_call_id"):
        engine["toolbox"].approve(run.run_id)
    engine["toolbox"].abort(run.run_id)


def test_unapproved_calls_do_not_hold_up_the_others(engine: Engine) -> None:
    run = suspended(engine, f"{erase('a')}\n{call('add', a=1, b=2)}")
    types = [chunk.type for chunk in engine["toolbox"].observe(run.run_id)]
    assert "tool-result" in types
    engine["toolbox"].decline(run.run_id)
    assert run.result(timeout=20).answer.endswith("; 3")


def test_a_policy_chosen_by_name_asks_about_some_calls_only(engine: Engine) -> None:
    asked = call("report")
    assert (
        engine["toolbox"]
        .generate(asked, require_tool_approval="etc", timeout=20)
        .answer.startswith("done")
    )
    suspended(engine, asked, require_tool_approval=True)


def test_a_tool_suspends_and_is_called_again_with_the_answer(engine: Engine) -> None:
    run = suspended(engine, call("book", flight="LH1"))
    [pending] = run.pending
    assert pending.kind == "suspension"
    assert pending.payload == {"question": "Which seat on LH1?"}
    engine["toolbox"].resume(run.run_id, {"seat": 7})
    assert run.result(timeout=20).answer == "booked 7"


def test_an_answer_that_does_not_fit_the_schema_is_refused(engine: Engine) -> None:
    run = suspended(engine, call("book", flight="LH1"))
    with pytest.raises(InvalidDecision, match="seat"):
        engine["toolbox"].resume(run.run_id, {"seat": "aisle"})
    assert run.status == "suspended"


def test_a_suspended_run_is_aborted_at_once(engine: Engine) -> None:
    run = suspended(engine, erase("a"))
    assert engine["toolbox"].abort(run.run_id)
    with pytest.raises(RunAborted):
        run.result(timeout=20)
    with pytest.raises(NotSuspended, match="ended"):
        engine["toolbox"].approve(run.run_id)


def test_pending_calls_are_found_with_their_arguments_and_age(engine: Engine) -> None:
    owner = uuid.uuid4().hex
    run = suspended(engine, erase("a"), resource_id=owner)
    [pending] = engine["toolbox"].pending(resource_id=owner)
    assert (pending.run_id, pending.arguments) == (run.run_id, {"name": "a"})
    assert pending.since < pending.expires_at
    assert engine["toolbox"].pending(resource_id="nobody") == []


def test_the_model_sees_each_result_under_its_call(engine: Engine) -> None:
    run = suspended(engine, erase("a", "b"))
    first, second = run.pending
    engine["toolbox"].decline(run.run_id, tool_call_id=first.tool_call_id, reason="no")
    engine["toolbox"].approve(run.run_id, tool_call_id=second.tool_call_id)
    result = run.result(timeout=20)
    calls: list[ToolCall] = list(result.steps[0].tool_calls)
    results = [result.steps[0].results_by_call[each.id] for each in calls]
    assert [each.is_error for each in results] == [True, False]
    assert results[0].result == "The call was declined by a person: no"
