"""The methods of all simulators as tools of an agent."""

import inspect
from collections.abc import Callable
from typing import Any

from evented_agent import ToolContext, tool
from evented_agent.agents.tools.tool import Tool
from tests.workload.dialogs import Call, methods

#: Does a call in the simulators of its dialog.
Act = Callable[[ToolContext, Call], str]
#: Stands for an argument that the model left out; the simulator's own default applies.
UNSET = None


def all_tools(act: Act) -> list[Tool]:
    """A tool for each method, which does its calls with *act*."""
    return [_tool(name, signature, act) for name, signature in methods().items()]


def _tool(name: str, signature: inspect.Signature, act: Act) -> Tool:
    def run(ctx: ToolContext, **arguments: Any) -> str:
        return act(ctx, Call(name, {k: v for k, v in arguments.items() if v is not UNSET}))

    context = inspect.Parameter(
        "ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=ToolContext
    )
    own = [
        parameter.replace(
            annotation=Any,
            default=parameter.default if parameter.default is parameter.empty else UNSET,
        )
        for parameter in signature.parameters.values()
        if parameter.name != "self"
    ]
    run.__signature__ = inspect.Signature([context, *own])  # type: ignore[attr-defined]
    run.__annotations__ = {"ctx": ToolContext, **{parameter.name: Any for parameter in own}}
    run.__name__ = name
    declare: Callable[[Any], Tool] = tool(name=name, description=f"Call {name}.")
    return declare(run)
