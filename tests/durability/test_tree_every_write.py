"""Workers are killed, or replies lost, at each write of child runs: the tree is the same."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from evented_agent import EventedAgent, Runs
from tests.durability.conftest import Start, agents_on
from tests.durability.story_runs import Kills, Losses
from tests.durability.tree_stories import STORIES
from tests.support.proxy import Proxy
from tests.support.servers import RedisServer
from tests.support.workers import WorkerProcess

Agents = dict[str, EventedAgent]
#: What is different where a run has children.
SCRIPTS = ("spawn", "commit", "resume", "abort", "retry_failed")


@pytest.fixture(scope="module")
def worker_app() -> str:
    return "tests.durability.tree_app"


@pytest.fixture(scope="module")
def survivor(start: Start, redis_server: RedisServer) -> Iterator[WorkerProcess]:
    with Proxy(redis_server.port) as proxy:
        yield start("survivor", proxy, concurrency=40)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("of", STORIES)
@pytest.mark.usefixtures("survivor")
def test_a_tree_is_the_same_wherever_a_worker_is_killed(
    of: str, start: Start, agents: Agents, runs: Runs, redis_server: RedisServer, marks: Path
) -> None:
    kills = Kills(start, agents, runs, redis_server, marks)
    writes = kills.learned(STORIES[of], f"tree-{of}")
    assert of == "hand-off" or "spawn" in {write.script for write in writes}
    assert kills.problems(STORIES[of], f"tree-{of}", writes) == []
    assert len(writes) >= 4


@pytest.mark.timeout(300)
@pytest.mark.parametrize("of", STORIES)
def test_a_lost_reply_changes_nothing_of_a_tree(
    of: str, start: Start, runs: Runs, redis_server: RedisServer, marks: Path
) -> None:
    def callers_on(url: str) -> Agents:
        return agents_on(url, redis_server.url, "tests.durability.tree_app")

    losses = Losses(start, runs, redis_server, marks, SCRIPTS)
    count, problems = losses.problems(
        STORIES[of],
        f"lossy-tree-{of}",
        callers_on,
        lambda story, _: list(story.wrong(marks)),
        STORIES[of].is_certain,
    )
    assert problems == []
    assert count >= 3
