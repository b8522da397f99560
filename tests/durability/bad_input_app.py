"""Tools and models that give what no program expects."""

import asyncio
from typing import Any

from evented_agent import Agent, tool
from evented_agent.testing import ScriptedModel
from tests.support.agents import SHARED, add, each_tool, large, tell
from tests.support.deployment import make_app, serve


class Unprintable(Exception):
    """An exception that cannot even be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def _endless() -> list[Any]:
    endless: list[Any] = []
    endless.append(endless)
    return endless


RAISED = {
    "unprintable": Unprintable,
    "system-exit": SystemExit,
    "interrupt": KeyboardInterrupt,
    "cancelled": asyncio.CancelledError,
}


RETURNED = {
    "not-json": object(),
    "recursive": _endless(),
    "nan": float("nan"),
    "surrogate": "\ud800",
}


def _misbehave(how: str) -> Any:
    if how in RAISED:
        raise RAISED[how]
    return RETURNED[how]


@tool
def misbehave(how: str) -> Any:
    """Do what no tool should, in a thread."""
    return _misbehave(how)


@tool
async def amisbehave(how: str) -> Any:
    """Do what no tool should, on the event loop."""
    return _misbehave(how)


AGENTS = (
    Agent(id="surrogates", model=ScriptedModel(["before \ud800 after"])),
    Agent(id="nul", model=ScriptedModel(["before \x00 after"])),
    Agent(
        id="misbehaving",
        model=ScriptedModel([each_tool, tell]),
        tools=[add, large, misbehave, amisbehave],
    ),
)
app = make_app("tests.durability.bad_input_app")
evented = serve(app, *SHARED, *AGENTS)
