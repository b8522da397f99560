"""What the processes of pytest-xdist take at a time, and in which order.

A file at a time, since its tests share servers and workers; the conformance suite an engine at a
time, so that each engine is started once.  What takes long comes first.  The many short files,
which compute, are spread among the long ones, which mostly wait; some are left for the end.
"""

import re
from itertools import groupby

import pytest
from xdist.scheduler import LoadFileScheduling

#: The longest files, then folders; all others are short.  Those that start many
#: workers at once are apart from each other: together they would take all of a small machine.
LONG = (
    "tests/durability/test_inbox_every_write.py",
    "tests/docs/",
    "tests/conformance/",
    "tests/durability/test_tree_every_write.py",
    "tests/examples/",
    "tests/durability/test_every_write.py",
    "tests/cli/",
    "tests/workload/",
    "tests/durability/",
    "tests/http/test_servers.py",
    "tests/engines/",
    "tests/mcp/",
    "tests/protocol/",
)
#: The part of the short files that is spread among the long ones.
_SPREAD = 0.9
_ENGINE = re.compile(
    r"^tests/conformance/.*\[(cluster-in-process|in-process|[a-z]+-threads|[a-z]+-prefork|[a-z]+)"
)


def longest_first(items: list[pytest.Item]) -> None:
    """Order tests by how long their files take, with short files among them."""
    items.sort(key=lambda item: _place(item.nodeid))
    files = [list(group) for _, group in groupby(items, key=lambda item: item.path)]
    long = [file for file in files if _place(file[0].nodeid) < len(LONG)]
    spread = [((at + 1) / (len(long) or 1), file) for at, file in enumerate(long)]
    short = files[len(long) :]
    spread += [((at + 1) / len(short) / _SPREAD, file) for at, file in enumerate(short)]
    spread.sort(key=lambda each: each[0])
    items[:] = [item for _, file in spread for item in file]


def _place(nodeid: str) -> int:
    return next((at for at, name in enumerate(LONG) if nodeid.startswith(name)), len(LONG))


class FilesAndEngines(LoadFileScheduling):  # type: ignore[misc]
    """Hands out a file at a time, and all conformance tests of one engine at a time."""

    def _split_scope(self, nodeid: str) -> str:
        engine = _ENGINE.match(nodeid)
        file: str = super()._split_scope(nodeid)
        return f"tests/conformance[{engine[1]}]" if engine else file
