"""An agent that never says the same twice."""

import os

from evented_agent import Agent
from evented_agent.models.protocol import ModelRequest
from evented_agent.testing import ScriptedModel
from tests.support.agents import SHARED
from tests.support.deployment import make_app, serve


def _unique(_: ModelRequest) -> str:
    nonce = os.urandom(4).hex()
    return "".join(f"{nonce}.{n} " for n in range(60))


unique = Agent(id="unique", model=ScriptedModel([_unique], pause=0.05))
app = make_app("tests.durability.redis_faults_app")
evented = serve(app, *SHARED, unique)
