"""What an MCP server asks of a person: rebuilt from what is known, whatever it sent."""

from typing import Any

import pytest

from evented_agent.client.answer_schema import schema_problems
from evented_agent.execution.mcp.cleaning import Cleaner
from evented_agent.execution.mcp.failures import MCPToolRefused
from evented_agent.execution.mcp.questions import PersonAsked, answers_of, question_of


def elicit(schema: Any, message: str = "Where?", **more: Any) -> dict[str, Any]:
    params = {"message": message, "requestedSchema": schema, **more}
    return {"method": "elicitation/create", "params": params}


def question(**requests: Any) -> PersonAsked:
    return question_of("shop", requests, "state", Cleaner(["secret-1234"]))


def test_a_form_keeps_what_is_known_and_nothing_that_computes() -> None:
    fields = {
        "street": {"type": "string", "pattern": "(a+)+$", "minLength": 1, "title": "S\u202etreet"},
        "floor": {"type": "integer", "minimum": 0, "$ref": "https://evil.example/schema"},
        "size": {"type": "string", "oneOf": [{"const": "s", "title": "small"}, {"const": "m"}]},
        "colours": {"type": "array", "items": {"enum": ["red", "blue"]}, "maxItems": 1},
        "odd": {"type": "object", "properties": {"deep": {"type": "string"}}},
        "no": "field",
    }
    made = question(a=elicit({"type": "object", "properties": fields, "required": ["floor", 5]}))

    assert made.schema is not None
    assert made.schema["anyOf"][0] == {
        "type": "object",
        "properties": {
            "street": {"type": "string", "minLength": 1, "title": "Street"},
            "floor": {"type": "integer", "minimum": 0},
            "size": {"type": "string", "enum": ["s", "m"]},
            "colours": {
                "type": "array",
                "maxItems": 1,
                "items": {"type": "string", "enum": ["red", "blue"]},
            },
            "odd": {},
        },
        "required": ["floor"],
    }
    assert not schema_problems(made.schema, {"floor": 2, "street": "Main", "colours": ["red"]})
    assert schema_problems(made.schema, {"floor": -1, "size": "xl"})


def test_several_questions_are_answered_together() -> None:
    form = {"type": "object", "properties": {"n": {"type": "integer"}}}
    made = question(a=elicit(form, "How many?"), b=elicit(form, "How often, secret-1234?"))

    assert made.payload == {
        "server": "shop",
        "questions": {"a": {"message": "How many?"}, "b": {"message": "How often, [secret]?"}},
    }
    assert made.schema is not None
    assert made.schema["anyOf"][0]["required"] == ["a", "b"]
    assert answers_of(made.waiting, {"a": {"n": 1}, "b": {"n": 2}}) == {
        "a": {"action": "accept", "content": {"n": 1}},
        "b": {"action": "accept", "content": {"n": 2}},
    }
    assert answers_of(made.waiting, None)["a"] == {"action": "cancel"}


def test_a_page_to_visit_is_shown() -> None:
    made = question(a=elicit(None, "Sign in", mode="url", url="https://shop.example/in"))

    assert made.payload["url"] == "https://shop.example/in"
    assert answers_of(made.waiting, {}) == {"a": {"action": "accept"}}


@pytest.mark.parametrize("method", ["sampling/createMessage", "roots/list", "anything", None])
def test_nothing_but_forms_is_asked(method: str | None) -> None:
    with pytest.raises(MCPToolRefused, match="not given here"):
        question(a={"method": method, "params": {}})


def test_too_many_questions_and_too_much_state_are_refused() -> None:
    with pytest.raises(MCPToolRefused, match="too much at once"):
        question(**{f"q{n}": elicit({}) for n in range(17)})
    with pytest.raises(MCPToolRefused, match="too much at once"):
        question_of("shop", {}, "x" * 65_537, Cleaner())


def test_a_person_may_decline() -> None:
    made = question(a=elicit({"type": "object", "properties": {"n": {"type": "integer"}}}))
    assert made.schema is not None

    assert not schema_problems(made.schema, {"approved": False})
    assert answers_of(made.waiting, {"approved": False, "reason": "no"}) == {
        "a": {"action": "decline"}
    }


def test_a_field_named_approved_is_the_servers() -> None:
    fields = {"approved": {"type": "boolean"}}
    made = question(a=elicit({"type": "object", "properties": fields}))

    assert made.schema == {"type": "object", "properties": fields, "required": []}
    assert answers_of(made.waiting, {"approved": False}) == {
        "a": {"action": "accept", "content": {"approved": False}}
    }
