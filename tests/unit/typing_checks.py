"""What type checkers know of the public API: read by mypy, not run."""

from dataclasses import dataclass
from typing import Any, TypedDict, assert_type

from evented_agent import (
    Agent,
    AnyChunk,
    RunResult,
    Tool,
    ToolContext,
    Usage,
    create_durable_agent,
    create_evented_agent,
    tool,
)
from evented_agent.chunks import Other, TextDelta, ToolCallRequested, ToolResult


@dataclass
class Shop:
    name: str


class Invoice(TypedDict):
    total: float


def a_comparison_of_its_type_tells_the_class_of_a_chunk(chunk: AnyChunk) -> None:
    if chunk.type == "text-delta":
        assert_type(chunk, TextDelta)
        assert_type(chunk.payload.text, str)
    elif chunk.type == "tool-call":
        assert_type(chunk, ToolCallRequested)
        assert_type(chunk.payload.arguments, dict[str, Any])
    elif chunk.type == "finish":
        assert_type(chunk.payload.output.usage, Usage)
    match chunk:
        case ToolResult(payload=done):
            assert_type(done.tool_name, str)
        case Other():
            assert_type(chunk.payload, dict[str, Any])


def a_result_has_the_output_of_its_type(typed: RunResult[Invoice], plain: RunResult) -> None:
    assert_type(typed.output["total"], float)
    assert_type(plain.output, Any)


def a_context_has_the_value_of_its_type(typed: ToolContext[Shop], plain: ToolContext) -> None:
    assert_type(typed.context.name, str)
    assert_type(plain.context, Any)


def an_agent_is_known_by_its_instructions_and_its_output_type() -> None:
    def told(shop: Shop) -> str:
        return f"You work for {shop.name}."

    assert_type(Agent(id="a", model="openai/x"), Agent[Any, Any])
    assert_type(Agent(id="a", model="openai/x", output_type=Invoice), Agent[Any, Invoice])
    assert_type(
        Agent(id="a", model="openai/x", instructions=told, output_type=Invoice),
        Agent[Shop, Invoice],
    )


def a_run_has_the_output_of_its_agent() -> None:
    typed = Agent(id="a", model="openai/x", output_type=Invoice)

    assert_type(create_durable_agent(typed).generate("Read this."), RunResult[Invoice])
    assert_type(create_evented_agent(typed).stream("Read this.").result().output, Invoice)
    for chunk in create_durable_agent(typed).stream("Read this."):
        if chunk.type == "tool-error":
            assert_type(chunk.payload.error.name, str)


def a_tool_is_called_like_its_function() -> None:
    @tool
    def look(query: str) -> int:
        return len(query)

    @tool(timeout=3, requires_approval=True)
    def buy(query: str) -> int:
        return len(query)

    assert_type(look("tea"), int)
    assert_type(buy("tea"), int)
    any_tools: list[Tool] = [look, buy]
    assert_type(any_tools[0](1, anything=2), Any)
