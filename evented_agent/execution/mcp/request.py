"""One call of an MCP server's tool, as a value.  Imports no SDK."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ToolRequest:
    """One call: the server's name of the tool, what a run kept of it, and what the model gave.

    Attributes:
        tool: What the server calls the tool.
        digest: Of the tool as the run knows it.
        arguments: What the model gave.
        key: The call's idempotency key, which the server is told as metadata.
        answers: What people answered the server's questions, in the protocol's form.
        state: What the server wanted back with them.
    """

    tool: str
    digest: str
    arguments: Mapping[str, Any]
    key: str
    answers: Mapping[str, Any] | None = None
    state: str | None = None
