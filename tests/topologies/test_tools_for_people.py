"""The command line, the doctor and a worker's start, where there is more than one master."""

import logging
from collections.abc import Iterator

import pytest
from click.testing import Result

from evented_agent import Agent, ConfigurationError, Runs, Settings, create_durable_agent
from evented_agent.cli import main
from evented_agent.testing import ScriptedModel
from tests.support.command_line import cli_runner
from tests.support.topologies import Cluster, ask
from tests.topologies.conftest import Topology

PREFIX = "people"


@pytest.fixture
def run_id(topology: Topology) -> Iterator[str]:
    """A run that has ended."""
    agent = Agent(id="hello", model=ScriptedModel(["Hello, world."]))
    settings = Settings(prefix=PREFIX, shards=4)
    served = create_durable_agent(agent, redis_url=topology.url, settings=settings)
    result = served.generate("Hi.", timeout=30)
    yield result.run_id
    served.close()


def command(topology: Topology, *arguments: str) -> Result:
    place = ("--redis", topology.url, "--prefix", f"{PREFIX}.hello")
    return cli_runner().invoke(main, [*place, *arguments])


def test_commands_find_runs(topology: Topology, run_id: str) -> None:
    shown = command(topology, "runs", "show", run_id)
    assert (shown.exit_code, "finished" in shown.stdout) == (0, True)
    assert run_id[:8] in command(topology, "runs", "ls").stdout
    assert "Hello, world." in command(topology, "runs", "watch", run_id).stdout
    assert command(topology, "runs", "show", "nobody").exit_code == 1


def test_a_doctor_looks_at_every_master(topology: Topology, run_id: str) -> None:
    topology.wait_for_replicas()
    healthy = command(topology, "doctor")
    assert "Redis at" not in healthy.stdout
    last = topology.masters()[-1] if isinstance(topology, Cluster) else topology.master
    ask(last, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    ask(last, "CONFIG", "SET", "appendonly", "no")
    try:
        found = command(topology, "doctor").stdout
        assert "maxmemory-policy 'allkeys-lru'" in found
        assert "has no append-only file" in found
        if isinstance(topology, Cluster):
            assert f"127.0.0.1:{last.port}" in found
    finally:
        ask(last, "CONFIG", "SET", "maxmemory-policy", "noeviction")
        ask(last, "CONFIG", "SET", "appendonly", "yes")


def test_a_doctor_misses_replicas(topology: Topology, run_id: str) -> None:
    if isinstance(topology, Cluster):
        masters = topology.masters()
        others = [server for server in topology.servers if server not in masters]
    else:
        others = [server for server in topology.servers if server is not topology.master]
    for server in others:
        server.kill()

    assert "has no replica" in command(topology, "doctor").stdout


def test_what_may_drop_runs_anywhere_refuses_to_start(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.wait_healthy()
    runs = Runs(cluster.url, settings=Settings(prefix="start", shards=2))
    assert runs.check().eviction == "noeviction"
    for server in cluster.masters():
        ask(server, "CONFIG", "SET", "appendonly", "no")
        with caplog.at_level(logging.WARNING):
            runs.check()
        ask(server, "CONFIG", "SET", "appendonly", "yes")
        assert "has no append-only file" in caplog.messages[-1]
        caplog.clear()
        ask(server, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        with pytest.raises(ConfigurationError, match=f":{server.port} has maxmemory-policy"):
            runs.check()
        ask(server, "CONFIG", "SET", "maxmemory-policy", "noeviction")
    runs.close()
