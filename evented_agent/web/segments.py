"""Ids as segments of paths: browsers take ``.`` and ``..`` for steps, however they are encoded."""

import re
from urllib.parse import quote, unquote

_STEP, _MARKED = re.compile(r"~*\.\.?"), re.compile(r"~+\.\.?")


def segment_of(id_: str) -> str:
    """*id_* as a segment that no browser changes: one that looks like a step begins with a ``~``.

    So do ids that would then look like another's.
    """
    return quote(f"~{id_}" if _STEP.fullmatch(id_) else id_, safe="")


def id_in(segment: str) -> str:
    """The id that `segment_of` has made *segment* from."""
    found = unquote(segment)
    return found[1:] if _MARKED.fullmatch(found) else found
