"""Hooks, choices for a step, and structured output, on every engine."""

import json
import uuid

import pytest

from evented_agent import DeclarationError, RunFailed, RunStream
from evented_agent.chunks import Object
from tests.conformance.agents import Person, Place, marks
from tests.conformance.conftest import Engine
from tests.support.workers import wait_until


def told(run: RunStream) -> list[str]:
    """What the hooks were told of a run, without its id."""
    lines = [line for line in marks("hooks") if line.startswith(f"{run.run_id}:")]
    return [line.removeprefix(f"{run.run_id}:") for line in lines]


def call(tool: str, /, **arguments: object) -> str:
    return f"{tool} {json.dumps(arguments)}"


def test_hooks_are_told_of_a_run_s_start_steps_and_finish(engine: Engine) -> None:
    run = engine["hooked"].stream(call("add", a=1, b=2))
    run.result(timeout=20)
    assert told(run) == ["start 1", "step:1 1", "step:2 2", "finish 2 stop"]


def test_a_finished_run_has_told_its_hooks(engine: Engine) -> None:
    run = engine["hooked"].stream(call("add", a=1, b=2))
    assert [chunk.type for chunk in run][-1] == "finish"
    assert told(run)[-1] == "finish 2 stop"


def test_a_hook_is_told_of_each_suspension(engine: Engine) -> None:
    run = engine["hooked"].stream(call("erase", name="a"))
    assert run.result(timeout=20).status == "suspended"
    [pending] = run.pending
    wanted = ["start 1", f"suspended:{pending.number} {pending.tool_call_id}"]
    wait_until(lambda: told(run) == wanted, "the hook is told")
    engine["hooked"].abort(run.run_id)
    wait_until(lambda: "abort 1 abort" in told(run), "the hook is told of the abort")


def test_a_hook_is_told_of_the_failure(engine: Engine) -> None:
    run = engine["hooked-failing"].stream("Hi.")
    with pytest.raises(RunFailed):
        run.result(timeout=20)
    wait_until(lambda: any("no model today" in line for line in told(run)), "it is told")


def test_a_hook_that_fails_is_called_again_with_the_same_key(engine: Engine) -> None:
    run = engine["broken-hook"].stream("Hi.")
    assert run.result(timeout=20).status == "finished"
    assert marks("broken").count(f"{run.run_id}:finish") == 3


def test_prepare_step_chooses_model_and_instructions(engine: Engine) -> None:
    assert engine["prepared"].generate("Hi.", timeout=20).answer == "told: Only this once."


def test_a_run_chooses_how_its_steps_are_prepared_by_name(engine: Engine) -> None:
    every = engine["offered-less"].generate("Hi.", timeout=20).answer
    some = engine["offered-less"].generate("Hi.", prepare_step="only_report", timeout=20).answer
    assert every.startswith("add, fail")
    assert some == 'report; {"tool": "report"}'


def test_a_policy_the_agent_does_not_declare_is_refused(engine: Engine) -> None:
    with pytest.raises(DeclarationError, match="has no policy 'nope'"):
        engine["hello"].stream("Hi.", stop_when="nope")


def test_feedback_gives_exactly_one_more_step(engine: Engine) -> None:
    result = engine["judged"].generate("again", timeout=20)
    assert [step.text for step in result.steps] == ["again", "heard Once more, please."]


def test_a_verdict_ends_a_run_that_would_go_on(engine: Engine) -> None:
    result = engine["judged"].generate("enough", timeout=20)
    assert (len(result.steps), result.finish_reason) == (1, "tool-calls")


def test_feedback_with_a_stop_gives_one_last_step(engine: Engine) -> None:
    result = engine["judged"].generate("last", timeout=20)
    assert [step.text for step in result.steps] == ["last", "heard Say goodbye."]
    assert len(result.steps[-1].results) == 1


def test_feedback_does_not_go_beyond_max_steps(engine: Engine) -> None:
    assert len(engine["judged"].generate("again", max_steps=1, timeout=20).steps) == 1


def test_an_answer_has_the_type_that_the_agent_declares(engine: Engine) -> None:
    result = engine["typed"].generate("right", timeout=20)
    assert result.output == Person(name="Ann of the long name", age=7)


def test_partial_objects_come_before_the_whole_one(engine: Engine) -> None:
    run = engine["typed"].stream("right")
    objects = [chunk.payload.object for chunk in run if isinstance(chunk, Object)]
    assert objects[-1] == {"name": "Ann of the long name", "age": 7}
    assert objects[0] != objects[-1]


def test_a_wrong_answer_is_put_before_the_model_once(engine: Engine) -> None:
    result = engine["typed"].generate("wrong once", timeout=20)
    assert isinstance(result.output, Person)
    assert len(result.steps) == 2


def test_a_second_wrong_answer_fails_the_run(engine: Engine) -> None:
    with pytest.raises(RunFailed, match="InvalidOutput"):
        engine["typed"].generate("wrong", timeout=20)


@pytest.mark.parametrize("chosen", [Place, "Place"])
def test_a_run_chooses_another_output_type(engine: Engine, chosen: object) -> None:
    result = engine["typed"].generate("place", output_type=chosen, timeout=20)
    assert result.output == Place(city="Riga")


def test_an_output_type_the_agent_does_not_declare_is_refused(engine: Engine) -> None:
    with pytest.raises(DeclarationError, match="has no output type"):
        engine["typed"].stream("Hi.", output_type=uuid.UUID)
