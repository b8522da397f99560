"""Whatever a client sends in OpenAI's form is understood, or refused by name."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from hypothesis import given
from hypothesis import strategies as st

from evented_agent import Runs
from evented_agent.models.messages import parse_messages
from evented_agent.web import Principal, create_app
from evented_agent.web.faces.openai.errors import WrongField
from evented_agent.web.faces.openai.fields import DEFAULTS, HARMLESS, OPTIONS, FieldReader, roles_of
from evented_agent.web.faces.responses.items import GivenDecision, message_items, parse_input
from evented_agent.web.site import Site

T = TypeVar("T")
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
TYPES = (
    *("message", "mcp_approval_response", "function_call_output", "reasoning", "input_text"),
    *("output_text", "input_image", "image_url", "text"),
)
WORDS = st.sampled_from(["user", "assistant", "system", "developer", "x:1", "auto", "", *TYPES])
KEYS = st.sampled_from(
    [
        *("type", "role", "content", "text", "image_url", "detail", "url", "approve", "reason"),
        *("approval_request_id", "call_id", "output", "tool_calls", "name", "function"),
    ]
)
JSON = st.recursive(
    SCALARS | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from([*OPTIONS, *DEFAULTS, *HARMLESS, "instructions", "metadata", "stream"])
ANN, SERVICE = Principal("Ann", "ann"), Principal("Service", all_resources=True)


def site() -> Site:
    return create_app(Runs("redis://127.0.0.1:1"), authorize=lambda *_: ANN)._site


def outcome_of(take: Callable[[], T]) -> tuple[T | None, WrongField | None]:
    """What was made of a request, or the field that is refused."""
    try:
        return take(), None
    except WrongField as refused:
        return None, refused


@given(JSON)
def test_any_input_is_understood_or_refused_by_its_place(given_: Any) -> None:
    found, refused = outcome_of(lambda: parse_input(given_))
    if refused is not None:
        assert refused.param.startswith("input")
    if found is None or isinstance(found, str):
        return
    if all(isinstance(each, GivenDecision) for each in found):
        assert all(each.number > 0 for each in found if isinstance(each, GivenDecision))
        return
    assert {each["role"] for each in found if isinstance(each, dict)} <= {
        "user",
        "assistant",
        "system",
    }


@given(st.dictionaries(NAMES, JSON, max_size=5), st.sampled_from([ANN, SERVICE]))
def test_any_fields_are_taken_or_refused_by_their_names(
    fields: Mapping[str, Any], who: Principal
) -> None:
    given_ = {name: value for name, value in fields.items() if value is not None}
    reader = FieldReader(site(), who, given_)

    def take() -> dict[str, Any]:
        reader.flag("stream")
        reader.metadata()
        return reader.options({**OPTIONS, "instructions": "instructions"})

    options, refused = outcome_of(take)
    assert refused is None or refused.param in fields
    if options is not None and who is ANN:
        assert set(options) <= {"when_busy", "when_waiting", "until_idle", "deadline"}


def test_instructions_are_refused_where_they_stand() -> None:
    messages = [{"role": "user", "content": "x"}, {"role": "system", "content": "y"}]
    assert "system" in roles_of(site(), SERVICE, messages, "messages")
    _, refused = outcome_of(lambda: roles_of(site(), ANN, messages, "messages"))
    assert refused is not None
    assert refused.param == "messages[1].role"


def test_an_input_is_shown_as_it_was_given() -> None:
    given_: list[dict[str, Any]] = [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "What is it?"},
                {"type": "input_image", "image_url": "https://x.example/a.png", "detail": "low"},
            ],
        },
        {"role": "assistant", "content": [{"type": "output_text", "text": "A cat."}]},
    ]
    messages = parse_messages(parse_input(given_))  # type: ignore[arg-type]
    shown = message_items("run", messages)

    assert [item["content"] for item in shown] == [each["content"] for each in given_]
    assert [item["role"] for item in shown] == ["user", "assistant"]
    assert len({item["id"] for item in shown}) == 2
