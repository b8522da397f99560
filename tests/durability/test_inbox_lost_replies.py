"""Replies are lost where runs are sent messages: each is answered once, nothing is withdrawn."""

from pathlib import Path

import pytest

from evented_agent import EventedAgent, Runs
from evented_agent.chunks import StepReset
from tests.durability.conftest import Start, agents_on
from tests.durability.inbox_stories import STORIES, Story
from tests.durability.story_runs import Losses
from tests.support.servers import RedisServer

Agents = dict[str, EventedAgent]
#: What only runs with messages or in conversations do.
SCRIPTS = ("send", "close", "yield_turn", "bind", "enter", "leave_thread", "create", "resume")


@pytest.fixture(scope="module")
def worker_app() -> str:
    return "tests.durability.inbox_app"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("of", STORIES)
def test_a_lost_reply_changes_nothing_of_what_is_answered(
    of: str, start: Start, runs: Runs, redis_server: RedisServer, marks: Path
) -> None:
    def callers_on(url: str) -> Agents:
        return agents_on(url, redis_server.url, "tests.durability.inbox_app")

    def wrong(story: Story, name: str) -> list[str]:
        problems = list(story.wrong(marks))
        if any(isinstance(chunk, StepReset) for chunk in runs.observe(name)):
            problems.append("something was withdrawn")
        return problems

    losses = Losses(start, runs, redis_server, marks, SCRIPTS)
    count, problems = losses.problems(STORIES[of], f"lossy-{of}", callers_on, wrong)
    assert problems == []
    assert count >= 5
