"""Output types: what may be one, what a model is told of a wrong answer, strict schemas."""

from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel, Field, field_validator

from evented_agent import Agent, DeclarationError
from evented_agent.agents.output_types import (
    InvalidOutput,
    OutputType,
    json_in,
    partial,
    strict_schema,
)


class Line(BaseModel):
    title: str = "none"
    price: float = Field(gt=0)

    @field_validator("title")
    @classmethod
    def is_known(cls, title: str) -> str:
        if title == "broken":
            raise RuntimeError("the catalogue is away")
        return title


@dataclass
class Invoice:
    lines: list[Line]


def test_an_answer_becomes_a_value_of_its_type() -> None:
    answer = '{"lines": [{"title": "tea", "price": 2}]}'

    assert OutputType(Invoice).parse(answer) == Invoice([Line(title="tea", price=2)])


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ('{"lines": [{"price": -1}]}', "- lines.0.price: Input should be greater than 0"),
        ("not JSON", "- the answer: Invalid JSON"),
        ('{"lines": [{"title": "broken", "price": 1}]}', "- RuntimeError: the catalogue is away"),
    ],
)
def test_a_wrong_answer_is_told_by_its_places(answer: str, told: str) -> None:
    with pytest.raises(InvalidOutput, match="The answer is no valid Invoice") as refused:
        OutputType(Invoice).parse(answer)

    assert told in str(refused.value)


@pytest.mark.parametrize("declared", [str, list[Line], object()])
def test_what_is_no_json_object_is_no_output_type(declared: Any) -> None:
    with pytest.raises(DeclarationError, match="cannot be an output type"):
        OutputType(declared)


def test_an_agent_refuses_output_types_that_it_cannot_tell_apart() -> None:
    with pytest.raises(DeclarationError, match="two output types have the same name"):
        Agent(id="a", model="openai/gpt-5.5", output_type=Line, output_types=[Line])
    with pytest.raises(DeclarationError, match="cannot be an output type"):
        Agent(id="a", model="openai/gpt-5.5", output_type=str)


def test_an_unfinished_answer_is_read_as_far_as_it_goes() -> None:
    assert partial('{"lines": [{"title": "te') == {"lines": [{"title": "te"}]}
    assert partial("It is") is None


def test_a_strict_schema_requires_every_property_and_allows_no_other() -> None:
    strict = strict_schema(OutputType(Invoice).schema)

    assert strict is not None
    line = strict["$defs"]["Line"]
    assert (line["required"], line["additionalProperties"]) == (["title", "price"], False)
    assert "default" not in line["properties"]["title"]


@pytest.mark.parametrize(
    "free", [{"type": "object"}, {"type": "object", "properties": {}, "additionalProperties": True}]
)
def test_free_names_have_no_strict_schema(free: dict[str, Any]) -> None:
    assert strict_schema({"type": "object", "properties": {"any": free}}) is None


JSON = '{"lines": [{"title": "tea", "price": 2}]}'


@pytest.mark.parametrize(
    "said",
    [
        JSON,
        f"  {JSON}\n",
        f"```json\n{JSON}\n```",
        f"Here it is:\n\n```\n{JSON}\n```\nAnything else?",
        f"<think>Perhaps {{}}? Or ```json\n{{}}\n```?</think>\n{JSON}",
        f"<think>First {{ then</think>\n\n```JSON\n{JSON}\n```",
        f"The invoice is {JSON}.",
        f"I look at the bill.\n\n{JSON}",
        f'{{"lines": []}}\n{JSON}',
        f"```json\n{JSON}",
    ],
)
def test_an_answer_is_found_amid_thoughts_fences_and_words(said: str) -> None:
    assert OutputType(Invoice).parse(said) == Invoice([Line(title="tea", price=2)])


def test_a_part_of_an_answer_that_was_cut_off_is_no_answer() -> None:
    cut_off = '{"lines": [\n  {"lines": []},'
    assert json_in(cut_off) == cut_off
    with pytest.raises(InvalidOutput):
        OutputType(Invoice).parse(cut_off)


@pytest.mark.parametrize(
    ("said", "made"),
    [
        ('<think>Hm.</think>```json\n{"a": "b', {"a": "b"}),
        ("<think>Hm {", None),
        ("Here it is: {", {}),
    ],
)
def test_a_partial_object_is_found_behind_thoughts_and_words(said: str, made: Any) -> None:
    assert partial(said) == made
