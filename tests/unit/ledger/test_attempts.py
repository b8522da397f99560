"""How each attempt of a task ended is kept by the script that ends it: once, and not for ever."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from evented_agent.chunks.codec import encode
from evented_agent.errors import RunNotFound
from evented_agent.ledger import attempts, runs
from evented_agent.ledger.connection import Ledger
from evented_agent.ledger.keys import Keys
from evented_agent.ledger.records import Fenced, NewTask, RunEnd, Task
from evented_agent.ledger.tree_records import NewChild
from evented_agent.state.task_attempt import AttemptList, attempts_of
from tests.support.driver import Driver
from tests.support.servers import RedisServer

ERROR = {"name": "Overloaded", "message": "try later"}
ASK = encode("tool-call-suspended", "1:tool:a", {"toolCallId": "a", "toolName": "t", "args": {}})


@pytest.fixture
def driver(redis_server: RedisServer) -> Iterator[Driver]:
    ledger = Ledger(redis_server.url)
    keys = Keys("kept-attempts")
    yield Driver(ledger, keys)
    for key in ledger.client().keys(f"{keys.prefix}:*"):
        ledger.client().delete(key)
    ledger.close()


def kept(driver: Driver, run_id: str = "r") -> AttemptList:
    return attempts_of(driver.ledger.send(runs.read_attempts(driver.keys, run_id)))


def ways(driver: Driver, run_id: str = "r") -> list[tuple[str, int, str | None]]:
    return [(each.task, each.attempt, each.outcome) for each in kept(driver, run_id)]


def tool(call: str = "a", **policy: Any) -> NewTask:
    return NewTask(f"1:tool:{call}", "tool", 1, call, "t", policy={"expiry": 60_000, **policy})


def tool_task(driver: Driver, **policy: Any) -> Task:
    """A tool call that runs, of a run whose model asked for it."""
    driver.create("r")
    driver.committed(driver.granted("r"), entries=["{}"], next=[tool(**policy)])
    return driver.granted("r", "1:tool:a", "tool")


def commits(driver: Driver, task: Task) -> None:
    driver.commit(task, entries=["{}"])


def fails(driver: Driver, task: Task) -> None:
    driver.commit(task, finish=RunEnd("failed", "error", ERROR))


def asks(driver: Driver, task: Task) -> None:
    call = attempts.suspend(driver.keys, task, sent=0, chunks=[], ask=ASK, asked="{}")
    driver.ledger.send(call)


def spawns(driver: Driver, task: Task) -> None:
    child = NewChild(agent="a", tool_limit=2, messages="[]")
    driver.ledger.send(attempts.spawn(driver.keys, task, sent=0, chunks=[], child=child))


def retries(driver: Driver, task: Task) -> None:
    change = {"tries": 1}
    driver.ledger.send(
        attempts.requeue(driver.keys, task, delay_ms=60_000, reason="429", change=change)
    )


def waits(driver: Driver, task: Task) -> None:
    change = {"waited": 1}
    driver.ledger.send(
        attempts.requeue(driver.keys, task, delay_ms=60_000, reason="a place", change=change)
    )


def is_released(driver: Driver, _: Task) -> None:
    driver.ledger.send(attempts.release(driver.keys, "r", worker="w1", reason="shutdown"))


def crashes(driver: Driver, task: Task) -> None:
    with suppress(Fenced):
        driver.expire(task)
    driver.reconcile("r")


def is_aborted(driver: Driver, _: Task) -> None:
    driver.ledger.send(runs.abort(driver.keys, "r", reason="enough"))
    driver.ledger.send(attempts.release(driver.keys, "r", worker="w1", reason="aborted"))


def is_cancelled(driver: Driver, _: Task) -> None:
    driver.ledger.send(runs.cancel(driver.keys, "r", call="a", reason="not wanted"))


def is_fenced_after_an_abort(driver: Driver, task: Task) -> None:
    """It ignores the abort until a watchdog ends the run without it."""
    driver.ledger.send(runs.abort(driver.keys, "r", reason="enough"))
    client, key = driver.ledger.client(), driver.keys.of("r").run
    with suppress(Fenced):
        client.hset(key, "abort_at", 1)
        driver.reconcile("r")
        driver.say(task, "too late", sent=0)


def fails_beside(driver: Driver, _: Task) -> None:
    """Another call of the step fails the run."""
    with suppress(AssertionError):
        fails(driver, driver.granted("r", "1:tool:b", "other"))


@pytest.mark.parametrize(
    ("end", "outcome", "reason", "policy"),
    [
        (commits, "committed", None, {}),
        (fails, "failed", "Overloaded: try later", {}),
        (asks, "suspended", "suspension", {}),
        (spawns, "spawned", "~1", {}),
        (retries, "retried", "429", {}),
        (waits, "waited", "a place", {}),
        (is_released, "released", "shutdown", {}),
        (is_released, "released", "shutdown", {"on_crash": "fail"}),
        (is_released, "released", "shutdown", {"on_crash": "ask"}),
        (crashes, "crashed", None, {}),
        (crashes, "crashed", None, {"on_crash": "fail"}),
        (crashes, "crashed", None, {"on_crash": "ask"}),
        (crashes, "timed_out", None, {"timeout": 0}),
        (is_aborted, "aborted", "enough", {}),
        (is_fenced_after_an_abort, "aborted", "enough", {}),
        (is_cancelled, "cancelled", "not wanted", {"bg": "awaited"}),
        (fails_beside, "dropped", "Its run has failed.", {}),
    ],
)
def test_each_end_of_an_attempt_is_kept_once(
    driver: Driver,
    end: Callable[[Driver, Task], None],
    outcome: str,
    reason: str | None,
    policy: dict[str, Any],
) -> None:
    driver.create("r")
    driver.committed(driver.granted("r"), entries=["{}"], next=[tool(**policy), tool("b")])
    task = driver.granted("r", "1:tool:a", "tool")

    for _ in range(2):
        # The reply to the first may have been lost.
        with suppress(Fenced):
            end(driver, task)

    [found] = [each for each in kept(driver) if each.task == "1:tool:a" and each.ended_at]
    assert (found.attempt, found.outcome, found.reason) == (1, outcome, reason)
    assert (found.kind, found.step, found.tool_name, found.tool_call_id) == ("tool", 1, "t", "a")
    assert (found.worker, found.celery_id) == ("w1/1", "r:1:tool:a:1")
    assert found.queued_at is not None
    assert found.started_at is not None
    assert found.queued_at <= found.started_at
    assert found.seconds is not None


def test_attempts_that_run_or_are_queued_come_last(driver: Driver) -> None:
    task = tool_task(driver)
    assert ways(driver) == [("1:model", 1, "committed"), ("1:tool:a", 1, None)]
    crashes(driver, task)

    crashed, queued = kept(driver)[1:]
    assert (crashed.outcome, queued.outcome) == ("crashed", None)
    assert (queued.attempt, queued.started_at, queued.worker) == (2, None, None)
    assert queued.queued_at
    assert crashed.ended_at
    assert queued.queued_at >= crashed.ended_at


def test_the_end_of_a_step_ran_in_the_celery_task_of_its_last_commit(driver: Driver) -> None:
    task = tool_task(driver)
    end = driver.committed(task, entries=["{}"]).end
    assert end is not None
    driver.committed(end.task, finish=RunEnd("finished", "stop"))

    last = kept(driver)[-1]
    assert (last.task, last.outcome, last.celery_id) == ("1:end", "committed", "r:1:tool:a:1")
    assert last.queued_at is None


def test_attempts_of_a_child_name_it_and_are_dropped_with_it(driver: Driver) -> None:
    spawns(driver, tool_task(driver, bg="awaited"))
    driver.granted("r", "~1/1:model", "child")
    driver.ledger.send(runs.cancel(driver.keys, "r", call="a", reason="not wanted"))

    [found] = [each for each in kept(driver, "r~1") if each.kind == "model"]
    assert (found.run_id, found.task, found.outcome) == ("r~1", "1:model", "dropped")
    assert found.celery_id == "r:~1/1:model:1"
    assert found in kept(driver)
    assert [each.run_id for each in kept(driver, "r")][:2] == ["r", "r"]
    with pytest.raises(RunNotFound):
        kept(driver, "r~2")


def test_a_run_that_only_waits_keeps_its_story(driver: Driver) -> None:
    task = tool_task(driver)
    for n in range(4):
        change = {"waited": n + 1}
        call = attempts.requeue(driver.keys, task, delay_ms=0, reason="a place", change=change)
        driver.ledger.send(call)
        task = driver.granted("r", "1:tool:a", f"t{n}")
    crashes(driver, task)

    assert ways(driver)[:-1] == [
        ("1:model", 1, "committed"),
        ("1:tool:a", 4, "waited"),
        ("1:tool:a", 5, "crashed"),
    ]


def test_a_run_keeps_its_last_500_attempts_and_says_how_many_it_had(driver: Driver) -> None:
    task = tool_task(driver)
    for n in range(503):
        call = attempts.requeue(driver.keys, task, delay_ms=0, reason="no", change={"tries": n})
        driver.ledger.send(call)
        task = driver.granted("r", "1:tool:a", f"t{n}")

    found = kept(driver)
    assert (len(found), found.left_out) == (501, 4)
    assert [each.attempt for each in found] == [*range(4, 504), 504]
    tasks: Any = driver.ledger.client().hkeys(driver.keys.of("r").tasks)
    assert len([name for name in tasks if name.startswith(b"attempt:")]) == 500


def test_a_retry_of_a_failed_run_goes_on_with_its_attempts(driver: Driver) -> None:
    fails(driver, tool_task(driver))
    driver.ledger.send(runs.retry_failed(driver.keys, "r", notifies=True))
    commits(driver, driver.granted("r", "1:tool:a", "again"))

    assert ways(driver)[1:3] == [("1:tool:a", 1, "failed"), ("1:tool:a", 2, "committed")]


def test_attempts_expire_and_are_deleted_with_their_run(driver: Driver) -> None:
    commits(driver, tool_task(driver))
    fails(driver, driver.granted("r", "1:end", "end-1:tool:a"))
    client, keys = driver.ledger.client(), driver.keys.of("r")
    assert client.hexists(keys.tasks, "attempt:3")
    assert 0 < int(client.pttl(keys.tasks)) <= 20_000

    driver.ledger.send(runs.delete(driver.keys, "r", indexes=[("all", "")], tombstone_ms=9000))

    assert set(client.hgetall(keys.run)) == {b"deleted", b"deleted_by"}
    assert not client.exists(keys.tasks)


def test_a_long_reason_is_cut_between_characters(driver: Driver) -> None:
    task = tool_task(driver)
    for reason in ("x" * 299 + "€uro", "x" * 300):
        call = attempts.requeue(driver.keys, task, delay_ms=0, reason=reason, change={"tries": 1})
        driver.ledger.send(call)
        task = driver.granted("r", "1:tool:a", reason[-1:])

    assert [each.reason for each in kept(driver)[1:3]] == ["x" * 299 + "…", "x" * 300]


@pytest.mark.parametrize(
    "entry",
    [
        b"\xff{",
        b"[]",
        b'{"key":"1:model"}',
        b'{"key":"1:model","kind":"model","step":1,"gen":1,"began":1e300}',
        b'{"key":"1:model","kind":"model","step":"x","gen":1}',
    ],
)
def test_an_entry_that_cannot_be_read_is_left_out(driver: Driver, entry: bytes) -> None:
    tool_task(driver)
    driver.ledger.client().hset(driver.keys.of("r").tasks, "attempt:1", entry)

    found = kept(driver)
    assert ([each.task for each in found], found.left_out) == (["1:tool:a"], 1)


def test_what_another_version_wrote_is_read_as_far_as_it_goes(driver: Driver) -> None:
    tool_task(driver)
    entry = {"key": "9:judge", "kind": "judge", "step": 9, "gen": 2, "how": "juggled", "owner": 7}
    driver.ledger.client().hset(driver.keys.of("r").tasks, "attempt:1", json.dumps(entry))

    [found] = [each for each in kept(driver) if each.task == "9:judge"]
    assert (found.kind, found.outcome, found.worker, found.ended_at) == (
        "judge",
        "juggled",
        None,
        None,
    )
