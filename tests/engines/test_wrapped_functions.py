"""Plain functions that wrap `async` ones, wherever an agent takes a function; images as results."""

import functools
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from evented_agent import Agent, Settings, create_durable_agent, tool
from evented_agent.agents.callbacks import NextStep, StepChoice, StepInfo
from evented_agent.models import ImagePart, ModelRequest, ToolMessage
from evented_agent.testing import ScriptedModel, tool_call
from tests.support.servers import RedisServer

PNG = b"\x89PNG\r\n\x1a\n"


def traced(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap as tracing decorators do, which know nothing of `async`."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


@tool
@traced
async def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@tool(isolate=True)
@traced
async def add_apart(a: int, b: int) -> int:
    """Add."""
    return a + b


@tool
@traced
async def leave() -> None:
    """Raise what ends more than a call."""
    raise SystemExit(3)


@tool
def paint() -> list[Any]:
    """Paint."""
    return ["Here:", PNG, ImagePart(url="https://x/2.png")]


@traced
async def never(_: StepInfo) -> bool:
    return False


@traced
async def choose(_: NextStep) -> StepChoice:
    return StepChoice(instructions="Chosen.")


def told(request: ModelRequest) -> str:
    results = [each.result for each in request.messages if isinstance(each, ToolMessage)]
    return f"{request.instructions} {results}"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (tool_call("add", a=1, b=2), "Chosen. [3]"),
        (tool_call("add_apart", a=1, b=2), "Chosen. [3]"),
        (tool_call("leave"), "Chosen. ['ToolExit: SystemExit: 3']"),
        (
            tool_call("paint"),
            "Chosen. [['Here:', {'type': 'image', 'url': 'data:image/png;base64,iVBORw0KGgo='}, "
            "{'type': 'image', 'url': 'https://x/2.png', 'detail': None}]]",
        ),
    ],
)
def test_what_a_function_gives_is_asked_and_not_the_function(
    call: Any, said: str, redis_server: RedisServer
) -> None:
    agent = Agent(
        id="wrapped",
        model=ScriptedModel([[call], told]),
        tools=[add, add_apart, leave, paint],
        stop_when=never,
        prepare_step=choose,
    )
    settings = Settings(prefix=f"f{uuid.uuid4().hex[:8]}")
    made = create_durable_agent(agent, redis_url=redis_server.url, settings=settings)
    assert made.stream("Go.").result(timeout=30).text == said
    made.close()
