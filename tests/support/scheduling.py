"""What the processes of pytest-xdist take at a time, and in which order.

A file at a time, since its tests share servers and workers; the conformance suite an engine at a
time, so that each engine is started once.  What takes long comes first.  The rest is what mostly
waits, for leases to run out, and what mostly computes: these take turns, so that a small machine is
neither idle nor overloaded for minutes.
"""

import re
from collections import Counter

import pytest
from xdist.scheduler import LoadFileScheduling

#: The longest files, then folders.  Those that start many workers at once are apart from each
#: other: together they would take all of a small machine.
LONG = (
    "tests/durability/test_inbox_every_write.py",
    "tests/docs/",
    "tests/conformance/",
    "tests/durability/test_tree_every_write.py",
    "tests/examples/",
    "tests/durability/test_every_write.py",
    "tests/workload/",
)
#: What mostly waits, of all others.
WAITING = ("tests/durability/", "tests/engines/", "tests/cli/", "tests/mcp/", "tests/http/")
_ENGINE = re.compile(
    r"^tests/conformance/.*\[(cluster-in-process|in-process|[a-z]+-threads|[a-z]+-prefork|[a-z]+)"
)


def in_turns(items: list[pytest.Item]) -> None:
    """Order tests: the long ones, then files that wait and files that compute, evenly mixed."""
    files = dict.fromkeys(_file(item) for item in items)
    rest = [file for file in files if not file.startswith(LONG)]
    of_kind = Counter(file.startswith(WAITING) for file in rest)
    seen = Counter[bool]()
    places = dict[str, tuple[int, float]]()
    for file in rest:
        waits = file.startswith(WAITING)
        places[file] = (len(LONG), (seen[waits] + 0.5) / of_kind[waits])
        seen[waits] += 1
    for file in files.keys() - places.keys():
        places[file] = (next(at for at, name in enumerate(LONG) if file.startswith(name)), 0)
    items.sort(key=lambda item: places[_file(item)])


def _file(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


class FilesAndEngines(LoadFileScheduling):  # type: ignore[misc]
    """Hands out a file at a time, and all conformance tests of one engine at a time."""

    def _split_scope(self, nodeid: str) -> str:
        engine = _ENGINE.match(nodeid)
        file: str = super()._split_scope(nodeid)
        return f"tests/conformance[{engine[1]}]" if engine else file
