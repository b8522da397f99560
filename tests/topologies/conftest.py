"""Three masters with replicas, and Sentinels: what ``make test-topologies`` runs on."""

from collections.abc import Iterator

import pytest

from tests.support.topologies import Cluster, SentinelGroup

Topology = Cluster | SentinelGroup


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest.fixture(scope="session")
def sentinels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelGroup]:
    with SentinelGroup(tmp_path_factory.mktemp("sentinels")) as started:
        yield started


@pytest.fixture(params=["cluster", "sentinels"])
def topology(request: pytest.FixtureRequest) -> Topology:
    """Each of the two, healthy and with all members, at the beginning of a test."""
    found: Topology = request.getfixturevalue(request.param)
    for server in found.servers:
        if not server.is_running:
            server.start()
    found.wait_healthy()
    return found
