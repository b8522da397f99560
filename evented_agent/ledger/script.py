"""Loads the Lua scripts, and holds one call of a script as a value.  Does no I/O itself.

A script starts with a header.  After a line that says what it does, and any prose, come lines with
fixed words, in this order; those that would be empty are left out, two more spaces continue one::

    -- append: adds chunks of a running attempt.
    -- INCLUDE record chunks
    -- KEYS run
    -- ARGV run_id key token sent closing chunks...
    -- RETURNS ok is_aborting | deleted | fenced | gap | missing

INCLUDE names files of ``lua/shared``, which go in front, after those that they include themselves;
of their functions, those that the script needs, since Redis makes each anew at every call.
Each name in ARGV becomes a local, each in KEYS one in capitals (``run`` and ``statuses`` stand for
the keys of `RunKeys`, ``thread`` for those of `ThreadKeys`).  The last name may end in ``...``:
for ``chunks...`` there is ``CHUNKS_AT``, so that ``ARGV[CHUNKS_AT]`` is the first chunk.  RETURNS
has the possible replies, each with its status first; a reply without a status is described in
parentheses.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from itertools import takewhile
from sys import intern
from typing import Any, Generic, TypeVar

from evented_agent.ledger.keys import STATUSES, ThreadKeys

_T = TypeVar("_T")

#: Names that stand for several keys, in the order of `RunKeys.own`, `RunKeys.all` and
#: `ThreadKeys.all`.
_GROUPS = {
    "run": ("run", "tasks", "journal", "topic", "blobs", "alarms", "bells"),
    "statuses": STATUSES,
    "thread": tuple(field.name for field in fields(ThreadKeys)),
}

#: A function that a shared file defines: on one line, or until an ``end`` at the margin.
_FUNCTION = re.compile(
    r"^local function (\w+)\((?:.* end|.*\n(?:(?!end$).*\n)*end)\n", re.MULTILINE
)
#: Comments and texts; names that are no fields.
_APART = re.compile(r"--.*|'[^'\n]*'")
_NAME = re.compile(r"(?<!\w)(?<![^.]\.)[A-Za-z_]\w*")
_WORDS = re.compile(r"^-- (INCLUDE|KEYS|ARGV|RETURNS) (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Header:
    """What a Lua file says about itself; *rest* is the name that ended in ``...``, or ""."""

    include: tuple[str, ...]
    keys: tuple[str, ...]
    keys_rest: str
    arguments: tuple[str, ...]
    rest: str
    replies: str

    @classmethod
    def of(cls, source: str) -> "Header":
        comment = "\n".join(takewhile(lambda line: line.startswith("--"), source.splitlines()))
        said = dict(_WORDS.findall(comment.replace("\n--   ", " ")))
        keys, keys_rest = _names(said.get("KEYS", ""))
        arguments, rest = _names(said.get("ARGV", ""))
        return cls(
            include=tuple(said.get("INCLUDE", "").split()),
            keys=tuple(key for name in keys for key in _GROUPS.get(name, (name,))),
            keys_rest=keys_rest,
            arguments=arguments,
            rest=rest,
            replies=said.get("RETURNS", ""),
        )

    def locals(self) -> str:
        """Lua that gives each key and argument its name."""
        keys = _locals(tuple(name.upper() for name in self.keys), self.keys_rest, "KEYS")
        return keys + _locals(self.arguments, self.rest, "ARGV")


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script, whole, and the hash by which Redis knows it."""

    name: str
    source: str
    sha: str
    header: Header


@cache
def script(path: str) -> Script:
    """Load ``lua/<path>.lua`` with what it includes."""
    own = _read(path)
    header = Header.of(own)
    shared: dict[str, str] = {}
    for name in header.include:
        _include(name, header, shared)
    source = header.locals() + _used("".join(shared.values()), own) + own
    sha = hashlib.sha1(source.encode()).hexdigest()  # noqa: S324 - Redis's
    return Script(path.partition("/")[2], source, sha, header)


@dataclass(frozen=True, slots=True)
class Command(Generic[_T]):
    """A call of *script* whose reply *parse* turns into a T."""

    script: Script
    keys: Sequence[str]
    args: Sequence[str | bytes | int]
    parse: Callable[[Any], _T]


def command(
    path: str,
    keys: Sequence[str],
    parse: Callable[[Any], _T],
    /,
    *,
    rest: Sequence[str | bytes | int] = (),
    **arguments: str | bytes | int,
) -> Command[_T]:
    """Call the script at *path* with the arguments that its header names, in that order.

    *rest* is what the header's last name stands for, if that ends in ``...``.
    """
    called = script(path)
    header = called.header
    if tuple(arguments) != header.arguments or (rest and not header.rest):
        raise TypeError(
            f"Script {path} takes {_shown(header.arguments, header.rest)}, "
            f"not {_shown(tuple(arguments), 'rest' if rest else '')}."
        )
    return Command(called, keys, (*arguments.values(), *rest), parse)


def _read(path: str) -> str:
    return (files("evented_agent.ledger") / "lua" / f"{path}.lua").read_text(encoding="utf-8")


def _include(name: str, header: Header, shared: dict[str, str]) -> None:
    """Add a shared file to *shared*, after those that it includes itself."""
    if name in shared:
        return
    source = _read(f"shared/{name}")
    needs = Header.of(source)
    for other in needs.include:
        _include(other, header, shared)
    # A shared file with other keys than it expects would write where it must not.
    if (
        header.keys[: len(needs.keys)] != needs.keys
        or header.arguments[: len(needs.arguments)] != needs.arguments
    ):
        raise ValueError(f"What includes {name} must start with the same KEYS and ARGV.")
    shared[name] = source


def _used(shared: str, own: str) -> str:
    """*shared* without the functions that neither the script nor what it needs names."""
    functions = {found[1]: found[0] for found in _FUNCTION.finditer(shared)}
    needed = set[str]()
    named = _named(_FUNCTION.sub("", shared) + own)
    while more := (named & functions.keys()) - needed:
        needed |= more
        named = {name for function in more for name in _named(functions[function])}
    return _FUNCTION.sub(lambda found: found[0] if found[1] in needed else "", shared)


def _named(source: str) -> set[str]:
    return set(_NAME.findall(_APART.sub("", source)))


def _names(words: str) -> tuple[tuple[str, ...], str]:
    """The names in *words*, without the last if it stands for all that is left, and that."""
    names = [intern(word) for word in words.split()]
    rest = names.pop().removesuffix("...") if words.endswith("...") else ""
    return tuple(names), rest


def _locals(names: tuple[str, ...], rest: str, table: str) -> str:
    lines = ""
    if names:
        values = ", ".join(f"{table}[{number + 1}]" for number in range(len(names)))
        lines = f"local {', '.join(names)} = {values}\n"
    if rest:
        lines += f"local {rest.upper()}_AT = {len(names) + 1}\n"
    return lines


def _shown(names: tuple[str, ...], rest: str) -> str:
    return " ".join((*names, *([f"{rest}..."] if rest else []))) or "nothing"
