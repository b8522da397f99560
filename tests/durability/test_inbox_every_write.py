"""Workers are killed right before and right after each write of runs that are sent messages.

Whoever dies where: each message is in one completed model call, in order, and nobody is told of an
end that is not one.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from evented_agent import EventedAgent, Runs
from tests.durability.conftest import Start
from tests.durability.inbox_stories import STORIES
from tests.durability.story_runs import Kills
from tests.support.proxy import Proxy
from tests.support.servers import RedisServer
from tests.support.workers import WorkerProcess

Agents = dict[str, EventedAgent]


@pytest.fixture(scope="module")
def worker_app() -> str:
    return "tests.durability.inbox_app"


@pytest.fixture(scope="module")
def survivor(start: Start, redis_server: RedisServer) -> Iterator[WorkerProcess]:
    with Proxy(redis_server.port) as proxy:
        yield start("survivor", proxy, concurrency=40)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("of", STORIES)
@pytest.mark.usefixtures("survivor")
def test_each_message_is_answered_once_wherever_a_worker_is_killed(
    of: str, start: Start, agents: Agents, runs: Runs, redis_server: RedisServer, marks: Path
) -> None:
    kills = Kills(start, agents, runs, redis_server, marks)
    writes = kills.learned(STORIES[of], of, lambda write: write.script == "leave_thread")
    assert kills.problems(STORIES[of], of, writes) == []
    assert len(writes) >= 8
