"""A master that hangs holds up its own runs alone."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from evented_agent import LedgerUnavailable
from evented_agent.ledger.attempts import heartbeat
from evented_agent.ledger.connection import Ledger
from evented_agent.ledger.keys import Keys
from tests.support.driver import WORKER, Driver
from tests.support.topologies import Cluster

KEYS = Keys("several", 16)
#: Milliseconds until the cluster calls a master dead: longer than the test lasts.
DEAD_AFTER = 60_000


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path, dead_after=DEAD_AFTER) as started:
        yield started


def test_leases_of_runs_on_other_masters_are_renewed_meanwhile(cluster: Cluster) -> None:
    driver, watchdog = (Driver(Ledger(cluster.url), KEYS) for _ in range(2))
    by_master = {cluster.master_of(KEYS.of(f"r{n}").run).port: f"r{n}" for n in range(60)}
    tasks = []
    for run_id in by_master.values():
        driver.create(run_id)
        tasks.append(driver.granted(run_id))
    frozen, *others = tasks
    calls = [
        heartbeat(KEYS, each.run_id, each.key, token=each.token, lease_ms=WORKER.lease_ms)
        for each in tasks
    ]
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(0.05):
            for each in others:
                watchdog.reconcile(each.run_id)

    driver.ledger.send_all(calls)
    cluster.master_of(KEYS.of(frozen.run_id).run).pause()
    watching = threading.Thread(target=watch)
    watching.start()
    for _ in range(4):
        first, *rest = driver.ledger.send_all(calls)
        assert isinstance(first, LedgerUnavailable)
        assert rest == [None] * len(others)

    is_over.set()
    watching.join()
    for each in (driver, watchdog):
        each.ledger.close()
    assert len(by_master) == 3
