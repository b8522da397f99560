"""Workers freeze at writes of child runs, and wake up when others have finished the tree."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from evented_agent import EventedAgent, Runs
from tests.durability.conftest import Start
from tests.durability.story_runs import Freezes, Kills
from tests.durability.tree_stories import STORIES
from tests.support.proxy import Proxy
from tests.support.servers import RedisServer
from tests.support.workers import WorkerProcess

Agents = dict[str, EventedAgent]
#: Freeze at all writes, as `make chaos` does, or at one of each kind.
ALL_WRITES = int(os.environ.get("TEST_WALKS", "1")) > 1


@pytest.fixture(scope="module")
def worker_app() -> str:
    return "tests.durability.tree_app"


@pytest.fixture(scope="module")
def survivor(start: Start, redis_server: RedisServer) -> Iterator[WorkerProcess]:
    with Proxy(redis_server.port) as proxy:
        yield start("survivor", proxy, concurrency=40)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("of", STORIES)
@pytest.mark.usefixtures("survivor")
def test_a_worker_that_froze_changes_nothing_of_a_tree(
    of: str, start: Start, agents: Agents, runs: Runs, redis_server: RedisServer, marks: Path
) -> None:
    at = (start, agents, runs, redis_server, marks)
    writes = Kills(*at).learned(STORIES[of], f"frozen-{of}")
    # Of each script the last: the others are of the same kind.
    chosen = writes if ALL_WRITES else list({write.script: write for write in writes}.values())
    assert {"claim", "commit"} <= {write.script for write in chosen}
    assert Freezes(*at).problems(STORIES[of], f"zombie-{of}", chosen) == []
