"""Agents as tools, and types that name themselves: what a model is shown, and what a child gets."""

import dataclasses
import json
from typing import Any

import pydantic
import pytest

from evented_agent import Agent, DeclarationError
from evented_agent.agents.output_types import OutputType, strict_schema
from evented_agent.agents.tools.agent_tool import AgentTool
from evented_agent.agents.tools.tool import InvalidArguments
from evented_agent.models.messages import UserMessage
from evented_agent.testing import ScriptedModel


class Part(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    name: str
    parts: "list[Part]" = []


@dataclasses.dataclass
class Reply:
    said: str
    replies: "list[Reply]"


def asked_with(given: type[pydantic.BaseModel]) -> AgentTool:
    agent = Agent(id="asked", description="Answers.", model=ScriptedModel([]))
    return agent.as_tool(input=given)


def handed_over(tool: AgentTool, arguments: dict[str, Any]) -> Any:
    [message] = tool.messages_for(tool.validate(arguments))
    assert isinstance(message, UserMessage)
    return json.loads(str(message.content))


def test_an_input_may_have_parts_of_its_own_type() -> None:
    tool = asked_with(Part)

    assert tool.parameters["type"] == "object"
    assert set(tool.parameters["properties"]) == {"name", "parts"}
    assert tool.parameters["properties"]["parts"]["items"] == {"$ref": "#/$defs/Part"}
    given = {"name": "car", "parts": [{"name": "wheel", "parts": []}]}
    assert handed_over(tool, given) == given


def test_a_model_is_told_of_an_argument_that_such_an_input_lacks() -> None:
    with pytest.raises(InvalidArguments, match=r"size: there is no such argument \(known: name"):
        asked_with(Part).validate({"name": "car", "size": 2})


@pytest.mark.parametrize(
    ("declared", "answer"),
    [
        (Part, '{"name": "car", "parts": [{"name": "wheel"}]}'),
        (Reply, '{"said": "a", "replies": [{"said": "b", "replies": []}]}'),
    ],
)
def test_an_answer_may_have_parts_of_its_own_type(declared: Any, answer: str) -> None:
    made = OutputType(declared)

    assert made.schema["type"] == "object"
    assert declared.__name__ in made.schema["$defs"]
    assert (strict_schema(made.schema) or {})["required"] == list(made.schema["properties"])
    assert isinstance(made.parse(answer), declared)


@pytest.mark.parametrize("given", [pydantic.RootModel[str], pydantic.RootModel[list[str]]])
def test_an_input_that_is_no_object_is_refused(given: Any) -> None:
    with pytest.raises(DeclarationError, match="is no JSON object"):
        asked_with(given)


class Swapped(pydantic.BaseModel):
    start: str = pydantic.Field(alias="end")
    end: str = pydantic.Field(alias="start")


class Open(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")

    name: str


def test_a_child_is_given_each_field_under_the_name_that_the_model_gave_it() -> None:
    given = {"start": "Rome", "end": "Oslo"}

    assert handed_over(asked_with(Swapped), given) == given


def test_a_child_is_given_what_its_input_allows_beside_its_fields() -> None:
    given = {"name": "car", "colour": "red"}

    assert handed_over(asked_with(Open), given) == given
