"""One script call as a value: what to send and how to read the reply.  Does no I/O itself."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script and the hash by which Redis knows it."""

    name: str
    source: str
    sha: str


#: Scripts that are not about one run: of the fleet, of threads, and of limits over all runs.
FLEET_SCRIPTS = {"announce", "deployment", "forget", "list", "tick", "trim", "workers"}
THREAD_SCRIPTS = {"drop", "enter", "leave_thread", "recall", "remember"}
SLOT_SCRIPTS = {"give_slot", "slots", "take_slot"}


@cache
def script(name: str) -> Script:
    """Load ``lua/<name>.lua``; scripts about a run get the shared part in front."""
    folder = files("evented_agent.ledger") / "lua"
    source = (folder / f"{name}.lua").read_text(encoding="utf-8")
    if name not in FLEET_SCRIPTS | THREAD_SCRIPTS | SLOT_SCRIPTS:
        source = (folder / "lib.lua").read_text(encoding="utf-8") + source
    return Script(name, source, hashlib.sha1(source.encode()).hexdigest())  # noqa: S324 - Redis's


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A call of *script* whose reply *parse* turns into a T."""

    script: Script
    keys: Sequence[str]
    args: Sequence[str | bytes | int]
    parse: Callable[[Any], T]
