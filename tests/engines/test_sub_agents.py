"""What keeps agents that call each other from going on for ever, or from failing their run."""

from typing import Any

import pydantic

from evented_agent import Agent, create_durable_agent
from evented_agent.ledger.attempts import MOST_DEPTH
from evented_agent.models.messages import ToolMessage
from evented_agent.models.protocol import ModelRequest
from evented_agent.testing import ScriptedModel, tool_call
from tests.support.servers import RedisServer


def passes_on(request: ModelRequest) -> Any:
    """Call the only tool, or say what it said."""
    last = request.messages[-1]
    if isinstance(last, ToolMessage):
        return str(last.result)
    return [tool_call(spec.name, input="x") for spec in request.tools] or "the deepest"


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
