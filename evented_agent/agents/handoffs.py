"""Handing a run over: the agents that another may let go on, as the tools that its model sees."""

import re
from dataclasses import dataclass
from typing import Any

from evented_agent.models.protocol import ToolSpec

#: What the argument of such a call is for.
_REASON = {"type": "string", "description": "Why, in a few words, for the agent that goes on."}


@dataclass(frozen=True, slots=True)
class HandoffTarget:
    """An agent that may go on with a run.

    Attributes:
        agent_id: The agent's id.
        description: What the model is told about it.
        agent: The agent, where it was given itself; None where only its id was.
    """

    agent_id: str
    description: str = ""
    agent: Any = None

    @property
    def tool_name(self) -> str:
        """What the model calls to hand over."""
        return f"transfer_to_{re.sub('[^A-Za-z0-9_-]', '_', self.agent_id)}"[:64]

    @property
    def spec(self) -> ToolSpec:
        """The call as the model sees it."""
        about = f" {self.description}" if self.description else ""
        return ToolSpec(
            self.tool_name,
            f"Let the agent {self.agent_id} go on with this conversation.{about}",
            {"type": "object", "properties": {"reason": _REASON}},
        )
