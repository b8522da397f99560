"""Hooks are told what a run does; conditions end it early."""

from evented_agent import Agent, RunEvent, StepInfo, tool
from evented_agent.testing import Say, ScriptedModel, tool_call
from tests.fundamentals.conftest import Serve


@tool
def look() -> str:
    """Look around."""
    return "nothing new"


def test_hooks_are_told_of_start_steps_and_end(serve: Serve) -> None:
    """A hook may be told twice of the same: `event.key` is then the same too."""
    told: list[str] = []

    def note(event: RunEvent) -> None:
        told.append(event.key.partition(":")[2])

    agent = Agent(
        id="told", model=ScriptedModel(["Hi."]), on_start=note, on_step=note, on_finish=note
    )
    serve(agent).generate("Hello.")

    assert sorted(set(told)) == ["finish", "start", "step:1"]


def test_a_condition_ends_a_run(serve: Serve) -> None:
    """`stop_when` is asked after each step whether that was the last."""

    def second(step: StepInfo) -> bool:
        return step.step == 2

    model = ScriptedModel([Say("Looking. ", [tool_call("look")])])
    agent = Agent(id="restless", model=model, tools=[look], stop_when=second)

    assert len(serve(agent).generate("Look.").steps) == 2


def test_the_number_of_steps_has_a_limit(serve: Serve) -> None:
    """`max_steps` ends a run whose model never comes to an end."""
    model = ScriptedModel([[tool_call("look")]])
    agent = Agent(id="tireless", model=model, tools=[look], max_steps=3)

    assert len(serve(agent).generate("Look.").steps) == 3
