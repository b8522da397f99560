"""Counters in Redis: each batch once at most, bounded, whatever is stored there."""

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import redis

from evented_agent.execution.counts import Counts
from evented_agent.execution.ended_runs import EndedRuns
from evented_agent.ledger import counters
from evented_agent.ledger.connection import Ledger
from evented_agent.ledger.counters import (
    DAY,
    HOUR,
    add_counts,
    gauges,
    read_counts,
    read_series,
    take_ended,
)
from evented_agent.ledger.keys import Keys
from tests.support.proxy import Moment, Proxy, Write
from tests.support.servers import RedisServer
from tests.support.workers import wait_until


@pytest.fixture
def keys() -> Keys:
    return Keys(f"n{uuid.uuid4().hex[:8]}")


@pytest.fixture
def ledger(redis_server: RedisServer) -> Iterator[Ledger]:
    made = Ledger(redis_server.url)
    yield made
    made.close()


@pytest.fixture
def server(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_server.url) as client:
        yield client


ONE = {("steps", "clerk"): 1}


def total(ledger: Ledger, keys: Keys) -> counters.CounterValues:
    return ledger.send(read_counts(keys))


def series(ledger: Ledger, keys: Keys, of: counters.Resolution) -> Sequence[counters.CounterValues]:
    return ledger.send(read_series(keys, of)).stretches


def test_a_batch_that_is_sent_again_counts_once(keys: Keys, ledger: Ledger) -> None:
    for is_again in (False, False, True):
        ledger.send(add_counts(keys, "w", 1, ONE, is_again=is_again))
    ledger.send(add_counts(keys, "w", 2, ONE, is_again=True))
    ledger.send(add_counts(keys, "other", 1, ONE, is_again=False))

    assert total(ledger, keys) == {"steps": {"clerk": 3}}
    for of in (HOUR, DAY):
        assert series(ledger, keys, of)[-1] == {"steps": {"clerk": 3}}


def test_a_batch_of_which_nobody_knows_whether_it_came_is_lost(
    keys: Keys, ledger: Ledger, server: redis.Redis
) -> None:
    ledger.send(add_counts(keys, "w", 1, ONE, is_again=False))
    server.delete(keys.counters("by:w"))

    assert ledger.send(add_counts(keys, "w", 1, ONE, is_again=True)) == "lost"
    assert total(ledger, keys) == {"steps": {"clerk": 1}}


@pytest.mark.parametrize("moment", ["before", "after"])
def test_lost_connections_count_nothing_twice(
    moment: Moment, keys: Keys, ledger: Ledger, redis_server: RedisServer
) -> None:
    cuts: list[Write] = []

    def cut(write: Write, at: Moment) -> bool:
        if write.script != "add_counts" or at != moment or len(cuts) == 3:
            return True
        cuts.append(write)
        return False

    with Proxy(redis_server.port, cut) as proxy:
        far = Ledger(proxy.url)
        counts = Counts(keys, far)
        counts.flush()
        for _ in range(8):
            counts.add("steps", "clerk")
            counts.flush()
        counts.stop()
        far.close()

    assert len(cuts) == 3
    counted = total(ledger, keys)["steps"]["clerk"]
    # Where the first of all did not come, nobody can know that.
    assert counted == 8 if moment == "after" else 7 <= counted <= 8


def test_what_is_counted_comes_by_itself_and_a_stop_adds_the_rest(
    keys: Keys, ledger: Ledger
) -> None:
    counts = Counts(keys, ledger)
    counts.add("steps", "clerk", 3)
    wait_until(lambda: total(ledger, keys) == {"steps": {"clerk": 3}}, "it is added")
    for number in (1, 2):
        counts.add("steps", "clerk")
        counts.stop()
        assert total(ledger, keys) == {"steps": {"clerk": 3 + number}}
    counts.add("steps", "clerk")
    wait_until(lambda: total(ledger, keys) == {"steps": {"clerk": 6}}, "a new thread adds it")
    counts.stop()


def test_there_are_only_so_many_counters(
    keys: Keys, ledger: Ledger, server: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counters, "MOST_COUNTERS", 10)
    for number in range(40):
        batch = {("steps", f"agent{number}"): 1, ("steps", "agent0"): 1}
        ledger.send(add_counts(keys, "w", number + 1, batch, is_again=False))

    found = total(ledger, keys)["steps"]
    assert server.hlen(keys.counters()) == 11
    assert found["agent0"] == 40
    assert found[""] == 30
    assert sum(found.values()) == 79


def test_a_series_has_only_so_many_fields_and_loses_no_count(
    keys: Keys, ledger: Ledger, server: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counters, "MOST_IN_SERIES", 10)
    for number in range(40):
        batch = {("steps", f"agent{number}"): 1, ("answer_peak_ms", f"agent{number}"): number}
        ledger.send(add_counts(keys, "w", number + 1, batch, is_again=False))

    assert all(server.hlen(key) <= 12 for key in server.keys(f"{keys.counters('hour')}:*"))
    found = counters.summed(series(ledger, keys, DAY))
    assert sum(found["steps"].values()) == 40
    assert max(series(ledger, keys, DAY)[-1]["answer_peak_ms"].values()) == 39


def test_of_a_peak_the_largest_is_kept_in_series_alone(keys: Keys, ledger: Ledger) -> None:
    for number, value in enumerate((7, 30, 5), 1):
        batch = {("run_peak_ms", "clerk"): value}
        ledger.send(add_counts(keys, "w", number, batch, is_again=False))

    assert total(ledger, keys) == {}
    last = [each for each in series(ledger, keys, HOUR) if each]
    assert max(each["run_peak_ms"]["clerk"] for each in last) == 30


@pytest.mark.parametrize("of", [HOUR, DAY], ids=["hour", "day"])
def test_a_series_spans_two_hashes_and_drops_what_is_older(
    of: counters.Resolution, keys: Keys, ledger: Ledger, server: redis.Redis
) -> None:
    now = ledger.send(read_series(keys, of)).now
    period, at = divmod(now, of.span_ms)
    stretch = at // of.step_ms
    halves = [keys.counters(f"{of.name}:{half}") for half in range(2)]
    # Each stretch of both halves counts its own number.
    for back in (1, 0):
        key = halves[(period - back) % 2]
        fields: dict[Any, Any] = {
            f"{n} steps clerk": (1 - back) * of.steps + n + 1 for n in range(of.steps)
        }
        server.hset(key, mapping={"period": period - back, **fields, "7 odd": 1, "x": "y"})
        server.pexpire(key, 60_000)

    found = ledger.send(read_series(keys, of))
    if found.now // of.step_ms == now // of.step_ms:
        values = [each["steps"]["clerk"] for each in found.stretches]
        assert values == list(range(stretch + 2, stretch + 2 + of.steps))
    server.hset(halves[(period - 1) % 2], "period", period - 3)
    old = of.steps - 1 - stretch
    assert [bool(each) for each in series(ledger, keys, of)][:old] == [False] * old


def test_a_half_of_a_series_that_is_over_is_begun_anew(
    keys: Keys, ledger: Ledger, server: redis.Redis
) -> None:
    for half in range(2):
        key = keys.counters(f"hour:{half}")
        server.hset(key, mapping={"period": 1 + half, "3 steps clerk": 5})
        server.pexpire(key, 60_000)

    ledger.send(add_counts(keys, "w", 1, ONE, is_again=False))

    assert counters.summed(series(ledger, keys, HOUR)) == {"steps": {"clerk": 1}}
    assert (
        sum(server.hget(keys.counters(f"hour:{half}"), "3 steps clerk") == b"5" for half in (0, 1))
        <= 1
    )
    assert all(server.pttl(keys.counters(f"hour:{half}")) > 0 for half in range(2))


def test_what_others_have_written_there_is_left_out(
    keys: Keys, ledger: Ledger, server: redis.Redis
) -> None:
    odd: dict[Any, Any] = {'steps x"} 1\n': 5, "unknown clerk": 5, "steps clerk": "many"}
    odd |= {b"\xff": 1, "steps": 2}
    server.hset(keys.counters(), mapping=odd)
    server.pexpire(keys.counters(), 60_000)
    assert total(ledger, keys) == {}

    server.hset(keys.counters(), "tool_calls clerk", 2**63 - 1)
    batch = {("tool_calls", "clerk"): 5, ("retries", "clerk"): 1}
    ledger.send(add_counts(keys, "w", 1, batch, is_again=False))
    assert total(ledger, keys)["retries"] == {"clerk": 1}


def test_each_end_is_told_once_also_where_there_are_many(
    keys: Keys, ledger: Ledger, server: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not any(ledger.send(take_ended(keys, 0)).values())
    monkeypatch.setattr(counters, "MOST_ENDED", 7)
    seconds, micros = server.time()
    now = seconds * 1000 + micros // 1000
    server.set(keys.ended(0), now - 1000, px=60_000)
    index = {each: keys.index(0, "status", each) for each in ("finished", "failed", "aborted")}
    for number in range(60):
        server.zadd(index["finished"], {f"f{number}": now - 999 + number // 3})
        server.zadd(index["failed"], {f"x{number}": now - 999 + 2 * number})
    told = list[str]()
    for _ in range(60):
        for run_ids in ledger.send(take_ended(keys, 0)).values():
            told += run_ids

    assert sorted(told) == sorted([f"{letter}{n}" for letter in "fx" for n in range(60)])


def test_ends_of_agents_that_nobody_declares_have_no_label(
    keys: Keys, ledger: Ledger, server: redis.Redis
) -> None:
    counts = Counts(keys, ledger)
    ended = EndedRuns(keys, ledger, 0, counts)
    ended.count({"clerk"}, is_last=True)
    seconds, _ = server.time()
    server.set(keys.ended(0), seconds * 1000 - 5000, px=60_000)
    for run_id, agent in (("r1", "clerk"), ("r2", 'evil"}'), ("r3", "gone")):
        record: dict[Any, Any] = {
            "agent": agent,
            "status": "failed",
            "live": "[]",
            "created": 1,
            "ended": 5,
        }
        server.hset(keys.of(run_id).run, mapping=record)
        server.pexpire(keys.of(run_id).run, 60_000)
        server.zadd(keys.index(0, "status", "failed"), {run_id: seconds * 1000 - 1000})
    ended.count({"clerk"}, is_last=True)
    counts.stop()

    assert total(ledger, keys) == {"runs_failed": {"clerk": 1, "": 2}}


def test_runs_are_told_apart_by_agent_while_that_is_cheap(
    keys: Keys, ledger: Ledger, server: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds, _ = server.time()
    for number in range(10):
        run = {f"r{number}": (seconds - 60) * 1000}
        server.zadd(keys.index(0, "status", "queued"), run)
        server.zadd(keys.index(0, "agent", "clerk" if number < 4 else "gone"), run)
    server.zadd(keys.alarms(0), {"r1": (seconds - 60) * 1000, "r2": (seconds + 60) * 1000})

    found = ledger.send(gauges(keys, 0, ["clerk", "idle"]))
    assert found.counts == [10, 0, 0, 0, 0, 0]
    assert 60_000 <= found.ages[0] < 120_000
    assert (found.ages[1:], found.overdue) == ([-1, -1], 1)
    assert found.agents == [[4, 0, 0], [0, 0, 0]]
    monkeypatch.setattr(counters, "_BUDGET", 19)
    assert ledger.send(gauges(keys, 0, ["clerk", "idle"])).agents == []
