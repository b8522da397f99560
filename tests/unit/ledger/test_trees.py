"""The scripts of trees of runs, called directly: calls that child runs answer."""

import json
from collections.abc import Iterator

import pytest

from evented_agent.chunks import Child, MessageDropped, StepReset
from evented_agent.errors import RunDeleted
from evented_agent.ledger import attempts, runs, watch
from evented_agent.ledger.connection import Ledger
from evented_agent.ledger.keys import Keys
from evented_agent.ledger.records import (
    FORMAT,
    Claim,
    Decision,
    Fenced,
    Refused,
    Task,
    Work,
)
from evented_agent.ledger.tree_records import TreeFull
from tests.support.driver import WORKER, cluster_server, message
from tests.support.servers import RedisServer
from tests.support.trees import (
    TreeDriver,
    committing,
    fail_work,
    finish_work,
    new_call,
    result_work,
    spawning,
    turn_work,
)

APPROVED = Decision("approved", "approved", "{}")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with cluster_server(tmp_path_factory.mktemp("cluster")) as server:
        yield server


@pytest.fixture(params=["a server", "a cluster"])
def driver(
    request: pytest.FixtureRequest, redis_server: RedisServer, cluster: RedisServer
) -> Iterator[TreeDriver]:
    is_cluster = request.param == "a cluster"
    ledger = Ledger(cluster.url if is_cluster else redis_server.url)
    keys = Keys("tree-scripts", 5 if is_cluster else 1)
    yield TreeDriver(ledger, keys)
    for key in ledger.client().keys(f"{keys.prefix}:*"):
        ledger.client().delete(key)
    ledger.close()


def stored(driver: TreeDriver) -> list[object]:
    """All that Redis holds of the run, and when it rings."""
    client, keys = driver.ledger.client(), driver.keys.of("r")
    scores = [client.zscore(key, "r") for key in (keys.alarms, keys.bells, *keys.statuses)]
    return [*(client.dump(key) for key in keys.own[:5]), *scores]


def change(driver: TreeDriver, key: str, **fields: object) -> None:
    """Change what is stored of a task, or of a child."""
    tasks, client = driver.keys.of("r").tasks, driver.ledger.client()
    client.hset(tasks, key, json.dumps({**json.loads(client.hget(tasks, key) or ""), **fields}))


def statuses(driver: TreeDriver) -> list[str]:
    """The status of the run, and those of its children."""
    record = driver.read()
    return [driver.read(each).fields["status"] for each in ("r", *record.children)]


def approve(driver: TreeDriver, call: str) -> None:
    call_ = runs.resume(driver.keys, "r", call=call, number=0, decision=APPROVED, notifies=True)
    driver.ledger.send(call_)


def chain(driver: TreeDriver, depth: int) -> str:
    """A run, its child, the child of that …: the last of them."""
    driver.create("r")
    branch = ""
    for _ in range(depth):
        branch = driver.spawned("r", branch, "a")
    return branch


# How a child begins ---------------------------------------------------------------------------


def test_a_repeated_spawn_gets_the_same_answer(driver: TreeDriver) -> None:
    driver.create("r")
    driver.asks("r", "", new_call("", "a"))
    task = driver.attempt("r", "1:tool:a")
    first = driver.spawn(task)
    before = stored(driver)

    assert [due.key for due in first.sends] == ["~1/1:model"]
    assert driver.spawn(task) == first
    assert stored(driver) == before
    driver.attempt("r", "~1/1:model")
    assert driver.spawn(task).sends == []
    assert list(driver.read().children) == ["r~1"]


def test_an_attempt_that_lost_its_call_makes_no_child(driver: TreeDriver) -> None:
    driver.create("r")
    driver.asks("r", "", new_call("", "a"))
    task = driver.attempt("r", "1:tool:a")
    driver.expire(task)
    driver.reconcile("r")
    before = stored(driver)

    with pytest.raises(Fenced):
        driver.spawn(task)
    assert stored(driver) == before


@pytest.mark.parametrize("limit", ["depth", "children", "live"])
def test_a_tree_that_is_full_refuses_a_child_and_writes_nothing(
    driver: TreeDriver, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    name = {"depth": "MOST_DEPTH", "children": "MOST_CHILDREN", "live": "MOST_LIVE_CHILDREN"}
    monkeypatch.setattr(attempts, name[limit], 2)
    branch = chain(driver, 2)
    driver.asks("r", branch, new_call(branch, "a"))
    task = driver.attempt("r", f"{branch}/1:tool:a")
    before = stored(driver)

    assert driver.refused(task) == TreeFull(limit)  # type: ignore[arg-type]
    assert stored(driver) == before
    driver.work(task, result_work(task))


def test_children_that_have_ended_count_among_all_but_not_among_the_live(
    driver: TreeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "MOST_LIVE_CHILDREN", 1)
    driver.create("r")
    driver.asks("r", "", new_call("", "a"), new_call("", "b"))
    first, second = (driver.attempt("r", f"1:tool:{call}") for call in "ab")
    driver.spawn(first)
    assert driver.refused(second) == TreeFull("live")
    driver.finishes("r", "~1")
    monkeypatch.setattr(attempts, "MOST_CHILDREN", 1)
    assert driver.refused(second) == TreeFull("children")
    monkeypatch.undo()

    driver.spawn(second)

    assert list(driver.read().children) == ["r~1", "r~2"]


def test_the_first_child_raises_the_format_and_older_workers_are_refused(
    driver: TreeDriver,
) -> None:
    driver.create("r")
    assert driver.read().fields["v"] == "1"
    driver.spawned("r", "", "a")
    claim = attempts.claim(
        driver.keys, "r", "~1/1:model", token="t", worker=WORKER, newest=2, agents=["a"]
    )

    assert driver.read().fields["v"] == str(FORMAT) == "3"
    assert driver.ledger.send(claim) == Refused("newer")
    assert driver.alarm("r") is not None


def test_a_spawn_in_a_run_that_is_being_aborted_ends_it(driver: TreeDriver) -> None:
    driver.create("r")
    driver.asks("r", "", new_call("", "a"))
    task = driver.attempt("r", "1:tool:a")
    driver.ledger.send(runs.abort(driver.keys, "r", reason=None))

    assert driver.spawn(task).aborted
    assert statuses(driver) == ["aborted"]


# While it is under way ------------------------------------------------------------------------


def test_what_a_child_uses_all_above_it_have_used(driver: TreeDriver) -> None:
    branch = chain(driver, 3)
    task = driver.attempt("r", f"{branch}/1:model")
    work = turn_work(task, usage={"input_tokens": 5, "output_tokens": 2})
    first = driver.work(task, work)
    # The reply was lost.
    assert driver.work(task, work) == first

    root = json.loads(driver.read().fields["usage"])
    used = [json.loads(driver.child("r", each)["usage"]) for each in ("~1", "~1~1", branch)]
    assert [root, *used] == [{"input_tokens": 5, "output_tokens": 2}] * 4


def test_a_run_is_suspended_only_if_all_that_goes_on_in_its_tree_waits(
    driver: TreeDriver,
) -> None:
    driver.create("r")
    driver.asks("r", "", new_call("", "a"), new_call("", "b"))
    for call in "ab":
        driver.spawn(driver.attempt("r", f"1:tool:{call}"))
    driver.asks("r", "~1", new_call("~1", "a", asks=True))
    assert statuses(driver) == ["running", "suspended", "running"]

    driver.asks("r", "~2", new_call("~2", "a", asks=True))
    assert statuses(driver) == ["suspended"] * 3
    assert driver.types("r")[-1] == "run-waiting"

    approve(driver, "~2/a")
    assert statuses(driver) == ["running", "suspended", "running"]


def test_places_are_handed_on_where_children_begin_to_wait(driver: TreeDriver) -> None:
    driver.create("r")
    driver.asks("r", "", *(new_call("", call) for call in "abcd"))
    for branch, call in (("~1", "a"), ("~2", "b")):
        driver.spawn(driver.attempt("r", f"1:tool:{call}"))
        driver.asks("r", branch, new_call(branch, "a", on_crash="ask"))
    for branch in ("~1", "~2"):
        driver.attempt("r", f"{branch}/1:tool:a")
    assert driver.claim("r", "1:tool:c") == Refused("busy")

    sends = driver.ledger.send(attempts.release(driver.keys, "r", worker="w1", reason="shutdown"))

    assert [due.key for due in sends] == ["1:tool:c", "1:tool:d"]


def test_a_childs_calls_have_places_of_their_own(driver: TreeDriver) -> None:
    driver.create("r")
    driver.spawned("r", "", "a")
    done = driver.asks("r", "~1", *(new_call("~1", call) for call in "abc"))

    assert [due.key for due in done.sends] == ["~1/1:tool:a", "~1/1:tool:b"]
    task = driver.attempt("r", "~1/1:tool:a")
    assert [due.key for due in driver.work(task, result_work(task)).sends] == ["~1/1:tool:c"]


def test_the_alarm_is_the_earliest_of_the_tree(driver: TreeDriver) -> None:
    driver.create("r")
    driver.asks("r", "", new_call("", "a", timeout=50_000), new_call("", "b"))
    call = driver.attempt("r", "1:tool:a")
    driver.spawn(call)
    driver.spawn(driver.attempt("r", "1:tool:b"))
    driver.asks("r", "~1", new_call("~1", "a", asks=True, expiry=40_000))
    [asking] = [task for task in driver.read().tasks if task.state == "suspended"]
    client, keys = driver.ledger.client(), driver.keys.of("r")

    def alarm_in() -> float:
        driver.reconcile("r")
        return float(client.zscore(keys.alarms, "r") or 0) - driver.read().now

    assert asking.suspended is not None
    # A warning comes a tenth of the time before the expiry.
    assert 30_000 < alarm_in() <= 36_000
    lease = driver.attempt("r", "~2/1:model")
    assert 0 < alarm_in() <= WORKER.lease_ms
    driver.work(lease, turn_work(lease, new_call("~2", "a", asks=True)))
    approve(driver, "~1/a")
    approve(driver, "~2/a")
    assert 40_000 < alarm_in() <= 50_000


def test_a_clock_that_went_back_gives_a_child_no_more_time(driver: TreeDriver) -> None:
    driver.create("r")
    driver.spawned("r", "", "a", timeout=50_000)
    change(driver, "1:tool:a", due=driver.read().now + 600_000)

    driver.reconcile("r")

    alarm = driver.ledger.client().zscore(driver.keys.of("r").alarms, "r")
    assert alarm is not None
    assert float(alarm) - driver.read().now <= 50_000


def test_idle_time_begins_anew_when_a_person_lets_a_child_go_on(driver: TreeDriver) -> None:
    driver.create("r")
    done = driver.asks("r", "", new_call("", "a", bg="deferred"))
    driver.spawn(driver.attempt("r", "1:tool:a"))
    driver.asks("r", "~1", new_call("~1", "a", asks=True))
    driver.ledger.send(watch.wake(driver.keys, "r"))
    end = driver.attempt("r", "1:end") if done.end is None else done.end.task
    driver.work(end, Work(entries=["{}"], idle_ms=30_000))
    driver.ledger.client().hset(driver.keys.of("r").run, "idle", 1)

    approve(driver, "~1/a")

    driver.reconcile("r")
    assert driver.states()["1:tool:a"] == "child"
    assert float(driver.read().fields["idle"]) > driver.read().now
    assert not [key for key in driver.states() if key.startswith("1:end")]


def test_idle_time_is_over_for_no_call_whose_child_only_asks(driver: TreeDriver) -> None:
    driver.create("r")
    driver.asks(
        "r",
        "",
        new_call("", "a", bg="deferred"),
        new_call("", "b", bg="deferred"),
        new_call("", "c"),
    )
    driver.spawn(driver.attempt("r", "1:tool:a"))
    driver.asks("r", "~1", new_call("~1", "a", asks=True))
    driver.attempt("r", "1:tool:b")
    last = driver.attempt("r", "1:tool:c")
    end = driver.work(last, result_work(last)).end
    assert end is not None
    driver.work(end.task, Work(entries=["{}"], idle_ms=30_000))
    driver.ledger.client().hset(driver.keys.of("r").run, "idle", 1)
    driver.reconcile("r")
    [key] = [key for key in driver.states() if ":end" in key]

    late = driver.attempt("r", key)
    assert (late.is_idle_over, late.late) == (True, ("b",))
    driver.work(late, Work(entries=["{}"], drops=["b"], idle_ms=30_000))
    assert driver.states() == {"1:tool:a": "child", "~1/1:tool:a": "suspended"}


def test_a_message_to_the_run_outlives_its_child(driver: TreeDriver) -> None:
    driver.create("r")
    driver.spawned("r", "", "a")
    driver.put("r", "m")

    driver.finishes("r", "~1")

    assert not [chunk for chunk in driver.chunks("r") if isinstance(chunk, MessageDropped)]
    assert [each[1] for each in json.loads(driver.read().fields["inbox"])] == ["m"]


# How it ends ----------------------------------------------------------------------------------


def busy_child(driver: TreeDriver) -> tuple[Task, Task]:
    """A child that is about to end, a call of its own that speaks, and a child below it."""
    driver.create("r")
    driver.spawned("r", "", "a")
    calls = [new_call("~1", call, bg="deferred") for call in "ab"]
    done = driver.asks("r", "~1", *calls)
    assert done.end is not None
    driver.spawn(driver.attempt("r", "~1/1:tool:a"))
    speaking = driver.attempt("r", "~1/1:tool:b")
    driver.say(speaking, "half", 0)
    return done.end.task, speaking


def child_types(driver: TreeDriver, run_id: str) -> list[str]:
    return [
        chunk.payload.type
        for chunk in driver.chunks("r")
        if isinstance(chunk, Child) and chunk.payload.run_id == run_id
    ]


@pytest.mark.parametrize("how", ["finish", "error"])
def test_nothing_of_a_child_goes_on_after_its_end(driver: TreeDriver, how: str) -> None:
    end, speaking = busy_child(driver)
    below = driver.attempt("r", "~1~1/1:model")
    call = driver.answers("r", "~1")

    driver.work(end, finish_work(end, call) if how == "finish" else fail_work(end))

    assert child_types(driver, "r~1")[-2:] == ["text-end", how]
    assert driver.states() == {"1:end": "queued"}
    assert statuses(driver) == ["running", "finished" if how == "finish" else "failed", "aborted"]
    before = stored(driver)
    for task, sent in ((speaking, 2), (below, 0)):
        for act in (
            lambda: driver.say(task, "more", sent),  # noqa: B023
            lambda: driver.commit(task, sent),  # noqa: B023
            lambda: driver.expire(task),  # noqa: B023
            lambda: driver.ledger.send(spawning(driver.keys, task, sent=sent)),  # noqa: B023
        ):
            with pytest.raises(Fenced):
                act()
    assert driver.claim("r", "~1/1:tool:b") == Refused("stale")
    assert stored(driver) == before
    [result] = [each for each in driver.entries("r") if each["k"] == "result"]
    assert ("error" in result) == (how == "error")


def test_a_childs_last_crash_closes_what_is_open_before_it_says_so(driver: TreeDriver) -> None:
    end, _ = busy_child(driver)
    change(driver, end.key, crashes=4, lease=1)

    driver.reconcile("r")

    assert child_types(driver, "r~1")[-2:] == ["text-end", "error"]
    assert statuses(driver) == ["running", "failed", "aborted"]


def test_a_childs_end_is_written_once_and_answers_its_call(driver: TreeDriver) -> None:
    driver.create("r")
    driver.spawned("r", "", "a")
    end = driver.says_stop("r", "~1")
    work = finish_work(end, driver.answers("r", "~1"))
    first = driver.work(end, work)
    before = stored(driver)

    assert driver.work(end, work) == first
    assert stored(driver) == before
    assert [due.key for due in first.sends] == ["1:end"]
    assert len(driver.entries("r")) == 2
    assert len(driver.entries("r", "~1")) == driver.child("r", "~1")["entries"] == 1


def test_the_time_of_a_call_ends_its_child(driver: TreeDriver) -> None:
    driver.create("r")
    driver.spawned("r", "", "a", timeout=50_000)
    driver.spawned("r", "~1", "a")
    task = driver.attempt("r", "~1~1/1:model")
    change(driver, "1:tool:a", due=1)

    sends = driver.reconcile("r").sends

    assert [due.key for due in sends] == ["1:end"]
    assert statuses(driver) == ["running", "aborted", "aborted"]
    with pytest.raises(Fenced):
        driver.commit(task)


def test_an_abort_waits_for_what_runs_anywhere_in_the_tree(driver: TreeDriver) -> None:
    branch = chain(driver, 2)
    task = driver.attempt("r", f"{branch}/1:model")
    driver.ledger.send(runs.abort(driver.keys, "r", reason="why"))
    assert statuses(driver) == ["running"] * 3

    assert driver.say(task, "half", 0) == "aborted"
    assert driver.committed(task, 2).aborted

    assert statuses(driver) == ["aborted"] * 3
    assert driver.types("r")[-1] == "abort"
    assert driver.alarm("r") is None


@pytest.mark.parametrize("has_spoken", [True, False], ids=["it had spoken", "it had said nothing"])
def test_a_retry_says_first_in_the_run_itself_what_it_takes_back(
    driver: TreeDriver, has_spoken: bool
) -> None:
    driver.create("r")
    driver.asks("r", "", new_call("", "a"), new_call("", "b"))
    driver.spawn(driver.attempt("r", "1:tool:a"))
    driver.say(driver.attempt("r", "~1/1:model"), "half", 0)
    task = driver.attempt("r", "1:tool:b")
    sent = 2 if has_spoken else 0
    if has_spoken:
        driver.say(task, "half", 0)
    driver.work(task, fail_work(task), sent)
    last = driver.chunks("r")[-1]
    assert last.type == "error"
    # The children of a run that has failed have failed with it.
    assert statuses(driver) == ["failed", "failed"]

    driver.ledger.send(runs.retry_failed(driver.keys, "r", notifies=True))

    own, inside = driver.chunks("r")[-2:]
    assert isinstance(own, StepReset)
    assert own.seq == last.seq
    assert own.payload.error is not None
    assert isinstance(inside, Child)
    assert inside.payload.type == "step-reset"
    assert "error" not in inside.payload.payload
    chunks = driver.chunks("r")
    assert [chunk.seq for chunk in chunks] == list(range(1, len(chunks) + 1))
    assert driver.states() == {"1:tool:a": "child", "1:tool:b": "queued", "~1/1:model": "queued"}
    driver.finishes("r", "~1")
    assert statuses(driver) == ["running", "finished"]


def test_what_a_cancelled_call_began_is_put_away(driver: TreeDriver) -> None:
    driver.create("r")
    driver.spawned("r", "", "a", bg="deferred")
    task = driver.attempt("r", "~1/1:model")

    assert driver.ledger.send(runs.cancel(driver.keys, "r", call="a", reason="why"))

    assert statuses(driver) == ["running", "aborted"]
    with pytest.raises(Fenced):
        driver.commit(task)


def test_a_decline_by_a_message_lets_the_child_go_on(driver: TreeDriver) -> None:
    driver.create("r")
    driver.spawned("r", "", "a")
    driver.asks("r", "~1", new_call("~1", "a", asks=True))

    sent = driver.ledger.send(
        runs.put_message(driver.keys, "r", message("m", waits="decline"), notifies=True)
    )

    assert sent is not None
    assert [due.key for due in sent.sends] == ["~1/1:end"]
    assert driver.entries("r", "~1")[-1]["k"] == "result"
    assert driver.states() == {"1:tool:a": "child", "~1/1:end": "queued"}


def test_a_deleted_tree_leaves_no_key(driver: TreeDriver) -> None:
    branch = chain(driver, 2)
    task = driver.attempt("r", f"{branch}/1:model")
    driver.ledger.send(runs.delete(driver.keys, "r", indexes=[("all", "")], tombstone_ms=9000))

    with pytest.raises(Fenced, match="deleted"):
        driver.say(task, "a", 0)
    for run_id in ("r", "r~1", "r~1~1"):
        with pytest.raises(RunDeleted):
            driver.read(run_id)
    keys = driver.keys.of("r")
    left = [key for key in keys.own[1:5] if driver.ledger.client().exists(key)]
    assert left == []
    assert driver.alarm("r") is None


def test_a_claim_of_a_childs_task_has_what_the_child_was_asked(driver: TreeDriver) -> None:
    driver.create("r", resource="ann")
    driver.spawned("r", "", "a")

    claim = driver.claim("r", "~1/1:model")

    assert isinstance(claim, Claim)
    assert (claim.resource, claim.thread, claim.journal_length) == ("ann", None, 0)
    assert b"hi" in claim.messages
    assert claim.answers is not None
    assert (claim.answers.key, claim.answers.call) == ("1:tool:a", "a")
    done = driver.ledger.send(committing(driver.keys, claim.task, turn_work(claim.task)))
    assert done.end.journal_length == len(done.end.entries) == 1
