"""The watchdog: what it sends again, how much it looks at, and what does not hold it up."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from evented_agent import Settings
from evented_agent.execution.watchdog import Watchdog
from evented_agent.ledger import watch
from evented_agent.ledger.connection import Ledger
from evented_agent.ledger.keys import Keys
from evented_agent.ledger.records import Due
from evented_agent.ledger.runs import read
from evented_agent.ledger.workers import LiveWorker, announce
from tests.support.driver import Driver
from tests.support.servers import RedisServer
from tests.support.workers import wait_until

Notify = Callable[[Sequence[Due]], bool]


@pytest.fixture
def driver(redis_server: RedisServer) -> Iterator[Driver]:
    ledger = Ledger(redis_server.url)
    keys = Keys("watchdog")
    yield Driver(ledger, keys)
    for key in ledger.client().keys(f"{keys.prefix}:*"):
        ledger.client().delete(key)
    ledger.close()


def live(
    agents: Sequence[str] = ("a",), queues: Sequence[str] = ("q",), name: str = "w"
) -> LiveWorker:
    return LiveWorker(name, name, queues=queues, agents=agents, pool="threads", slots=10)


@contextmanager
def watching(driver: Driver, notify: Notify, myself: LiveWorker) -> Iterator[Watchdog]:
    watchdog = Watchdog(
        driver.keys,
        driver.ledger.url,
        settings=Settings(prefix=driver.keys.prefix, lease=1),
        notify=notify,
        myself=lambda: myself,
    )
    watchdog.start()
    yield watchdog
    watchdog.stop()


def rings_in(driver: Driver, run_id: str) -> float:
    """Milliseconds until the bell of a run."""
    at: float | None = driver.ledger.client().zscore(driver.keys.bells(0), run_id)
    assert at is not None
    return at - now(driver)


def make_all_due(driver: Driver) -> None:
    """As if all messages had been sent some time ago."""
    client: Any = driver.ledger.client()
    for run_id in client.zrange(driver.keys.bells(0), 0, -1):
        tasks = driver.keys.of(run_id.decode()).tasks
        stored = client.hget(tasks, "1:model")
        client.hset(tasks, "1:model", _with_send_at(stored, 1))
        client.zadd(driver.keys.bells(0), {run_id: 1})


def _with_send_at(stored: bytes, at: int) -> str:
    return json.dumps(json.loads(stored) | {"send_at": at})


def test_what_nobody_serves_holds_up_no_run_that_is_served(driver: Driver) -> None:
    for number in range(3_000):
        driver.create(f"unserved-{number}", agent="gone")
    driver.create("zz-served")
    make_all_due(driver)
    sent: list[str] = []

    def notify(dues: Sequence[Due]) -> bool:
        sent.extend(due.run_id for due in dues)
        return True

    began = time.monotonic()
    with watching(driver, notify, live()):
        wait_until(lambda: "zz-served" in sent, "the served run's message is sent again", 6)
        print(f"sent again after {time.monotonic() - began:.1f} s")
        wait_until(
            lambda: (
                driver.ledger.client().zcount(driver.keys.bells(0), 0, now(driver) + 60_000) <= 1
            ),
            "the others wait long",
        )
    assert set(sent) == {"zz-served"}


def test_what_nobody_is_known_to_serve_is_sent_all_the_same_but_seldom(driver: Driver) -> None:
    driver.create("r", agent="gone")
    make_all_due(driver)
    sent: list[str] = []

    def notify(dues: Sequence[Due]) -> bool:
        sent.extend(due.run_id for due in dues)
        return True

    with watching(driver, notify, live()):
        wait_until(lambda: rings_in(driver, "r") > 60_000, "it waits long")
        assert not sent
        # Its worker may be one that does not announce itself.
        make_all_due(driver)
        wait_until(lambda: sent == ["r"], "five minutes later it is sent", 5)
        wait_until(lambda: rings_in(driver, "r") > 60_000, "it waits long again")


def now(driver: Driver) -> int:
    seconds, micros = driver.ledger.client().time()
    return int(seconds) * 1000 + int(micros) // 1000


@pytest.mark.parametrize("lacks", ["agent", "queue"])
def test_a_worker_that_comes_has_what_waited_for_it_sent_at_once(
    lacks: str, driver: Driver
) -> None:
    fields = {"agent": "b"} if lacks == "agent" else {"queue": "later"}
    driver.create("r", digest="d", **fields)
    make_all_due(driver)
    sent: list[str] = []

    def notify(dues: Sequence[Due]) -> bool:
        sent.extend(due.run_id for due in dues)
        return True

    with watching(driver, notify, live()):
        wait_until(
            lambda: rings_in(driver, "r") > 60_000,
            "it waits long",
        )
        assert not sent
        driver.ledger.send(announce(driver.keys, live(["a", "b"], ["q", "later"], name="new")))
        wait_until(lambda: sent == ["r"], "it is sent", 5)


def test_a_full_queue_takes_no_room_from_another(driver: Driver) -> None:
    for number in range(60):
        driver.create(f"busy-{number}", queue="busy")
    for number in range(5):
        driver.create(f"free-{number}", queue="q")
    make_all_due(driver)
    sent: Counter[str] = Counter()

    def notify(dues: Sequence[Due]) -> bool:
        sent.update(due.queue for due in dues)
        return True

    busy = LiveWorker("b", "b", queues=["busy"], agents=["a"], pool="threads", slots=4, busy=4)
    driver.ledger.send(announce(driver.keys, busy))
    with watching(driver, notify, live()):
        wait_until(lambda: sent["q"] == 5, "the free queue's are sent", 5)
        assert sent["busy"] < 10


def test_a_broker_that_never_answers_does_not_hide_a_dead_worker(driver: Driver) -> None:
    for number in range(120):
        driver.create(f"waits-{number}")
    make_all_due(driver)
    driver.create("dead")
    let_go = threading.Event()

    def never_answers(_: Sequence[Due]) -> bool:
        let_go.wait(1)
        return False

    with watching(driver, never_answers, live()):
        task = driver.granted("dead")
        driver.expire(task)
        began = time.monotonic()
        wait_until(lambda: state_of(driver, "dead") == "queued", "its death is noticed", 5)
        print(f"noticed after {time.monotonic() - began:.1f} s")
        let_go.set()


def state_of(driver: Driver, run_id: str) -> str:
    [task] = driver.ledger.send(read(driver.keys, run_id)).tasks
    return task.state


def test_any_number_of_alarms_is_looked_at_as_fast_as_the_work_allows(driver: Driver) -> None:
    client = driver.ledger.client()
    # Of runs that are gone: a look takes each away.
    client.zadd(driver.keys.alarms(0), {f"gone-{number}": 1 for number in range(10_000)})
    began = time.monotonic()
    with watching(driver, lambda _: True, live()):
        wait_until(lambda: client.zcard(driver.keys.alarms(0)) == 0, "all are looked at", 15)
    print(f"10,000 alarms took {time.monotonic() - began:.1f} s")


def test_ring_leaves_bells_that_are_near(driver: Driver) -> None:
    client = driver.ledger.client()
    client.zadd(driver.keys.bells(0), {"near": now(driver) + 5_000, "far": now(driver) + 300_000})

    assert driver.ledger.send(watch.ring(driver.keys, 0, after_ms=60_000, most=10)) == 1
    assert rings_in(driver, "far") <= 0
    assert rings_in(driver, "near") > 0
