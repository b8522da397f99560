"""Indexes forget expired runs: of every shard, agent, thread and resource."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from evented_agent.execution import index_trimmer
from evented_agent.execution.index_trimmer import IndexTrimmer
from evented_agent.ledger.connection import Ledger
from evented_agent.ledger.keys import Keys
from tests.support.servers import RedisServer


@pytest.fixture
def ledger(redis_server: RedisServer) -> Iterator[Ledger]:
    ours = Ledger(redis_server.url)
    yield ours
    client: Any = ours.client()
    for key in client.keys("trimmed:*"):
        client.delete(key)
    ours.close()


def test_nothing_that_has_expired_stays_in_any_index(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_trimmer, "TRIM", 0.0)
    keys = Keys("trimmed", 4)
    client: Any = ledger.client()
    now = int(time.time() * 1000)
    kinds = [("all", ""), ("status", "finished"), ("agent", "gone"), ("thread", "t")]
    for shard in range(4):
        ended = {f"run-{n}": 1 for n in range(6000) if keys.shard(f"run-{n}") == shard}
        for kind in [*kinds, ("resource", "tenant")]:
            client.zadd(keys.index(shard, *kind), ended)
    lasting = {f"old-{n}": 2 for n in range(8)} | {f"new-{n}": now for n in range(8)}
    for run_id, began_at in lasting.items():
        client.zadd(keys.index(keys.shard(run_id), "resource", "tenant"), {run_id: began_at})
        # Begun long ago and still there; one that began just now need not be looked up.
        if began_at == 2:
            client.hset(keys.of(run_id).run, "status", "suspended")
    trimmers = [IndexTrimmer(keys, ledger, shard, record_ms=1000) for shard in range(4)]
    for _ in range(40):
        for trimmer in trimmers:
            trimmer.work(now, ["other"])

    left = {
        member.decode()
        for shard in range(4)
        for key in client.keys(keys.index(shard, "*"))
        for member in client.zrange(key, 0, -1)
    }
    assert left == set(lasting)
