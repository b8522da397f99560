"""Declaring tools: what the model sees, what the function gets, what is refused."""

import asyncio
import datetime
import enum
import inspect
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, fields
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, Optional

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator

from evented_agent.agents.tools.background import Background
from evented_agent.agents.tools.context import ToolContext
from evented_agent.agents.tools.policy import ToolOptions, ToolPolicy
from evented_agent.agents.tools.tool import InvalidArguments, dump_result, tool
from evented_agent.errors import DeclarationError


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Item(BaseModel):
    model_config = ConfigDict(strict=True)

    title: str
    due: datetime.date


@dataclass
class Point:
    x: int
    y: int = 0


@tool
def search(query: str, limit: int = 10) -> list[str]:
    """Search the archive.

    Both words of a name count.

    Args:
        query: What to look for,
            in any language.
        limit (int, optional): The most hits.

    Returns:
        Titles.
    """
    return [query] * limit


@tool(name="order-items", description="Order things.", timeout=2, retries=3, on_crash="fail")
async def order(
    ctx: ToolContext,
    items: list[Item],
    colour: Colour = Colour.RED,
    note: Annotated[str, Field(description="For the packer", max_length=5)] = "",
) -> str:
    return f"{ctx.idempotency_key} {items[0].due:%d.%m.} {colour.name} {note}"


def test_the_schema_comes_from_the_signature_and_the_docstring() -> None:
    assert search.name == "search"
    assert search.description == (
        "Search the archive.\n\nBoth words of a name count.\n\nReturns:\n    Titles."
    )
    assert search.parameters == {
        "type": "object",
        "properties": {
            "query": {"type": "string", "description": "What to look for, in any language."},
            "limit": {"type": "integer", "default": 10, "description": "The most hits."},
        },
        "required": ["query"],
        "additionalProperties": False,
    }


def test_the_options_of_the_decorator_are_the_policy_of_the_tool() -> None:
    assert (order.name, order.description) == ("order-items", "Order things.")
    assert order.policy == ToolPolicy(timeout=2, retries=3, on_crash="fail", isolate=False)
    assert (order.is_async, order.takes_context) == (True, True)
    assert search.policy == ToolPolicy(timeout=None, retries=0, on_crash="rerun", isolate=False)
    assert (search.is_async, search.takes_context) == (False, False)


def test_a_span_of_time_is_seconds_or_a_timedelta() -> None:
    declared = tool(
        timeout=timedelta(minutes=2),
        expiry=timedelta(days=1),
        background=Background(timeout=timedelta(days=1)),
    )
    policy = declared(module_level).policy

    assert (policy.timeout, policy.expiry) == (120.0, 86_400.0)
    assert policy.stored(None) == {
        "on_crash": "rerun",
        "most_retries": 0,
        "on_expiry": "decline",
        "expiry": 86_400_000,
        "timeout": 120_000,
    }
    assert policy.stored(policy.background)["timeout"] == 86_400_000


def test_each_option_of_the_decorator_is_a_field_of_the_policy() -> None:
    assert set(ToolOptions.__annotations__) == {field.name for field in fields(ToolPolicy)}


def test_nested_types_annotations_and_defaults_are_in_the_schema_without_titles() -> None:
    assert order.parameters["properties"] == {
        "items": {"type": "array", "items": {"$ref": "#/$defs/Item"}},
        "colour": {"$ref": "#/$defs/Colour", "default": "red"},
        "note": {
            "type": "string",
            "default": "",
            "maxLength": 5,
            "description": "For the packer",
        },
    }
    assert order.parameters["required"] == ["items"]
    item = order.parameters["$defs"]["Item"]
    assert item["properties"]["title"] == {"type": "string"}
    assert "title" not in item


def test_a_tool_is_called_like_its_function_and_looks_like_it() -> None:
    context = ToolContext(run_id="r", tool_call_id="c", tool_name="t")
    due = datetime.date(2030, 1, 2)

    assert search("a", limit=2) == ["a", "a"]
    assert asyncio.run(order(context, [Item(title="x", due=due)])) == "r:c 02.01. RED "
    assert (search.__doc__ or "").startswith("Search")
    assert str(inspect.signature(search)) == "(query: str, limit: int = 10) -> list[str]"
    assert repr(search) == f"<Tool search: {__name__}.search>"


def test_a_tool_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        search.name = "other"  # type: ignore[misc]


def test_valid_arguments_become_what_the_function_is_annotated_with() -> None:
    given = {"items": [{"title": "x", "due": "2030-01-02"}], "colour": "blue"}

    arguments = order.validate(given)

    due = datetime.date(2030, 1, 2)
    assert arguments == {"items": [Item(title="x", due=due)], "colour": Colour.BLUE, "note": ""}


def test_wrong_arguments_are_told_one_line_a_problem() -> None:
    with pytest.raises(InvalidArguments) as caught:
        search.validate({"limit": "many", "lenght": 3})

    assert str(caught.value).splitlines() == [
        "The arguments of search are not valid:",
        "- query: Field required",
        "- limit: Input should be a valid integer, unable to parse string as an integer "
        "(given: 'many')",
        "- lenght: there is no such argument (known: query, limit)",
    ]


def test_the_text_about_wrong_arguments_stays_short() -> None:
    huge = {"limit": "9\n" * 100_000, **{f"extra{n}": "x" * 10_000 for n in range(50)}}

    with pytest.raises(InvalidArguments) as caught:
        search.validate(huge)

    lines = str(caught.value).splitlines()
    assert len(lines) == 12
    assert lines[-1] == "- and 42 more problems"
    assert len(str(caught.value)) < 1500
    assert "pydantic" not in str(caught.value)


def test_whatever_a_validator_raises_is_about_the_arguments() -> None:
    class Picky(BaseModel):
        word: str

        @field_validator("word")
        @classmethod
        def look(cls, word: str) -> str:
            raise KeyError(word)

    @tool(description="Picks.")
    def pick(it: Picky) -> None: ...

    with pytest.raises(InvalidArguments, match="KeyError: 'a'"):
        pick.validate({"it": {"word": "a"}})
    with pytest.raises(InvalidArguments, match="surrogates"):
        search.validate({"query": "\ud800"})


def test_parameters_may_have_any_name_and_a_field_as_default_or_alias() -> None:
    @tool(description="Odd names.")
    def odd(
        json: str,
        _private: int,
        model_config: Annotated[int, Field(default=3)],
        from_: Annotated[str, Field(alias="from")] = "here",
        copy: int = Field(5, ge=1, description="Copies"),
        tags: list[str] = ["a"],  # noqa: B006
        *,
        title: str | None = None,
    ) -> None:
        """Do odd things."""

    assert list(odd.parameters["properties"]) == [
        *("json", "_private", "model_config", "from", "copy", "tags", "title"),
    ]
    assert odd.parameters["required"] == ["json", "_private"]
    arguments = odd.validate({"json": "{}", "_private": 1, "from": "there"})
    assert arguments == {
        "json": "{}",
        "_private": 1,
        "model_config": 3,
        "from_": "there",
        "copy": 5,
        "tags": ["a"],
        "title": None,
    }
    arguments["tags"].append("b")
    assert odd.validate({"json": "", "_private": 1})["tags"] == ["a"]


def test_a_tool_without_parameters_takes_an_empty_object() -> None:
    @tool
    def now(ctx: "ToolContext") -> str:
        """Say what time it is."""
        return ctx.run_id

    assert now.parameters == {"type": "object", "properties": {}, "additionalProperties": False}
    assert now.takes_context
    assert now.validate({}) == {}
    with pytest.raises(InvalidArguments, match="known: none"):
        now.validate({"zone": "utc"})


def test_string_annotations_are_read_and_the_result_is_nobodys_concern() -> None:
    @tool
    def late(count: "int", result: "Literal['a'] | None" = None) -> "Unknown":  # type: ignore[name-defined]  # noqa: F821
        """Be late."""

    assert late.parameters["properties"]["count"] == {"type": "integer"}
    assert late.validate({"count": 1, "result": "a"}) == {"count": 1, "result": "a"}


def test_a_context_of_its_own_serves_in_unit_tests() -> None:
    context = ToolContext(run_id="r", tool_call_id="c", tool_name="t")

    context.emit({"any": "thing"})

    assert (context.step, context.attempt, context.context) == (1, 1, None)
    assert context.idempotency_key == "r:c"
    assert not context.aborted


def test_a_context_passes_on_what_is_emitted_and_asks_whether_to_stop() -> None:
    sent: list[Any] = []
    context = ToolContext("r", "c", "t", emit=sent.append, is_aborted=lambda: bool(sent))

    assert not context.aborted
    context.emit(1)
    assert sent == [1]
    assert context.aborted


def no_docstring(x: int) -> None: ...
def empty_description(x: int) -> None:
    """
    Args:
        x: Documented, but not what all this does.
    """


def missing(x) -> None: ...  # type: ignore[no-untyped-def]
def starred(*words: str) -> None: ...
def positional(x: int, /) -> None: ...
def second(x: int, ctx: ToolContext) -> None: ...
def twice(ctx: ToolContext, again: ToolContext) -> None: ...
def keyword(*, ctx: ToolContext) -> None: ...
def optional(ctx: Optional[ToolContext] = None) -> None: ...  # noqa: UP045
def unknown(x: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821
def opaque(x: int, stream: Callable[[], int]) -> None: ...
def unserialisable(x: Any = object()) -> None: ...  # noqa: B008
def generating() -> Iterator[int]:
    yield 1


async def streaming() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (missing, "parameter 'x' has no annotation. Annotate it, as in x: str"),
        (starred, "'words' is variadic positional, but arguments come by name. Remove"),
        (positional, "'x' is positional-only, but"),
        (second, "'ctx': the context comes as the first parameter: ctx: ToolContext."),
        (twice, "'again': the context comes as the first"),
        (keyword, "'ctx': the context comes as the first"),
        (optional, "'ctx': the context comes as the first"),
        (unknown, "'Nowhere' cannot be read (name 'Nowhere' is not defined). Define or import"),
        (opaque, "parameter 'stream: collections.abc.Callable[[], int]' has no JSON schema. Use"),
        (unserialisable, "has no JSON schema"),
        (generating, "a tool cannot yield. Return one result"),
        (streaming, "a tool cannot yield"),
        (lambda x: x, "a tool is a function. Write it with def or async def"),
        (Point, "a tool is a function"),
        (search, "a tool already. Decorate it once"),
    ],
)
def test_a_function_that_cannot_be_a_tool_is_refused(function: Any, expected: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        tool(description="Does it.")(function)

    assert expected in str(caught.value)


@pytest.mark.parametrize("function", [no_docstring, empty_description])
def test_a_tool_that_nothing_describes_is_refused(function: Callable[[int], None]) -> None:
    with pytest.raises(DeclarationError, match="Write a docstring, or @tool"):
        tool(function)


def module_level() -> None:
    """Do nothing."""


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"name": "no spaces"},
            "is not valid. Use @tool(name=…): 1 to 64 ASCII letters, digits, _ and -",
        ),
        ({"name": "line\n"}, "is not valid"),
        ({"description": "  "}, "nothing says what it does"),
        ({"timeout": 0}, "timeout=0. Give seconds above 0, or None"),
        ({"timeout": float("inf")}, "timeout=inf"),
        ({"timeout": True}, "timeout=True"),
        ({"timeout": timedelta(seconds=-1)}, "Give seconds above 0, or None"),
        ({"expiry": float("nan")}, "expiry=nan. Give seconds above 0"),
        ({"expiry": "1h"}, "expiry='1h'. Give seconds above 0"),
        ({"retries": -1}, "retries=-1. Give a whole number from 0 up"),
        ({"retries": True}, "retries=True"),
        ({"on_crash": "hope"}, "on_crash='hope'. Use 'rerun' or 'ask' or 'fail'"),
        ({"requires_approval": "yes"}, "requires_approval='yes'. Use True, False, or a def"),
        ({"expiry": 0}, "expiry=0. Give seconds above 0"),
        ({"on_expiry": "hope"}, "on_expiry='hope'. Use 'decline' or 'fail'"),
        ({"isolate": "yes"}, "isolate='yes'. Use True or False"),
    ],
)
def test_a_wrong_option_is_refused_with_what_to_pass(
    options: dict[str, Any], expected: str
) -> None:
    with pytest.raises(DeclarationError) as caught:
        tool(**options)(module_level)

    assert expected in str(caught.value)
    assert str(caught.value).startswith(f"@tool on {__name__}.module_level: ")


def test_only_a_def_that_can_be_imported_by_name_is_isolated() -> None:
    def nested() -> None:
        """Do nothing."""

    main: dict[str, Any] = {"__name__": "__main__"}
    exec("def run(): 'Do nothing.'", main)

    assert tool(isolate=True)(module_level).policy.isolate
    with pytest.raises(DeclarationError, match="only a def can be isolated"):
        tool(isolate=True)(order.function)
    for function in (nested, main["run"]):
        with pytest.raises(DeclarationError, match="imported by its name"):
            tool(isolate=True)(function)


class Loud(BaseModel):
    at: datetime.datetime
    raw: bytes = b"\xc3\xa9"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ({"a": (1, 2.5, True)}, {"a": [1, 2.5, True]}),
        (Point(1), {"x": 1, "y": 0}),
        (Loud(at=datetime.datetime(2030, 1, 2)), {"at": "2030-01-02T00:00:00", "raw": "é"}),  # noqa: DTZ001
        ({"c": Colour.RED, "d": Decimal("1.10")}, {"c": "red", "d": "1.10"}),
        (b"text", "text"),
        (b"\xff\xfe", "__4="),
        ((n for n in range(2)), [0, 1]),
    ],
)
def test_a_result_becomes_json(value: Any, expected: Any) -> None:
    data = dump_result(value)

    assert data == expected
    assert json.loads(json.dumps(data)) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), "None instead of NaN or infinity"),
        ({"a": [float("-inf")]}, "A value of type dict cannot become JSON: Out of range float"),
        (object(), "A value of type object cannot become JSON"),
        ("\ud800", "surrogates"),
        ({3}, "a set has no order"),
        ({1: "one"}, "the key 1 is no text"),
    ],
)
def test_a_result_that_json_cannot_hold_is_refused(value: Any, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        dump_result(value)
