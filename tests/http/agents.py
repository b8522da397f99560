"""What the tests of the HTTP API run: agents that do what they are told."""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from threading import Event
from typing import Any

from evented_agent import Agent, Background, ToolContext, tool
from evented_agent.models import ModelRequest
from evented_agent.models.messages import ToolMessage, UserMessage
from evented_agent.models.protocol import AnswerEnded, ModelEvent, TextPiece
from evented_agent.testing import ScriptedModel, tool_call

#: What `hold` waits for, by name.
GATES: dict[str, Event] = defaultdict(Event)


@tool
async def hold(name: str) -> str:
    """Wait until the gate of that name is open."""
    while not GATES[name].is_set():
        # Between two looks; the run is aborted after the test at the latest.
        await asyncio.sleep(0.005)
    return f"{name} is open"


@tool(requires_approval=True)
def erase(name: str) -> str:
    """Erase something, once somebody has agreed."""
    return f"erased {name}"


@tool
def ask(ctx: ToolContext, question: str) -> str:
    """Ask a person."""
    if ctx.resume_data is None:
        ctx.suspend({"question": question})
    return f"They say {ctx.resume_data}."


@tool(background=Background())
async def report(ctx: ToolContext, name: str) -> str:
    """Write a report, in the background."""
    while not GATES[name].is_set():
        # Between two looks; the run is aborted after the test at the latest.
        await asyncio.sleep(0.005)
    return f"report {name}"


def _do(request: ModelRequest) -> Any:
    """``say …``, ``fail``, or calls of tools, one a line, with their JSON arguments."""
    asked = str(request.messages[-1].content)  # type: ignore[union-attr]
    if asked.startswith("say "):
        return asked.removeprefix("say ")
    if asked == "fail":
        raise RuntimeError("no such luck")
    calls = [line.partition(" ") for line in asked.splitlines()]
    return [tool_call(name, **json.loads(arguments or "{}")) for name, _, arguments in calls]


def _answer(request: ModelRequest) -> Any:
    """Do what a user asks for; else tell what the tools said last."""
    return _do(request) if isinstance(request.messages[-1], UserMessage) else _tell(request)


def _tell(request: ModelRequest) -> str:
    results = [each for each in request.messages if isinstance(each, ToolMessage)]
    return str(results[-1].result)


class Speaker:
    """A model that says `speak …` up to a full stop, and the rest once that gate is open."""

    name = "scripted/speaker"

    def __init__(self) -> None:
        self._others = ScriptedModel([_answer])

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        asked = str(getattr(request.messages[-1], "content", ""))
        if not asked.startswith("speak "):
            async for event in self._others.stream(request):
                yield event
            return
        name = asked.removeprefix("speak ")
        yield TextPiece(f"{name} ")
        while not GATES[name].is_set():
            # Between two looks; the run is aborted after the test at the latest.
            await asyncio.sleep(0.005)
        yield TextPiece("is said.")
        yield AnswerEnded("stop")


helper = Agent(
    id="helper",
    description="Does what it is told.",
    model=Speaker(),
    tools=[hold, erase, ask, report],
)
talker = Agent(id="talker", model=Speaker(), tools=[hold, erase, ask, report, helper.as_tool()])
other = Agent(id="other", model=ScriptedModel(["I am another."]))
