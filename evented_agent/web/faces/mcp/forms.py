"""What people are asked through a client of MCP, and what their answers decide.  Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pydantic_core

from evented_agent.agents.tools.approvals import Pending
from evented_agent.client.answer_schema import UncheckableSchema, schema_problems
from evented_agent.client.decisions import denial_data

_PRIMITIVES = ("string", "number", "integer", "boolean")
#: Most characters of what is asked.
_MOST_MESSAGE = 4_000
_APPROVAL: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "approved": {"type": "boolean", "title": "Approve"},
        "reason": {"type": "string", "title": "Reason"},
    },
    "required": ["approved"],
}
_CRASH: Mapping[str, Any] = {
    "type": "object",
    "properties": {"action": {"type": "string", "enum": ["rerun", "fail"]}},
    "required": ["action"],
}


@dataclass(frozen=True, slots=True)
class PersonForm:
    """A form as the protocol has them: a message, and an object of plain fields.

    Attributes:
        message: What is asked.
        schema: The JSON schema of the answer.
        is_wrapped: Whether the answer is in the field "answer".
        is_json: Whether that field holds JSON as text.
    """

    message: str
    schema: Mapping[str, Any]
    is_wrapped: bool = False
    is_json: bool = False


@dataclass(frozen=True, slots=True)
class FormDecision:
    """The method of `Runs` that decides, with what it takes."""

    verb: str
    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] | None = None


def person_form(pending: Pending) -> PersonForm:
    """What a client shows for a call that waits."""
    call = f"{pending.tool_name} {_json(pending.arguments)}"
    if pending.kind == "approval":
        return PersonForm(f"May {pending.agent} call {call}?"[:_MOST_MESSAGE], _APPROVAL)
    if pending.kind == "crash":
        message = f"The worker of {call} died, perhaps in the middle. Call it again?"
        return PersonForm(message[:_MOST_MESSAGE], _CRASH)
    message = _message(pending.payload)[:_MOST_MESSAGE]
    schema = pending.resume_schema
    # Of several, the first is what is wanted; the others are other ways out.
    first = _first(schema)
    if first is not None and _is_flat(first):
        return PersonForm(message, first)
    field: dict[str, Any] = {"type": "string", "title": "Answer"}
    if schema is not None:
        field["description"] = f"JSON that fits {_json(schema)}"[:_MOST_MESSAGE]
    wrapped = {"type": "object", "properties": {"answer": field}, "required": ["answer"]}
    return PersonForm(message, wrapped, is_wrapped=True, is_json=schema is not None)


def decision_for(pending: Pending, action: str, content: Mapping[str, Any]) -> FormDecision | None:
    """What an answer decides; None for one that leaves the call waiting."""
    is_accepted = action == "accept"
    if pending.kind == "approval":
        if is_accepted and content.get("approved") is True:
            return FormDecision("approve")
        reason = content.get("reason")
        return FormDecision("decline", options={"reason": reason if reason else None})
    if pending.kind == "crash":
        chosen = content.get("action") if is_accepted else "fail"
        return FormDecision("resume", ({"action": chosen},))
    if not is_accepted:
        return FormDecision("decline") if _may_decline(pending.resume_schema) else None
    form = person_form(pending)
    return FormDecision("resume", (_data(form, content),))


def _first(schema: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    choices = None if schema is None else schema.get("anyOf")
    if isinstance(choices, list) and choices and isinstance(choices[0], Mapping):
        return choices[0]
    return schema


def _may_decline(schema: Mapping[str, Any] | None) -> bool:
    """Whether what `decline` answers fits the schema, as it does where an MCP server asks."""
    try:
        return schema is not None and not schema_problems(schema, denial_data(None))
    except UncheckableSchema:
        return False


def _data(form: PersonForm, content: Mapping[str, Any]) -> Any:
    if not form.is_wrapped:
        return dict(content)
    answer = content.get("answer")
    if not form.is_json or not isinstance(answer, str):
        return answer
    try:
        return pydantic_core.from_json(answer, allow_inf_nan=False)
    except ValueError:
        # Refused by the schema, which says what is wanted.
        return answer


def _is_flat(schema: Mapping[str, Any]) -> bool:
    fields = schema.get("properties")
    if schema.get("type") != "object" or not isinstance(fields, Mapping) or not fields:
        return False
    return all(
        isinstance(each, Mapping) and each.get("type") in _PRIMITIVES for each in fields.values()
    )


def _message(payload: Any) -> str:
    if isinstance(payload, str):
        return payload
    for name in ("message", "question"):
        if isinstance(payload, Mapping) and isinstance(payload.get(name), str):
            return str(payload[name])
    return _json(payload)


def _json(value: Any) -> str:
    return pydantic_core.to_json(value).decode()


def waits_for(pending: Sequence[Pending]) -> str:
    """What a run waits for, as a sentence for those who cannot be asked."""
    asked = " ".join(person_form(each).message for each in pending)
    return f"The run waits for a person: {asked}"[:_MOST_MESSAGE]
