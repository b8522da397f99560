"""Which span a run belongs to, as its record keeps it: W3C Trace Context.  Does no I/O.

What is stored is ``traceparent``, and behind a space ``tracestate`` where there is one. Baggage is
not stored: what others put into it may be anything.
"""

import re
from dataclasses import dataclass

#: As the specification asks of whoever passes ``tracestate`` on.
MOST_STATE, MOST_MEMBERS, LONG_MEMBER = 512, 32, 128

_PARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_KEY = r"[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13}"
_MEMBER = re.compile(
    rf"(?:{_KEY})=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{{0,255}}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_MOST_STORED = 55 + 1 + MOST_STATE


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A span that spans of other processes are children of."""

    trace_id: int
    span_id: int
    flags: int
    state: str = ""

    def stored(self) -> str:
        """What a run's record keeps of it."""
        parent = f"00-{self.trace_id:032x}-{self.span_id:016x}-{self.flags:02x}"
        state = bounded_state(self.state)
        return f"{parent} {state}" if state else parent


def parse_stored(stored: str) -> TraceContext | None:
    """Read what a record keeps; None for what no such span can be.

    Whoever may write to Redis may have written it: a tracestate that is malformed or too long is
    left out, as the specification asks.
    """
    if len(stored) > _MOST_STORED:
        return None
    parent, _, state = stored.partition(" ")
    found = _PARENT.fullmatch(parent)
    if found is None:
        return None
    trace_id, span_id, flags = (int(digits, 16) for digits in found.groups())
    if not trace_id or not span_id:
        return None
    # Of the flags two have a meaning: sampled, and that the id is random.
    return TraceContext(trace_id, span_id, flags & 3, state if _is_state(state) else "")


def bounded_state(state: str) -> str:
    """*state* as far as it is well-formed and fits; long members go first, then the last ones."""
    members = [member.strip() for member in state.split(",") if member.strip()]
    if not _is_state(",".join(members), any_length=True):
        return ""
    members = members[:MOST_MEMBERS]
    if _length(members) > MOST_STATE:
        members = [member for member in members if len(member) <= LONG_MEMBER]
    while _length(members) > MOST_STATE:
        members.pop()
    return ",".join(members)


def _length(members: list[str]) -> int:
    return len(",".join(members))


def _is_state(state: str, *, any_length: bool = False) -> bool:
    members = state.split(",")
    fits = any_length or (len(state) <= MOST_STATE and len(members) <= MOST_MEMBERS)
    keys = {member.partition("=")[0] for member in members}
    return fits and len(keys) == len(members) and all(map(_MEMBER.fullmatch, members))
