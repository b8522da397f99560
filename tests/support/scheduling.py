"""What the processes of pytest-xdist take at a time, and in which order.

A file at a time, since its tests share servers and workers; the conformance suite an engine at a
time, so that each engine is started once.  What takes long comes first, in two lists that are
taken from alternately: files that mostly wait, and files that mostly compute.
"""

import re
from itertools import groupby

import pytest
from xdist.scheduler import LoadFileScheduling

#: The longest files, then folders; all others are short.
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
#: Files that wait, for leases, for processes to start and to end.
_WAITS = re.compile(r"tests/(durability|engines|mcp)/|tests/http/test_(servers|openai_workers)\.py")
_ENGINE = re.compile(
    r"^tests/conformance/.*\[(cluster-in-process|in-process|[a-z]+-threads|[a-z]+-prefork|[a-z]+)"
)


def longest_first(items: list[pytest.Item]) -> None:
    """Order tests by how long their files take, those that wait among those that compute."""
    items.sort(key=lambda item: _place(item.nodeid))
    files = [list(group) for _, group in groupby(items, key=lambda item: item.path)]
    kinds: dict[bool, list[list[pytest.Item]]] = {True: [], False: []}
    for file in files:
        kinds[_WAITS.match(file[0].nodeid) is not None].append(file)
    spread = [(at / len(kind), file) for kind in kinds.values() for at, file in enumerate(kind)]
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
