"""What every engine does where one agent lets another go on with its run."""

import uuid

from evented_agent.chunks import Handoff
from tests.conformance.agents import marks
from tests.conformance.conftest import Engine


def test_the_other_agent_goes_on_with_its_own_declaration(engine: Engine) -> None:
    run = engine["triage"].stream("transfer_to_desk and add", max_steps=4)
    [handed] = [chunk for chunk in run if isinstance(chunk, Handoff)]
    told = handed.payload
    assert (told.step, told.from_agent, told.to_agent) == (1, "triage", "desk")
    result = run.result(timeout=20)
    assert result.answer == "I am the desk: 3"
    assert result.steps[0].results[0].result == "The agent desk goes on."
    info = engine["triage"].get(run.run_id)
    assert (info.agent, info.acting) == ("triage", "desk")
    assert f"{run.run_id}:finish 3 stop" in marks("hooks")


def test_of_several_hand_offs_the_first_counts(engine: Engine) -> None:
    run = engine["triage"].stream("transfer_to_desk transfer_to_hello")
    result = run.result(timeout=20)
    first, second = result.steps[0].results
    assert (first.is_error, second.is_error) == (False, True)
    assert result.answer == "I am the desk: add, transfer_to_triage"


def test_a_run_may_be_handed_back(engine: Engine) -> None:
    run = engine["triage"].stream("transfer_to_desk and back")
    assert run.result(timeout=20).answer == "I am the triage: transfer_to_desk, transfer_to_hello"
    assert engine["triage"].get(run.run_id).acting == "triage"


def test_options_of_the_run_hold_for_its_own_agent(engine: Engine) -> None:
    run = engine["triage"].stream("transfer_to_desk", instructions="Told otherwise")
    assert run.result(timeout=20).answer == "I am the desk: add, transfer_to_triage"


def test_the_next_run_of_the_thread_is_the_first_agent_s(engine: Engine) -> None:
    thread = f"handed {uuid.uuid4().hex}"
    engine["triage"].generate("transfer_to_desk", thread_id=thread, timeout=20)
    result = engine["triage"].generate("who?", thread_id=thread, timeout=20)
    assert result.answer == "I am the triage: transfer_to_desk, transfer_to_hello"
