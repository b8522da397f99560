"""What an agent refuses among its further options, each with the way to say it."""

from typing import Any

import pytest

from evented_agent import Agent, DeclarationError
from evented_agent.agents.run_options import RunOptions


async def decide(_: object) -> bool:
    return True


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"on_start": "log"}, "Pass a def or an async def"),
        ({"prepare_step": 3}, "Pass a def or an async def"),
        ({"window": 20}, r"Pass a Window\(messages"),
        ({"require_tool_approval": decide}, "Pass a def that takes an ApprovalRequest"),
        ({"require_tool_approval": "yes"}, "Pass a def that takes an ApprovalRequest"),
        ({"policies": {"careful": True}}, r"policies\['careful'\]=True. Pass a def"),
        ({"background": {"look": "later"}}, "background='later'"),
        ({"background_concurrency": 0}, "background_concurrency"),
        ({"stop_when": decide}, "in stop_when"),
        ({"handoffs": "billing"}, "Pass a list of agents, or of their ids"),
        ({"handoffs": [3]}, "3 in handoffs is no agent"),
        ({"handoffs": ["a"]}, "names the agent itself"),
        ({"handoffs": ["b.c", "b_c"]}, "'transfer_to_b_c', as is another one or a tool"),
    ],
)
def test_an_option_that_could_not_work_is_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(DeclarationError, match=told):
        Agent(id="a", model="openai/gpt-5.5", **options)


def test_an_option_that_no_agent_has_is_refused_like_any_argument() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        Agent(id="a", model="openai/gpt-5.5", colour="red")  # type: ignore[call-arg]


def test_functions_of_an_agent_are_kept() -> None:
    def asks(_: object) -> bool:
        return True

    agent = Agent(
        id="a",
        model="openai/gpt-5.5",
        require_tool_approval=asks,
        policies={"asks": asks},
        on_finish=print,
    )

    assert agent.policies == {"asks": asks}
    assert agent.require_tool_approval is asks


def test_options_about_an_agent_hold_for_no_other() -> None:
    given = RunOptions.parse(
        {
            "instructions": "x",
            "active_tools": ["y"],
            "require_tool_approval": "careful",
            "max_steps": 3,
            "context": {"user": 7},
            "when_busy": "parallel",
        }
    )
    wanted = {"max_steps": 3, "context": {"user": 7}, "when_busy": "parallel"}
    assert given.of_another_agent() == RunOptions.parse(wanted)
    strict = RunOptions.parse({"require_tool_approval": True})
    assert strict.of_another_agent() == strict


def test_a_function_cannot_be_an_option_of_one_run() -> None:
    with pytest.raises(DeclarationError, match="a function cannot travel to a worker"):
        RunOptions.parse({"stop_when": print})


def test_a_callers_metadata_is_no_option_that_workers_would_have_to_know() -> None:
    options = RunOptions.parse({"metadata": {"order": 17}, "max_steps": 3})
    assert options.metadata == {"order": 17}
    assert options.json() == '{"max_steps":3}'
