"""Answers against the schema that a tool asked by: in bounded time, and without fetching."""

import json
import socket
from typing import Annotated, Any

import pydantic
import pytest

from evented_agent.client.answer_schema import UncheckableSchema, schema_problems

pytestmark = pytest.mark.timeout(20)

NESTED = r"^(a+)+$"
BACKTRACKING = r"^(?=a)(a+)+$"


def text(pattern: str) -> dict[str, Any]:
    return {"type": "string", "pattern": pattern}


class Seat(pydantic.BaseModel):
    row: int = pydantic.Field(ge=1)
    letter: Annotated[str, pydantic.Field(pattern="^[A-F]$")]


def test_an_answer_is_compared_with_the_model_s_schema() -> None:
    schema = Seat.model_json_schema()

    assert schema_problems(schema, {"row": 1, "letter": "A"}) == []
    assert schema_problems(schema, {"row": 0, "letter": "X"}) == [
        "letter: 'X' does not match '^[A-F]$'",
        "row: 0 is less than the minimum of 1",
    ]
    assert schema_problems(schema, {"row": 1}) == ["the answer: 'letter' is a required property"]


@pytest.mark.parametrize(
    ("schema", "fits"),
    [
        (text(NESTED), False),
        # Left out: only an engine that tries all ways could compare it.
        (text(BACKTRACKING), True),
        (
            {
                "anyOf": [
                    {"$schema": "https://json-schema.org/draft/2020-12/schema", **text(NESTED)}
                ]
            },
            False,
        ),
        ({"$defs": {"x": text(NESTED)}, "$ref": "#/$defs/x"}, False),
    ],
)
def test_no_pattern_computes_for_ever(schema: dict[str, Any], fits: bool) -> None:
    assert (schema_problems(schema, "a" * 40 + "b") == []) is fits


@pytest.mark.parametrize("pattern", [NESTED, BACKTRACKING])
@pytest.mark.parametrize("rest", [False, {"type": "integer"}])
@pytest.mark.parametrize("beside", ["additionalProperties", "unevaluatedProperties"])
def test_no_pattern_of_names_computes_for_ever(pattern: str, rest: Any, beside: str) -> None:
    schema = {"patternProperties": {pattern: {"type": "integer"}}, beside: rest}

    assert schema_problems(schema, {"a": 1}) == []
    problems = schema_problems(schema, {"a" * 40 + "b": "x"})

    assert bool(problems) is (pattern == NESTED and beside == "additionalProperties")


def test_properties_beside_those_that_are_named_are_refused() -> None:
    schema = {"properties": {"a": {}}, "additionalProperties": False}

    assert schema_problems(schema, {"a": 1}) == []
    [problem] = schema_problems(schema, {"a": 1, "b": 2, "c": 3})
    assert problem.endswith("('b', 'c' were unexpected)")
    assert "integer" in schema_problems({"additionalProperties": {"type": "integer"}}, {"b": ""})[0]
    assert schema_problems({**schema, "patternProperties": {"^a": {}}}, []) == []


def test_a_text_that_is_too_long_for_a_pattern_is_refused() -> None:
    assert "characters" in schema_problems(text("^a*$"), "a" * 100_000)[0]
    assert schema_problems(text("^a*$"), 5) == ["the answer: 5 is not of type 'string'"]


def test_many_items_are_compared_in_no_more_than_linear_time() -> None:
    items: list[Any] = [{"n": n} for n in range(50_000)]

    assert schema_problems({"uniqueItems": True}, items) == []
    assert "non-unique" in schema_problems({"uniqueItems": True}, [*items, {"n": 1}])[0]
    assert schema_problems({"uniqueItems": False}, [1, 1]) == []


def test_nothing_is_fetched() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/schema.json"
        server.settimeout(0.2)
        for schema in ({"$ref": url}, {"$id": url, "$ref": "other.json"}, {"$dynamicRef": url}):
            with pytest.raises(UncheckableSchema, match="cannot be applied here"):
                schema_problems(schema, {})
        with pytest.raises(TimeoutError):
            server.accept()


@pytest.mark.parametrize("schema", [{"$ref": "#"}, {"type": "nothing"}, {"pattern": "("}])
def test_a_schema_that_is_none_is_said_to_be_none_or_left_out(schema: dict[str, Any]) -> None:
    try:
        assert schema_problems(schema, "x") == []
    except UncheckableSchema as error:
        assert "its schema cannot be applied here" in str(error)  # noqa: PT017 - or left out
    assert json.dumps(schema)
