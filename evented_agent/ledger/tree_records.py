"""What the scripts read and write of child runs, as types.  Does no I/O."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class AnsweredCall:
    """The call of its parent that a child run answers; *background* as in `Task`."""

    key: str
    call: str
    tool: str
    step: int
    background: str | None


@dataclass(frozen=True, slots=True)
class NewChild:
    """A child run to begin: its agent, how many of its calls go on at a time, and its messages.

    *trace* is the span that it belongs to, as that of a `Claim`; empty where nobody traces.
    """

    agent: str
    tool_limit: int
    messages: str
    trace: str = ""


@dataclass(frozen=True, slots=True)
class TreeFull:
    """No child was made: the tree has too many runs, or too deep ones, as *limit* says."""

    limit: Literal["depth", "children", "live"]
