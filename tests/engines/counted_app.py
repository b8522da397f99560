"""Agents whose calls leave marks, so that what was counted can be compared with what was done."""

import os

from evented_agent import Agent, tool
from evented_agent.execution import counts
from evented_agent.models.protocol import ModelRequest
from evented_agent.testing import Say, ScriptedModel, tool_call
from tests.support.agents import failing, flaky, hello, speaker, toolbox
from tests.support.deployment import make_app, mark, serve

# A worker that adds nothing by itself shows what its stop adds.
counts.INTERVAL = float(os.environ.get("TEST_COUNT_INTERVAL", counts.INTERVAL))


@tool
def stamp(number: int) -> int:
    """Leave a mark."""
    mark("tools", str(number))
    return number


def _ask(_: ModelRequest) -> Say:
    mark("models", "first")
    return Say("Stamping.", [tool_call("stamp", number=1), tool_call("stamp", number=2)])


def _end(_: ModelRequest) -> Say:
    mark("models", "second")
    return Say("Done.")


stamper = Agent(id="stamper", model=ScriptedModel([_ask, _end]), tools=[stamp])
retrier = Agent(
    id="retrier", model=ScriptedModel([Say("", [tool_call("flaky")]), "Done."]), tools=[flaky]
)

app = make_app("tests.engines.counted_app")
evented = serve(app, stamper, retrier, speaker, hello, toolbox, failing)
