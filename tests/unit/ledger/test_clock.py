"""Redis's clock goes back by ten minutes: what was written by the old one is not ahead for long."""

import json

import pytest

from evented_agent.ledger import watch
from evented_agent.ledger.connection import Ledger
from evented_agent.ledger.keys import Keys
from evented_agent.ledger.limits import count_slots, take_slot
from evented_agent.ledger.workers import LiveWorker, announce, live_workers
from tests.support.driver import Driver
from tests.support.servers import RedisServer

JUMP = 600_000


@pytest.fixture
def driver(request: pytest.FixtureRequest, redis_server: RedisServer) -> Driver:
    return Driver(Ledger(redis_server.url), Keys(f"clock-{request.node.name}"))


def tick(driver: Driver, watchdog: str) -> watch.Tick:
    return driver.ledger.send(
        watch.tick(
            driver.keys,
            0,
            watchdog=watchdog,
            lock_ms=2_000,
            since=watch.Since(),
            most=10,
            lease_ms=3_000,
        )
    )


def test_a_watchdog_that_died_before_the_jump_holds_no_lock(driver: Driver) -> None:
    lock = driver.keys.watch(0)[0]
    assert tick(driver, "old").is_watching
    assert not tick(driver, "new").is_watching
    driver.ledger.client().pexpire(lock, JUMP + 2_000)

    assert tick(driver, "new").is_watching
    assert not tick(driver, "old").is_watching


def test_a_watchdog_that_began_after_the_jump_looks_at_what_is_ahead(driver: Driver) -> None:
    driver.create("ahead")
    driver.granted("ahead")
    now = tick(driver, "old").now
    _, alarms, pulse, _ = driver.keys.watch(0)
    client = driver.ledger.client()
    client.zincrby(alarms, JUMP, "ahead")
    client.hset(pulse, mapping={"now": now + JUMP, "grace": now + JUMP})

    look = tick(driver, "old")

    assert "ahead" in look.due
    assert look.grace_begins == "jumped in time"
    assert look.grace_until <= look.now + 5_000
    # And no more than once.
    assert tick(driver, "old").grace_begins == ""


def test_a_grace_from_before_the_jump_ends(driver: Driver) -> None:
    now = tick(driver, "old").now
    driver.ledger.client().hset(driver.keys.watch(0)[2], "grace", now + JUMP)
    look = tick(driver, "old")
    assert look.grace_until <= look.now + 5_000


def test_a_worker_that_was_heard_of_in_the_future_is_forgotten(driver: Driver) -> None:
    worker = LiveWorker("w", "w", ["agents"], ["a"], "threads", 10)
    driver.ledger.send(announce(driver.keys, worker))
    [live] = driver.ledger.send(live_workers(driver.keys))
    client = driver.ledger.client()
    stored = json.loads(client.hget(driver.keys.workers, "w") or "")
    stored["pulse"] = live.pulse + JUMP
    client.hset(driver.keys.workers, "w", json.dumps(stored))

    assert driver.ledger.send(live_workers(driver.keys)) == []


def test_a_slot_is_held_no_longer_than_its_time(driver: Driver) -> None:
    def take(holder: str, ttl_ms: int) -> bool:
        return driver.ledger.send(take_slot(driver.keys, holder, {"all": 1}, ttl_ms=ttl_ms))

    assert take("old", JUMP)
    assert not take("new", 1)
    [count] = driver.ledger.send(count_slots(driver.keys, ["all"]))
    assert count <= 1
    score = driver.ledger.client().zscore(driver.keys.slots("all"), "old")
    assert score is not None
    assert score <= tick(driver, "any").now + 1
