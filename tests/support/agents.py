"""The agents that several test files use, and the pieces that other agents of tests are made of."""

import asyncio
import json
import time

from evented_agent import Agent, ToolContext, tool
from evented_agent.errors import ModelError
from evented_agent.models.messages import ToolCall, ToolMessage
from evented_agent.models.protocol import ModelRequest
from evented_agent.testing import Say, ScriptedModel, tool_call
from tests.support.deployment import mark
from tests.support.words import TEXT


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
async def wait(ctx: ToolContext, seconds: float) -> str:
    """Wait, and leave a mark at the start and at the end."""
    mark("wait", f"start {ctx.idempotency_key} {ctx.attempt}")
    await asyncio.sleep(seconds)
    mark("wait", f"end {ctx.idempotency_key} {ctx.attempt}")
    return f"waited in attempt {ctx.attempt}"


@tool
def block(ctx: ToolContext, seconds: float) -> str:
    """Wait in the thread, and leave marks."""
    mark("block", f"start {ctx.idempotency_key} {ctx.attempt}")
    # The tool is what takes its time; its tests wait for the marks.
    time.sleep(seconds)
    mark("block", f"end {ctx.idempotency_key} {ctx.attempt}")
    return f"blocked in attempt {ctx.attempt}"


@tool(on_crash="fail")
async def pay(ctx: ToolContext, seconds: float) -> str:
    """Must not be repeated after a crash."""
    mark("pay", ctx.idempotency_key)
    await asyncio.sleep(seconds)
    return "paid"


@tool(requires_approval=True)
def erase(ctx: ToolContext, name: str) -> str:
    """Erase something, once somebody has agreed."""
    mark("erase", f"{name} {ctx.idempotency_key} {ctx.attempt}")
    return f"erased {name}"


@tool
def ask(ctx: ToolContext, question: str) -> str:
    """Ask a person."""
    if ctx.resume_data is None:
        ctx.suspend({"question": question})
    mark("ask", f"{ctx.resume_data} {ctx.attempt}")
    return f"They say {ctx.resume_data}."


@tool(retries=2)
def flaky(ctx: ToolContext) -> str:
    """Fails at its first try."""
    mark("flaky", str(ctx.attempt))
    if ctx.attempt < 2:
        raise OSError("the line is busy")
    return f"worked in attempt {ctx.attempt}"


@tool(timeout=0.3)
def sleepy() -> str:
    """Takes longer than its timeout."""
    # Longer than its timeout: that is what is tested.
    time.sleep(2)
    return "late"


@tool
async def progress(ctx: ToolContext) -> str:
    """Tell how far it is."""
    for percent in (0, 50, 100):
        ctx.emit({"percent": percent})
    return "done"


@tool
def large(size: int) -> str:
    """Return a text of that many bytes."""
    return "x" * size


@tool
def broken() -> str:
    """Raise."""
    raise RuntimeError("no such luck")


def results_of(request: ModelRequest) -> list[ToolMessage]:
    return [message for message in request.messages if isinstance(message, ToolMessage)]


def _sums(request: ModelRequest) -> str:
    return f"The sums are {[message.result for message in results_of(request)]}."


def each_tool(request: ModelRequest) -> list[ToolCall]:
    """Call the tools that the user's message names, one a line, with their JSON arguments."""
    asked = str(request.messages[-1].content).splitlines()  # type: ignore[union-attr]
    calls = [line.partition(" ") for line in asked]
    return [tool_call(name, **json.loads(arguments or "{}")) for name, _, arguments in calls]


def tell(request: ModelRequest) -> str:
    last = results_of(request)[-1]
    return f"{'error ' if last.is_error else ''}{str(last.result)[:200]}"


def tell_all(request: ModelRequest) -> str:
    """What each call came to, a line for each."""
    return "\n".join(" ".join(str(each.result).split())[:200] for each in results_of(request))


calculator = Agent(
    id="calculator",
    model=ScriptedModel(
        [
            Say("Let me add.", [tool_call("add", a=1, b=2), tool_call("add", a=3, b=4)]),
            _sums,
        ]
    ),
    tools=[add],
)
speaker = Agent(id="speaker", model=ScriptedModel([TEXT], pause=0.05))
hello = Agent(id="hello", model=ScriptedModel(["Hello, world."]))
toolbox = Agent(
    id="toolbox",
    model=ScriptedModel([each_tool, tell]),
    tools=[add, wait, block, pay, erase, ask, flaky, sleepy, progress, large, broken],
)
fallback = Agent(
    id="fallback",
    model=[
        ScriptedModel([ModelError("the first model is away")], name="scripted/first"),
        ScriptedModel(["The second model answers."], name="scripted/second"),
    ],
)
failing = Agent(id="failing", model=ScriptedModel([ModelError("out of credit")]))

SHARED = (calculator, speaker, hello, toolbox, fallback, failing)
