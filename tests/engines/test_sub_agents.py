"""What keeps agents that call each other from going on for ever, or from failing their run."""

from contextlib import closing
from typing import Any

import pydantic
import pytest

from evented_agent import Agent, create_durable_agent, tool
from evented_agent.execution.tasks import children
from evented_agent.ledger import attempts
from evented_agent.ledger.attempts import MOST_DEPTH
from evented_agent.models.messages import ToolMessage
from evented_agent.models.protocol import ModelRequest
from evented_agent.testing import ScriptedModel, tool_call
from tests.support.servers import RedisServer
from tests.support.workers import wait_until


def passes_on(request: ModelRequest) -> Any:
    """Call the only tool, or say what it said."""
    last = request.messages[-1]
    if isinstance(last, ToolMessage):
        return str(last.result)
    return [tool_call(spec.name, input="x") for spec in request.tools] or "the deepest"


@tool(requires_approval=True)
def sign() -> str:
    """Sign, once somebody agrees."""
    return "signed"


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ("MOST_CHILDREN", "TooManyAgents: At most 2 calls of agents are made in all."),
        ("MOST_LIVE_CHILDREN", "TooManyAgents: At most 2 calls of agents go on at a time."),
    ],
)
def test_a_model_is_told_of_the_calls_for_which_there_is_no_room(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, limit: str, said: str
) -> None:
    for module in (attempts, children):
        monkeypatch.setattr(module, limit, 2)
    signer = Agent(
        id="signer",
        description="Signs.",
        model=ScriptedModel([[tool_call("sign")], "Here."]),
        tools=[sign],
    )
    boss = Agent(
        id="boss",
        model=ScriptedModel([[tool_call("signer", input="x")] * 3, told]),
        tools=[signer.as_tool()],
    )
    with closing(create_durable_agent(boss, redis_url=redis_server.url)) as evented:
        run = evented.stream("go")
        wait_until(lambda: run.status == "suspended", "both that have room ask")
        for pending in evented.get(run.run_id).pending:
            run.approve(tool_call_id=pending.tool_call_id)
        assert sorted(run.result(timeout=30).answer.split("; ")) == ["Here.", "Here.", said]


def told(request: ModelRequest) -> str:
    """What each call came to."""
    results = [each for each in request.messages if isinstance(each, ToolMessage)]
    return "; ".join(str(each.result) for each in results)


def test_agents_call_each_other_five_levels_deep(redis_server: RedisServer) -> None:
    agents = [Agent(id="deep-0", description="Answers.", model=ScriptedModel(["the deepest"]))]
    for level in range(1, MOST_DEPTH + 2):
        agents.append(
            Agent(
                id=f"deep-{level}",
                description="Passes on.",
                model=ScriptedModel([passes_on]),
                tools=[agents[-1].as_tool()],
            )
        )
    with_room = create_durable_agent(agents[-2], redis_url=redis_server.url)
    too_deep = create_durable_agent(agents[-1], redis_url=redis_server.url)
    try:
        assert with_room.generate("go", timeout=30).answer == "the deepest"
        result = too_deep.generate("go", timeout=30)
        assert result.answer.startswith("TooManyAgents: Agents call each other 5 levels deep")
        assert len(too_deep.get(result.run_id).children) == MOST_DEPTH
    finally:
        with_room.close()
        too_deep.close()


class Broken(pydantic.BaseModel):
    input: str

    @pydantic.field_serializer("input")
    def never(self, value: str) -> str:
        raise RuntimeError(f"no JSON of {value}")


def test_an_input_that_cannot_become_json_is_an_error_for_the_model(
    redis_server: RedisServer,
) -> None:
    asked = Agent(id="asked", description="Answers.", model=ScriptedModel(["unasked"]))
    asks = Agent(id="asks", model=ScriptedModel([passes_on]), tools=[asked.as_tool(input=Broken)])
    durable = create_durable_agent(asks, redis_url=redis_server.url)
    try:
        result = durable.generate("go", timeout=30)
        assert result.status == "finished"
        assert "no JSON of x" in result.answer
        assert durable.get(result.run_id).children == []
    finally:
        durable.close()
