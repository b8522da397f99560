"""Indexes forget expired runs: of every shard, agent, thread and resource."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from evented_agent.execution import index_trimmer
from evented_agent.execution.index_trimmer import IndexTrimmer
from evented_agent.ledger import threads
from evented_agent.ledger.connection import Ledger
from evented_agent.ledger.keys import Keys, thread_name
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
    trimmers = [
        IndexTrimmer(keys, ledger, shard, record_ms=1000, thread_ms=1000) for shard in range(4)
    ]
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


def test_conversations_that_have_expired_stay_in_no_list(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_trimmer, "TRIM", 0.0)
    keys = Keys("trimmed", 2)
    client: Any = ledger.client()
    long_ago, kept = int(time.time() * 1000) - 60_000, set()
    for number in range(1200):
        where = keys.thread(thread_name(f"t{number}", "ann"))
        ledger.send(threads.enter(keys, thread_name(f"t{number}", "ann"), "r", ttl_ms=600_000))
        # One that is kept although it was in use long ago: its time is longer than another's was.
        if number % 100 == 0:
            kept.add(where.about)
        else:
            client.delete(where.about)
    for shard in range(2):
        for index in (("conversations", ""), ("conversations", "ann")):
            name = keys.index(shard, *index)
            client.zadd(name, dict.fromkeys(client.zrange(name, 0, -1), long_ago))
    trimmers = [
        IndexTrimmer(keys, ledger, shard, record_ms=10**9, thread_ms=1000) for shard in range(2)
    ]
    for _ in range(20):
        for trimmer in trimmers:
            trimmer.work(int(time.time() * 1000), [])

    left = {
        keys.thread_at(shard, member.decode())[2]
        for shard in range(2)
        for index in (("conversations", ""), ("conversations", "ann"))
        for member in client.zrange(keys.index(shard, *index), 0, -1)
    }
    assert left == kept
