"""Agents that are sent messages, and that note what each request to their model had in it."""

import asyncio
import json
import uuid

from evented_agent import Agent, RunEvent, tool
from evented_agent.errors import ModelError
from evented_agent.models.messages import SystemMessage, ToolMessage, UserMessage
from evented_agent.models.protocol import ModelRequest
from evented_agent.testing import Say, ScriptedModel, tool_call
from tests.durability.outcomes import thread_of
from tests.support.agents import SHARED, erase
from tests.support.deployment import MARKS, make_app, mark, serve

#: Words that a slow answer has beside what it repeats.
SLOW = "and so on " * 12


@tool
async def hold(topic: str) -> str:
    """Work on something until a test lets it go on."""
    mark(f"held-{topic}", "begun")
    await _opened(topic)
    return f"worked on {topic}"


async def _opened(topic: str) -> None:
    while not (MARKS / f"open-{topic}").exists():
        await asyncio.sleep(0.02)


def answer(request: ModelRequest) -> Say:
    """Say under a name of its own what users have said; call the tools that the last one names."""
    name = uuid.uuid4().hex[:12]
    said = [str(each.content) for each in request.messages if isinstance(each, UserMessage)]
    mark("requests", json.dumps([name, said]))
    last = request.messages[-1]
    word, _, about = said[-1].partition(" ")
    if word == "fail" and not (MARKS / f"mended-{about}").exists():
        raise ModelError("out of credit")
    text = f"[{name}] {SLOW if 'slow' in said[-1] else 'yes'}"
    if isinstance(last, ToolMessage | SystemMessage):
        return Say(f"[{name}] {SLOW}")
    if word == "erase":
        return Say(text, [tool_call("erase", name=about)])
    if word == "hold":
        return Say(text, [tool_call("hold", topic=about)])
    return Say(text)


def _note(event: RunEvent) -> None:
    if event.kind == "start" and event.thread_id != thread_of(event.run_id):
        # The run that follows a failed one does not fail.
        mark(f"mended-{(event.thread_id or '').removeprefix(thread_of(''))}", event.run_id)
    mark("told", json.dumps([event.run_id, event.key, event.kind, event.text]))


async def _finish_slowly(event: RunEvent) -> None:
    _note(event)
    if event.thread_id and event.thread_id.startswith("shut "):
        mark(f"held-{event.thread_id}", event.run_id)
        await _opened(event.thread_id)


_model = ScriptedModel([answer], pause=0.02)
AGENTS = (
    Agent(id="letters", model=_model, tools=[erase, hold]),
    Agent(
        id="told",
        model=_model,
        tools=[erase, hold],
        on_start=_note,
        on_step=_note,
        on_suspended=_note,
        on_finish=_finish_slowly,
        on_error=_note,
    ),
)
app = make_app("tests.durability.inbox_app")
evented = serve(app, *SHARED, *AGENTS)
