"""The scripts on three masters: each finds all its keys where it is sent."""

import dataclasses
from typing import Any

import pytest
import redis
from redis.crc import key_slot

from evented_agent import LedgerUnavailable
from evented_agent.ledger import limits, runs, threads
from evented_agent.ledger.connection import Ledger
from evented_agent.ledger.keys import Keys
from evented_agent.ledger.records import NewTask
from evented_agent.ledger.script import Command
from tests.support.driver import Driver
from tests.support.servers import RedisServer
from tests.support.topologies import Cluster, ask
from tests.unit.ledger.test_scripts import CALLS


@pytest.mark.parametrize("call", CALLS.values(), ids=[each.__name__ for each in CALLS])
def test_every_script_finds_its_keys_on_one_master(call: Command[Any], cluster: Cluster) -> None:
    for server in cluster.masters():
        ask(server, "FLUSHALL")
    # Those whose calls name no real index.
    keys = ["ea:{0}:runs:all" if key == "index" else key for key in call.keys]
    ledger = Ledger(cluster.url)

    ledger.send(dataclasses.replace(call, keys=keys, parse=lambda reply: reply))

    ledger.close()
    assert len({key_slot(key.encode()) for key in keys}) == 1


def test_runs_threads_and_limits_spread_over_the_masters(cluster: Cluster) -> None:
    keys, ledger = Keys("spread", 64), Ledger(cluster.url)
    driver = Driver(ledger, keys)
    run_ids = [f"r{number}" for number in range(40)]
    for run_id in run_ids:
        assert driver.create(run_id)
        assert ledger.send(threads.enter(keys, f"thread of {run_id}", run_id, ttl_ms=1000)).holder
        driver.committed(
            driver.granted(run_id), entries=["{}"], next=[NewTask("1:tool:a", "tool", 1, "a", "t")]
        )
    assert ledger.send(limits.take_slot(keys, "r1:a", {"one": 1}, ttl_ms=1000))
    assert not ledger.send(limits.take_slot(keys, "r2:a", {"one": 1}, ttl_ms=1000))

    used = {cluster.master_of(keys.of(run_id).run).port for run_id in run_ids}
    assert len(used) == 3
    found = ledger.send_all([runs.read(keys, run_id) for run_id in run_ids], retry_for=2)
    assert [record.fields["status"] for record in found] == ["running"] * 40
    assert all(driver.types(run_id)[0] == "start" for run_id in run_ids)
    ledger.close()


def test_a_scan_finds_the_keys_of_its_shard_alone(cluster: Cluster) -> None:
    keys, ledger = Keys("scanned", 8), Ledger(cluster.url)
    driver = Driver(ledger, keys)
    for number in range(20):
        driver.create(f"r{number}")
    for shard in range(keys.shards):
        cursor, found = ledger.scan(keys.index(shard, "*"), 0)
        while cursor:
            cursor, more = ledger.scan(keys.index(shard, "*"), cursor)
            found += more
        assert keys.index(shard, "all") in found
        assert all(f"{{{shard}}}" in name for name in found)
    ledger.close()


def test_a_url_of_one_node_is_enough_and_a_plain_one_is_refused(cluster: Cluster) -> None:
    port = cluster.servers[0].port
    one = Ledger(f"redis+cluster://127.0.0.1:{port}")
    assert {name for name, info in one.masters() if info} == {
        f"127.0.0.1:{server.port}" for server in cluster.masters()
    }
    one.close()

    keys = Keys("plain")
    key = keys.of("r").run
    other = next(each for each in cluster.masters() if each is not cluster.master_of(key))
    plain = Ledger(f"redis://127.0.0.1:{other.port}/0")
    with pytest.raises(LedgerUnavailable, match=r"redis\+cluster://"):
        Driver(plain, keys).create("r")
    plain.close()


def test_a_server_that_is_no_cluster_is_named(tmp_path_factory: pytest.TempPathFactory) -> None:
    with RedisServer(tmp_path_factory.mktemp("single")) as server:
        ledger = Ledger(f"redis+cluster://127.0.0.1:{server.port}")
        with pytest.raises(LedgerUnavailable, match=r"redis://, or rediss:// for TLS"):
            Driver(ledger, Keys("single")).create("r")
        assert redis.Redis(port=server.port).dbsize() == 0
        ledger.close()


def test_a_user_with_few_rights_finds_its_way_in_a_cluster(cluster: Cluster) -> None:
    rules = "-@all +@read +@write +@scripting +@connection +time -@dangerous +cluster|slots"
    for server in cluster.servers:
        ask(server, "ACL", "SETUSER", "few", "on", ">pass", "~few:*", *rules.split())
    port = cluster.servers[0].port
    ledger = Ledger(f"redis+cluster://few:pass@127.0.0.1:{port}")
    driver = Driver(ledger, Keys("few", 16))
    for number in range(10):
        run_id = f"r{number}"
        driver.create(run_id)
        driver.say(driver.granted(run_id), "a", sent=0)
        assert driver.types(run_id) == ["start", "text-start", "text-delta"]
    assert [info for _, info in ledger.masters()] == [None] * 3
    ledger.close()
