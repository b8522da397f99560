"""Three masters with replicas, and Sentinels: what ``make test-topologies`` runs on."""

from collections.abc import Iterator

import pytest

from tests.support.topologies import Cluster, SentinelGroup

Topology = Cluster | SentinelGroup


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest.fixture(scope="session")
def shared_sentinels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelGroup]:
    with SentinelGroup(tmp_path_factory.mktemp("sentinels")) as started:
        yield started


@pytest.fixture
def cluster(shared_cluster: Cluster) -> Cluster:
    """Healthy and with all members at the beginning of a test, as the others here."""
    _heal(shared_cluster)
    return shared_cluster


@pytest.fixture
def sentinels(shared_sentinels: SentinelGroup) -> SentinelGroup:
    _heal(shared_sentinels)
    return shared_sentinels


@pytest.fixture(params=["cluster", "sentinels"])
def topology(request: pytest.FixtureRequest) -> Topology:
    """Each of the two."""
    found: Topology = request.getfixturevalue(request.param)
    return found


def _heal(topology: Topology) -> None:
    for server in topology.servers:
        if not server.is_running:
            server.start()
    topology.wait_healthy()
