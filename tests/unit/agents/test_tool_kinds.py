"""What else may be a tool, and in which styles a docstring says what its parameters are."""

import functools
import typing
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from evented_agent import DeclarationError, ToolContext, tool
from evented_agent.agents.output_types import OutputType


class Shop:
    """Sell things.

    Args:
        item: What to sell.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def sell(self, ctx: ToolContext, item: str, count: int = 1) -> str:
        """Sell.

        :param item: What to sell.
        :param count: How many.
        """
        return f"{self.name}: {count} {item}"

    async def buy(self, item: str) -> str:
        """Buy."""
        return f"{self.name} buys {item}"

    def __call__(self, item: str) -> str:
        return f"{self.name}: {item}"


def move(place: str, speed: int, unit: Literal["km", "m"] = "km") -> str:
    """Move.

    Far away, if wished.

    Parameters
    ----------
    place : str
        Where to,
        and where it is.
    unit : {"km", "m"}, optional
        Of the speed.

    Returns
    -------
    str
        What was done.
    """
    return f"{place} at {speed} {unit}"


def properties(made: Any) -> dict[str, str | None]:
    found = made.parameters["properties"].items()
    return {name: schema.get("description") for name, schema in found}


def test_a_method_of_an_object_is_a_tool() -> None:
    made = tool(Shop("here").sell)
    assert (made.name, made.description, made.is_async, made.takes_context) == (
        "sell",
        "Sell.",
        False,
        True,
    )
    assert properties(made) == {"item": "What to sell.", "count": "How many."}
    context = ToolContext(run_id="r", tool_call_id="c", tool_name="sell")
    assert made.function(context, **made.validate({"item": "tea"})) == "here: 1 tea"
    assert tool(Shop("here").buy).is_async


def test_a_partial_is_a_tool_of_what_is_left() -> None:
    made = tool(functools.partial(move, speed=5))
    assert (made.name, made.description) == ("move", "Move.\n\nFar away, if wished.")
    assert properties(made) == {"place": "Where to, and where it is.", "unit": "Of the speed."}
    assert made.function(**made.validate({"place": "Rome"})) == "Rome at 5 km"


def test_an_object_that_can_be_called_is_a_tool() -> None:
    made = tool(Shop("here"))
    assert (made.name, made.description) == ("Shop", "Sell things.")
    assert properties(made) == {"item": "What to sell."}
    assert made.function(**made.validate({"item": "tea"})) == "here: tea"


@pytest.mark.parametrize("declared", [Shop, 3, "text", print, lambda x: x])
def test_what_is_no_function_is_no_tool(declared: Any) -> None:
    with pytest.raises(DeclarationError):
        tool(declared)


def test_only_a_plain_function_can_be_isolated() -> None:
    with pytest.raises(DeclarationError, match="only a def can be isolated"):
        tool(isolate=True)(Shop("here").sell)


class City(typing.TypedDict):
    """A city."""

    name: str
    size: typing.NotRequired[Annotated[int, Field(ge=1)]]


class Route(typing.TypedDict, total=False):
    stops: typing.Required[list[City]]
    last: City | None
    seen: dict[str, City]


def test_typed_dicts_of_typing_are_read_wherever_they_stand() -> None:
    def plan(route: Route, more: list[City] | None = None) -> str:
        """Plan."""
        return str(route)

    made = tool(plan)
    assert made.validate({"route": {"stops": [{"name": "Rome"}]}}) == {
        "route": {"stops": [{"name": "Rome"}]},
        "more": None,
    }
    with pytest.raises(ValueError, match=r"route\.stops\.0\.size"):
        made.validate({"route": {"stops": [{"name": "Rome", "size": 0}]}})


def test_a_typed_dict_of_typing_is_an_output_type() -> None:
    wanted = OutputType(City)
    assert wanted.name == "City"
    assert wanted.parse('{"name": "Rome"}') == {"name": "Rome"}
    assert wanted.schema["required"] == ["name"]
