"""One script call as a value: what to send and how to read the reply.  Does no I/O itself."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Generic, TypeVar

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script and the hash by which Redis knows it."""

    name: str
    source: str
    sha: str


#: Folders and scripts about one run: they get the shared part in front.
_OF_A_RUN = ("attempt/", "run/", "watch/reconcile", "watch/wake")


@cache
def script(path: str) -> Script:
    """Load ``lua/<path>.lua``."""
    lua = files("evented_agent.ledger") / "lua"
    source = (lua / f"{path}.lua").read_text(encoding="utf-8")
    if path.startswith(_OF_A_RUN):
        source = (lua / "shared" / "lib.lua").read_text(encoding="utf-8") + source
    name = path.partition("/")[2]
    return Script(name, source, hashlib.sha1(source.encode()).hexdigest())  # noqa: S324 - Redis's


@dataclass(frozen=True, slots=True)
class Command(Generic[_T]):
    """A call of *script* whose reply *parse* turns into a T."""

    script: Script
    keys: Sequence[str]
    args: Sequence[str | bytes | int]
    parse: Callable[[Any], _T]
