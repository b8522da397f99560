"""Agents of a model server on this machine, whose prices are those of the tests."""

import os

from evented_agent import Agent, tool
from evented_agent.models import OpenAIChat
from tests.support.deployment import make_app, serve
from tests.unit.models.prices import use_prices_of_tests

use_prices_of_tests()
URL = os.environ.get("TEST_MODEL_URL", "http://127.0.0.1:9/v1")


@tool
def look(at: str = "") -> str:
    """Look at something."""
    return f"saw {at}"


buyer = Agent(
    id="buyer",
    model=[OpenAIChat("refused", base_url=URL), OpenAIChat("priced", base_url=URL)],
    tools=[look],
)

app = make_app("tests.engines.priced_app")
evented = serve(app, buyer)
