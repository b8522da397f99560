"""What the processes of pytest-xdist take at a time, and in which order.

A file at a time, since its tests share servers and workers; the conformance suite an engine at a
time, so that each engine is started once.  What takes long comes first; files that mostly wait and
files that mostly compute are under way side by side, so that the machine is neither idle nor late.
"""

import re
from typing import TYPE_CHECKING

import pytest
from xdist.scheduler import LoadFileScheduling

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController

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
#: The part of the processes that is given such files while there are others.
_WAITING = 0.6
_ENGINE = re.compile(
    r"^tests/conformance/.*\[(cluster-in-process|in-process|[a-z]+-threads|[a-z]+-prefork|[a-z]+)"
)


def longest_first(items: list[pytest.Item]) -> None:
    """Order tests by how long their files take."""
    items.sort(key=lambda item: _place(item.nodeid))


def _place(nodeid: str) -> int:
    return next((at for at, name in enumerate(LONG) if nodeid.startswith(name)), len(LONG))


class FilesAndEngines(LoadFileScheduling):  # type: ignore[misc]
    """Hands out a file at a time, and all conformance tests of one engine at a time."""

    def _assign_work_unit(self, node: "WorkerController") -> None:
        others = [units for other, units in self.assigned_work.items() if other is not node]
        waiting = sum(any(map(_is_waited_for, units.items())) for units in others)
        is_due = waiting < round(_WAITING * self.numnodes)
        for scope in self.workqueue:
            if is_due == (_WAITS.match(scope) is not None):
                self.workqueue.move_to_end(scope, last=False)
                break
        super()._assign_work_unit(node)

    def _split_scope(self, nodeid: str) -> str:
        engine = _ENGINE.match(nodeid)
        file: str = super()._split_scope(nodeid)
        return f"tests/conformance[{engine[1]}]" if engine else file


def _is_waited_for(unit: tuple[str, dict[str, bool]]) -> bool:
    """Whether a file that waits has tests that have not ended."""
    scope, tests = unit
    return _WAITS.match(scope) is not None and not all(tests.values())
