"""For tests of agents: models that follow a script, and a guard against real ones.

Example:
    >>> model = ScriptedModel([[tool_call("search", query="tea")], "Tea is a plant."])
    >>> with researcher.override(model=model):
    ...     result = durable.generate("What is tea?")
"""

from evented_agent.testing.scripted import Say, ScriptedModel, block_real_models, tool_call

__all__ = ["Say", "ScriptedModel", "block_real_models", "tool_call"]
