"""A Redis that is full refuses what would fill it, and takes what makes room."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from evented_agent import Agent, LedgerUnavailable, RunDeleted, Runs, create_durable_agent
from evented_agent.client.start import start_run
from evented_agent.testing import ScriptedModel
from tests.support.servers import RedisServer

agent = Agent(id="full", model=ScriptedModel(["Hello."]))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis", aof=False) as server:
        yield server


@pytest.fixture
def runs(server: RedisServer) -> Runs:
    return create_durable_agent(agent, redis_url=server.url).client


def test_no_run_is_created(server: RedisServer, runs: Runs) -> None:
    server.client().config_set("maxmemory", "1")

    with pytest.raises(LedgerUnavailable, match=r"says not now \(OOM"):
        runs.ledger.run(start_run(runs, agent, "Hi.", {"run_id": "no-room"}))

    assert not server.client().keys("*no-room*")


def test_a_run_can_be_deleted(server: RedisServer, runs: Runs) -> None:
    runs.ledger.run(start_run(runs, agent, "Hi.", {"run_id": "makes-room"}))
    server.client().config_set("maxmemory", "1")

    runs.delete("makes-room")

    with pytest.raises(RunDeleted):
        runs.get("makes-room")
