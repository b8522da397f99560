"""Read the files in order: each test says one thing, with what a user imports and nothing else."""

from collections.abc import Callable

from evented_agent import Agent, DurableAgent
from evented_agent.models import ModelRequest
from evented_agent.testing.fixtures import embedded_redis_url, serve

__all__ = ["Serve", "embedded_redis_url", "repeat", "serve"]

Serve = Callable[[Agent], DurableAgent]


def repeat(request: ModelRequest) -> str:
    """What a scripted model may answer: the result that it was told last."""
    return str(getattr(request.messages[-1], "result", ""))
