"""The scripts of trees of runs, made to err at each of their steps: what holds of a run alone."""

from collections.abc import Iterator
from typing import Any

import pytest

from evented_agent.chunks.codec import encode
from evented_agent.ledger import attempts, runs
from evented_agent.ledger.connection import Ledger
from evented_agent.ledger.keys import Keys
from evented_agent.ledger.script import Command
from tests.protocol.script_faults import (
    Prepare,
    ends_when_aborted,
    errs_before_its_first_write,
    goes_on_when_called_again,
    reconciling,
    resuming,
)
from tests.support.driver import message
from tests.support.servers import RedisServer
from tests.support.trees import (
    TreeDriver,
    committing,
    fail_work,
    finish_work,
    new_call,
    spawning,
    turn_work,
)


@pytest.fixture
def driver(redis_server: RedisServer) -> Iterator[TreeDriver]:
    ledger = Ledger(redis_server.url)
    keys = Keys("tree-faults")
    yield TreeDriver(ledger, keys)
    for key in ledger.client().keys(f"{keys.prefix}:*"):
        ledger.client().delete(key)
    ledger.close()


# A scripted life, up to the call that is made to err ------------------------------------------


def begun(driver: TreeDriver, run_id: str, **policy: object) -> None:
    """A run whose call is answered by a child that is about to begin."""
    driver.create(run_id, tells="failed suspended")
    driver.spawned(run_id, "", "a", **policy)


def deep(driver: TreeDriver, run_id: str, **policy: object) -> None:
    """A child of a child is to begin; another call of the first child is under way, and speaks."""
    begun(driver, run_id, **policy)
    driver.asks(run_id, "~1", new_call("~1", "a"), new_call("~1", "b", bg="deferred"))
    driver.spawn(driver.attempt(run_id, "~1/1:tool:a"))
    driver.say(driver.attempt(run_id, "~1/1:tool:b"), "half", 0)


def asked(driver: TreeDriver, run_id: str) -> None:
    """A person is asked about a call of the child's, and nothing else is to be done."""
    begun(driver, run_id)
    driver.asks(run_id, "~1", new_call("~1", "a", asks=True))


def spawned(driver: TreeDriver, run_id: str) -> Command[Any]:
    driver.create(run_id)
    driver.asks(run_id, "", new_call("", "a"))
    return spawning(driver.keys, driver.attempt(run_id, "1:tool:a"))


def a_childs_calls(driver: TreeDriver, run_id: str) -> Command[Any]:
    begun(driver, run_id)
    task = driver.attempt(run_id, "~1/1:model")
    calls = [
        new_call("~1", "a"),
        new_call("~1", "b", asks=True),
        new_call("~1", "c", bg="deferred"),
        new_call("~1", "d"),
    ]
    return committing(driver.keys, task, turn_work(task, *calls, usage={"input_tokens": 2}))


def a_childs_end(driver: TreeDriver, run_id: str) -> Command[Any]:
    begun(driver, run_id)
    end = driver.says_stop(run_id, "~1")
    return committing(driver.keys, end, finish_work(end, driver.answers(run_id, "~1")))


def a_childs_end_with_more_below(driver: TreeDriver, run_id: str) -> Command[Any]:
    """What goes on of the child, and below it, is put away."""
    deep(driver, run_id)
    driver.finishes(run_id, "~1~1")
    end = driver.attempt(run_id, "~1/1:end")
    return committing(driver.keys, end, finish_work(end, driver.answers(run_id, "~1")))


def a_childs_failure(driver: TreeDriver, run_id: str) -> Command[Any]:
    begun(driver, run_id)
    task = driver.attempt(run_id, "~1/1:model")
    return committing(driver.keys, task, fail_work(task))


def a_childs_crash(driver: TreeDriver, run_id: str) -> Command[Any]:
    deep(driver, run_id)
    task = driver.attempt(run_id, "~1~1/1:model")
    driver.say(task, "half", 0)
    driver.expire(task)
    return reconciling(driver, run_id)


def a_childs_last_crash(driver: TreeDriver, run_id: str) -> Command[Any]:
    begun(driver, run_id)
    for number in range(4):
        driver.expire(driver.granted(run_id, "~1/1:model", f"t{number}"))
        driver.ledger.send(reconciling(driver, run_id))
    driver.expire(driver.granted(run_id, "~1/1:model"))
    return reconciling(driver, run_id)


def aborted(driver: TreeDriver, run_id: str) -> Command[Any]:
    asked(driver, run_id)
    return runs.abort(driver.keys, run_id, reason="enough")


def aborted_at_work(driver: TreeDriver, run_id: str) -> Command[Any]:
    deep(driver, run_id)
    return runs.abort(driver.keys, run_id, reason="enough")


def _failed(driver: TreeDriver, run_id: str, *asking: str) -> Command[Any]:
    """The run fails while its child works on the other call, or waits for a person."""
    driver.create(run_id)
    driver.asks(run_id, "", new_call("", "a"), new_call("", "b"))
    driver.spawn(driver.attempt(run_id, "1:tool:a"))
    if asking:
        driver.asks(run_id, "~1", *(new_call("~1", each, asks=True) for each in asking))
    else:
        driver.say(driver.attempt(run_id, "~1/1:model"), "half", 0)
    task = driver.attempt(run_id, "1:tool:b")
    driver.work(task, fail_work(task))
    return runs.retry_failed(driver.keys, run_id, notifies=True)


def retried_with_a_child_at_work(driver: TreeDriver, run_id: str) -> Command[Any]:
    return _failed(driver, run_id)


def retried_with_a_child_that_asks(driver: TreeDriver, run_id: str) -> Command[Any]:
    return _failed(driver, run_id, "a")


def decided(driver: TreeDriver, run_id: str) -> Command[Any]:
    asked(driver, run_id)
    [task] = [each for each in driver.read(run_id).tasks if each.state == "suspended"]
    return resuming(driver, task, "approved")


def settled(driver: TreeDriver, run_id: str) -> Command[Any]:
    asked(driver, run_id)
    [task] = [each for each in driver.read(run_id).tasks if each.state == "suspended"]
    return resuming(driver, task, "settle")


def cancelled(driver: TreeDriver, run_id: str) -> Command[Any]:
    deep(driver, run_id, bg="deferred")
    return runs.cancel(driver.keys, run_id, call="a", reason="enough")


def over_due(driver: TreeDriver, run_id: str) -> Command[Any]:
    deep(driver, run_id, timeout=0)
    return reconciling(driver, run_id)


def released(driver: TreeDriver, run_id: str) -> Command[Any]:
    deep(driver, run_id)
    return attempts.release(driver.keys, run_id, token="t-~1/1:tool:b", reason="shutdown")


def suspended(driver: TreeDriver, run_id: str) -> Command[Any]:
    begun(driver, run_id)
    driver.asks(run_id, "~1", new_call("~1", "a"))
    task = driver.attempt(run_id, "~1/1:tool:a")
    about = {"toolCallId": task.call, "toolName": "look"}
    ask = encode("tool-call-suspended", task.key, about)
    return attempts.suspend(driver.keys, task, sent=0, chunks=[], ask=ask, asked='{"payload":{}}')


def declined(driver: TreeDriver, run_id: str) -> Command[Any]:
    asked(driver, run_id)
    new = message("m", waits="decline", by='"ann"')
    return runs.put_message(driver.keys, run_id, new, notifies=True)


def written_to(driver: TreeDriver, run_id: str) -> Command[Any]:
    """The call whose child asks a person is put off."""
    asked(driver, run_id)
    return runs.put_message(driver.keys, run_id, message("m"), notifies=True)


def deleted(driver: TreeDriver, run_id: str) -> Command[Any]:
    deep(driver, run_id)
    return runs.delete(driver.keys, run_id, indexes=[("all", "")], tombstone_ms=1000)


LIFE: dict[str, Prepare] = {
    "spawn": spawned,
    "commit with calls": a_childs_calls,
    "commit that finishes a child": a_childs_end,
    "commit that finishes a child with more below": a_childs_end_with_more_below,
    "commit that fails a child": a_childs_failure,
    "reconcile: a crash": a_childs_crash,
    "reconcile: the last crash": a_childs_last_crash,
    "reconcile: the time of a call is over": over_due,
    "abort: nothing runs": aborted,
    "abort: something runs": aborted_at_work,
    "retry_failed: a child works": retried_with_a_child_at_work,
    "retry_failed: a child asks": retried_with_a_child_that_asks,
    "resume: approved": decided,
    "resume: settled": settled,
    "cancel": cancelled,
    "release": released,
    "suspend": suspended,
    "send: declines": declined,
    "send: while a child asks": written_to,
    "delete": deleted,
}
every_life = pytest.mark.parametrize("prepare", LIFE.values(), ids=LIFE)


@every_life
def test_all_that_can_err_about_a_tree_comes_before_the_first_write(
    driver: TreeDriver, prepare: Prepare
) -> None:
    errs_before_its_first_write(driver, prepare)


@every_life
def test_a_tree_whose_script_died_half_way_goes_on_and_stays_readable(
    driver: TreeDriver, prepare: Prepare
) -> None:
    goes_on_when_called_again(driver, prepare, leaves_a_run=prepare is not deleted)


@every_life
def test_a_tree_whose_script_died_half_way_and_was_not_called_again_ends_when_aborted(
    driver: TreeDriver, prepare: Prepare
) -> None:
    # A retry that died has taken the end back: only the retry itself brings it again.
    if "retried" not in prepare.__name__ and prepare is not deleted:
        ends_when_aborted(driver, prepare)
