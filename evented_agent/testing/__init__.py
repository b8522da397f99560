"""For tests: models that follow a script, a guard against real ones, agents diverted to a server.

Example:
    >>> model = ScriptedModel([[tool_call("search", query="tea")], "Tea is a plant."])
    >>> with researcher.override(model=model):
    ...     result = durable.generate("What is tea?")
"""

from evented_agent.testing.divert import divert_agents
from evented_agent.testing.scripted import Say, ScriptedModel, block_real_models, tool_call

__all__ = ["Say", "ScriptedModel", "block_real_models", "divert_agents", "tool_call"]
