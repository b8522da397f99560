"""The scripts for people, called directly: suspensions, endings, retries, threads."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from evented_agent.chunks.codec import encode
from evented_agent.errors import NotFailed, NotSuspended, RunConflict, SuspensionExpired
from evented_agent.ledger import attempts, runs, threads, watch
from evented_agent.ledger.connection import Ledger
from evented_agent.ledger.indexes import list_index
from evented_agent.ledger.keys import Keys, thread_name
from evented_agent.ledger.records import (
    Claim,
    Decision,
    Due,
    Fenced,
    NewTask,
    Record,
    Recorded,
    RunEnd,
    Task,
)
from evented_agent.models.messages import UserMessage, dump_thread_entry
from tests.support.driver import Driver, cluster_server
from tests.support.servers import RedisServer
from tests.support.workers import wait_until

ASK = encode("tool-call-approval", "1:tool:a", {"toolCallId": "a", "toolName": "t", "args": {}})


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with cluster_server(tmp_path_factory.mktemp("cluster")) as server:
        yield server


@pytest.fixture(params=["a server", "a cluster"])
def driver(
    request: pytest.FixtureRequest, redis_server: RedisServer, cluster: RedisServer
) -> Iterator[Driver]:
    is_cluster = request.param == "a cluster"
    ledger = Ledger(cluster.url if is_cluster else redis_server.url)
    keys = Keys("people-scripts", 5 if is_cluster else 1)
    yield Driver(ledger, keys)
    for key in ledger.client().keys(f"{keys.prefix}:*"):
        ledger.client().delete(key)
    ledger.close()


def tool(call: str = "a", *, ask: str | None = None, **policy: object) -> NewTask:
    key = f"1:tool:{call}"
    return NewTask(key, "tool", 1, call, "t", ask=ask, policy={"expiry": 60_000, **policy})


def asked(driver: Driver, run_id: str = "r", *new: NewTask, **fields: Any) -> None:
    """A run whose model asked for calls."""
    driver.create(run_id, **fields)
    task = driver.granted(run_id)
    driver.committed(task, entries=['{"k":"turn"}'], next=list(new) or [tool(ask=ASK)])


def read(driver: Driver, run_id: str = "r") -> Record:
    return driver.ledger.send(runs.read(driver.keys, run_id, journal=True))


def states(driver: Driver, run_id: str = "r") -> dict[str, str]:
    return {task.key: task.state for task in read(driver, run_id).tasks}


def resume(
    driver: Driver, digest: str = "d", *, number: int = 0, follows: str = "approved"
) -> None:
    decision = Decision(digest, follows, '{"k":"resumed"}', data='{"approved":true}')  # type: ignore[arg-type]
    driver.ledger.send(
        runs.resume(driver.keys, "r", call="a", number=number, decision=decision, notifies=True)
    )


def test_a_call_that_needs_approval_waits_without_a_lease(driver: Driver) -> None:
    asked(driver)
    record = read(driver)
    assert record.fields["status"] == "suspended"
    assert states(driver) == {"1:tool:a": "suspended"}
    assert driver.claim("r", "1:tool:a").reason == "busy"  # type: ignore[union-attr]
    assert driver.alarm("r") is not None


def test_a_decision_is_taken_once(driver: Driver) -> None:
    asked(driver)
    number = read(driver).tasks[0].suspended.number  # type: ignore[union-attr]
    resume(driver)
    resume(driver)
    resume(driver, number=number)
    with pytest.raises(RunConflict):
        resume(driver, "other")
    assert states(driver) == {"1:tool:a": "queued"}
    assert read(driver).entries.count(b'{"k":"resumed"}') == 1


def test_a_decision_before_the_suspension_is_refused(driver: Driver) -> None:
    asked(driver, "r", tool())
    with pytest.raises(NotSuspended):
        resume(driver)


def test_a_suspension_frees_a_place_and_is_repeated_to_its_token(driver: Driver) -> None:
    asked(driver, "r", tool("a"), tool("b"), tool("c"))
    assert states(driver)["1:tool:c"] == "waiting"
    task = driver.granted("r", "1:tool:a", "ta")
    call = attempts.suspend(driver.keys, task, sent=0, chunks=[], ask=ASK, asked="{}")
    first = driver.ledger.send(call)
    driver.ledger.send(call)
    assert [due.key for due in first.sends] == ["1:tool:c"]
    assert states(driver) == {
        "1:tool:a": "suspended",
        "1:tool:b": "queued",
        "1:tool:c": "queued",
    }
    assert driver.types("r").count("tool-call-approval") == 1
    with pytest.raises(Fenced):
        driver.commit(task)


def expire(driver: Driver, field: str) -> None:
    """Let the suspension of the run's call come to a moment of its life."""
    keys = driver.keys.of("r")
    stored = json.loads(driver.ledger.client().hget(keys.tasks, "1:tool:a"))  # type: ignore[arg-type]
    stored["suspended"][field] = 1
    driver.ledger.client().hset(keys.tasks, "1:tool:a", json.dumps(stored))


def test_a_suspension_that_expires_soon_is_told_once(driver: Driver) -> None:
    asked(driver)
    expire(driver, "warns")
    assert [note["key"] for note in driver.reconcile("r").expiring] == ["1:tool:a"]
    assert driver.reconcile("r").expiring == []
    assert driver.alarm("r") is not None


def test_a_call_nobody_decided_about_is_declined(driver: Driver) -> None:
    asked(driver)
    expire(driver, "expires")
    sends = driver.reconcile("r").sends
    assert [due.key for due in sends] == ["1:end"]
    assert "tool-output-denied" in driver.types("r")
    with pytest.raises(SuspensionExpired):
        resume(driver)


def test_a_deadline_aborts_a_run_wherever_it_is(driver: Driver) -> None:
    asked(driver, "r", deadline_in=1)
    driver.reconcile("r")
    record = read(driver)
    assert (record.fields["status"], record.fields["finish_reason"]) == ("aborted", "deadline")
    assert driver.types("r")[-1] == "abort"


def test_somebody_is_told_of_an_ended_run(driver: Driver) -> None:
    asked(driver, "r", tells="aborted")
    driver.ledger.send(runs.abort(driver.keys, "r", reason=None))
    assert states(driver) == {"after": "queued"}
    [due] = driver.reconcile("r").sends
    task = driver.granted("r", due.key, "after")
    driver.expire(task)
    driver.reconcile("r")
    again = driver.granted("r", due.key, "again")
    driver.committed(again)
    assert states(driver) == {}
    assert driver.alarm("r") is None
    assert driver.types("r")[-1] == "abort"


def test_what_tells_of_a_run_cannot_fail_it(driver: Driver) -> None:
    asked(driver, "r", tells="suspended")
    hook = next(key for key in states(driver) if key.startswith("hook:"))
    for n in range(5):
        driver.expire(driver.granted("r", hook, f"t{n}"))
        driver.reconcile("r")
    assert read(driver).fields["status"] == "suspended"
    assert states(driver) == {"1:tool:a": "suspended"}


def failed(driver: Driver) -> Task:
    driver.create("r")
    task = driver.granted("r")
    driver.say(task, "half", 0)
    error = {"name": "ModelError", "message": "away"}
    chunks = [encode("error", "1:model", {"error": error})]
    driver.committed(task, 2, chunks=chunks, finish=RunEnd("failed", "error", error))
    return task


def several(driver: Driver, **digests: str) -> Sequence[Recorded]:
    """Approve several calls at once, each with its digest."""
    told = '{"toolCallId":"c","toolName":"t","decision":"approved"}'
    decisions = [
        (call, 0, Decision(digest, "approved", f'{{"k":"{call}"}}', data="{}", told=told))
        for call, digest in digests.items()
    ]
    return driver.ledger.send(runs.resume_all(driver.keys, "r", decisions, notifies=True))


def test_several_decisions_are_taken_at_once(driver: Driver) -> None:
    asked(driver, "r", tool(ask=ASK), tool("b", ask=ASK))
    first, second = several(driver, a="x", b="y")
    assert (first.is_new, second.is_new) == (True, True)
    assert [due.key for due in first.sends] == ["1:tool:a", "1:tool:b"]
    assert states(driver) == {"1:tool:a": "queued", "1:tool:b": "queued"}
    # No `run-waiting` between the two.
    assert driver.types("r")[-2:] == ["tool-call-decided"] * 2
    before = driver.types("r")
    assert [each.is_new for each in several(driver, a="x", b="y")] == [False, False]
    assert driver.types("r") == before


def test_of_several_decisions_none_is_taken_where_one_is_refused(driver: Driver) -> None:
    asked(driver, "r", tool(ask=ASK), tool("b", ask=ASK))
    several(driver, b="x")
    before = driver.types("r"), states(driver)
    with pytest.raises(RunConflict, match="decided again"):
        several(driver, a="x", b="another")
    with pytest.raises(NotSuspended):
        several(driver, a="x", c="x")
    assert (driver.types("r"), states(driver)) == before
    assert [each.is_new for each in several(driver, a="x", b="x")] == [True, False]


def test_retrying_a_failed_run_opens_the_tasks_that_failed(driver: Driver) -> None:
    failed(driver)
    call = runs.retry_failed(driver.keys, "r", notifies=True)
    sends: Sequence[Due] = driver.ledger.send(call)
    [due] = sends
    assert driver.ledger.send(call) == sends
    record = read(driver)
    assert record.fields["status"] == "running"
    assert "error" not in record.fields
    assert driver.types("r") == ["start", "text-start", "text-delta", "step-reset"]
    claim = driver.claim("r", due.key, "again")
    assert isinstance(claim, Claim)
    assert claim.task.generation == 2
    assert driver.ledger.client().ttl(driver.keys.of("r").run) == -1


def test_only_a_failed_run_is_tried_again(driver: Driver) -> None:
    driver.create("r")
    with pytest.raises(NotFailed, match="queued"):
        driver.ledger.send(runs.retry_failed(driver.keys, "r", notifies=True))


def test_a_run_fails_and_goes_on_many_times(driver: Driver) -> None:
    failed(driver)
    for n in range(5):
        driver.ledger.send(runs.retry_failed(driver.keys, "r", notifies=True))
        task = driver.granted("r", "1:model", f"t{n}")
        error = {"name": "ModelError", "message": "away"}
        chunks = [encode("error", "1:model", {"error": error})]
        driver.committed(task, chunks=chunks, finish=RunEnd("failed", "error", error))
    assert driver.types("r").count("error") == 1
    assert driver.types("r")[-1] == "error"


def test_a_nudge_ends_a_wait_once(driver: Driver) -> None:
    driver.create("r")
    task = driver.granted("r")
    retry = attempts.requeue(
        driver.keys, task, delay_ms=60_000, reason="", change={"waits_for": "a turn"}
    )
    driver.ledger.send(retry)
    assert read(driver).fields["status"] == "queued"
    assert driver.claim("r", token="u").reason == "early"  # type: ignore[union-attr]
    wake = watch.wake(driver.keys, "r", "1:model")
    assert [due.key for due in driver.ledger.send(wake)] == ["1:model"]
    assert driver.ledger.send(wake) == []
    assert driver.granted("r", token="u").waits_for is None


def test_a_nudge_without_a_key_finds_whatever_waits_for_the_turn(driver: Driver) -> None:
    driver.create("r")
    task = driver.granted("r")
    driver.committed(task, next=[NewTask("2:model", "model", 2)])
    second = driver.granted("r", "2:model", token="u")
    wait = {"waits_for": "a turn", "waited": 1}
    driver.ledger.send(
        attempts.requeue(driver.keys, second, delay_ms=60_000, reason="", change=wait)
    )
    assert [due.key for due in driver.ledger.send(watch.wake(driver.keys, "r"))] == ["2:model"]
    assert driver.granted("r", "2:model", token="v").waits_for is None


@pytest.mark.parametrize("key", ["", "1:model"])
def test_a_nudge_that_comes_while_the_task_asks_is_not_lost(driver: Driver, key: str) -> None:
    driver.create("r")
    task = driver.granted("r")
    assert driver.ledger.send(watch.wake(driver.keys, "r", key)) == []
    wait = {"waits_for": "a turn", "waited": 1}
    requeue = attempts.requeue(driver.keys, task, delay_ms=60_000, reason="", change=wait)
    assert [due.key for due in driver.ledger.send(requeue).sends] == ["1:model"]
    again = driver.granted("r", token="u")
    requeue = attempts.requeue(driver.keys, again, delay_ms=60_000, reason="", change=wait)
    assert driver.ledger.send(requeue).sends == []


def test_a_nudge_shortens_no_other_wait(driver: Driver) -> None:
    driver.create("r")
    task = driver.granted("r")
    driver.ledger.send(watch.wake(driver.keys, "r"))
    failed = attempts.requeue(driver.keys, task, delay_ms=60_000, reason="", change={"tries": 1})
    assert driver.ledger.send(failed).sends == []
    assert driver.ledger.send(watch.wake(driver.keys, "r")) == []


def test_a_wait_for_the_turn_is_said_once_and_again_after_a_retry(driver: Driver) -> None:
    def wait(task: Task, waited: int) -> None:
        change = {"waits_for": "a turn", "waited": waited}
        call = attempts.requeue(driver.keys, task, delay_ms=0, reason="", change=change)
        # The reply to the first was lost.
        first, again = driver.ledger.send(call), driver.ledger.send(call)
        assert first.sends == again.sends != []

    driver.create("r")
    for waited in (1, 2):
        wait(driver.granted("r", token=f"t{waited}"), waited)
    assert driver.types("r").count("run-waiting") == 1

    error = {"name": "ModelError", "message": "away"}
    failing = driver.granted("r", token="u")
    chunks = [encode("error", "1:model", {"error": error})]
    driver.committed(failing, chunks=chunks, finish=RunEnd("failed", "error", error))
    driver.ledger.send(runs.retry_failed(driver.keys, "r", notifies=True))
    wait(driver.granted("r", token="v"), 1)
    assert driver.types("r").count("run-waiting") == 2


def test_turns_are_taken_in_order(driver: Driver) -> None:
    def enter(run_id: str) -> str:
        return driver.ledger.send(threads.enter(driver.keys, "t", run_id, ttl_ms=10_000)).holder

    def leave(run_id: str) -> str | None:
        return driver.ledger.send(threads.leave(driver.keys, "t", run_id))

    assert [enter(name) for name in ("a", "b", "c", "a")] == ["a", "a", "a", "a"]
    assert leave("b") == "a"
    assert leave("a") == "c"
    assert leave("a") == "c"
    assert leave("c") is None


def test_a_run_has_one_place_in_a_thread(driver: Driver) -> None:
    def remember(run_id: str, length: int, entry: str) -> bool:
        return driver.ledger.send(
            threads.remember(
                driver.keys, "t", run_id, journal_length=length, entry=entry, ttl_ms=10_000
            )
        )

    assert remember("a", 3, "one")
    assert remember("b", 3, "two")
    assert remember("a", 4, "one more")
    assert not remember("a", 3, "one of a zombie")
    recalled = driver.ledger.send(threads.recall(driver.keys, "t", most=10))
    assert recalled == [b"one more", b"two"]
    driver.ledger.send(threads.drop(driver.keys, "t"))
    assert driver.ledger.send(threads.recall(driver.keys, "t", most=10)) == []


def test_a_conversation_that_begins_anew_has_no_place_of_its_old_runs(driver: Driver) -> None:
    def recalled() -> Sequence[bytes]:
        return driver.ledger.send(threads.recall(driver.keys, "t", most=10))

    for run_id in ("a", "b", "c", "d"):
        driver.ledger.send(
            threads.remember(
                driver.keys, "t", run_id, journal_length=3, entry=f"old {run_id}", ttl_ms=100
            )
        )
    # Where each was is known for longer: a run that was deleted must not come back.
    driver.ledger.send(threads.forget_run(driver.keys, "t", "c", ttl_ms=60_000))
    wait_until(lambda: not recalled(), "the conversation has expired")

    assert added(driver, "t", "d", "after a retry", length=4)
    assert added(driver, "t", "e", "new")
    [after_retry, new] = recalled()
    driver.ledger.send(threads.forget_run(driver.keys, "t", "b", ttl_ms=60_000))
    assert recalled() == [after_retry, new]
    assert added(driver, "t", "a", "after a retry", length=4)
    assert recalled()[:2] == [after_retry, new]
    late = threads.remember(driver.keys, "t", "c", journal_length=99, entry="old c", ttl_ms=100)
    assert not driver.ledger.send(late)
    assert look_at(driver, "t").runs == 3


def look_at(driver: Driver, name: str) -> threads.Conversation:
    found = driver.ledger.send(threads.look_at(driver.keys, name))
    assert found is not None
    return found


def listed(driver: Driver, name: str, resource: str = "") -> list[str]:
    """The keys of what lists show, of the conversations in the same index as *name*."""
    shard, index = driver.keys.shard(name), ("conversations", resource)
    call = list_index(driver.keys, shard, index, since=0, offset=0, limit=100)
    return [driver.keys.thread_at(shard, digest)[2] for _, digest in driver.ledger.send(call)]


def added(driver: Driver, name: str, run_id: str, *said: str, length: int = 3) -> bool:
    entry = dump_thread_entry(run_id, [UserMessage(content=text) for text in said])
    call = threads.remember(
        driver.keys,
        name,
        run_id,
        journal_length=length,
        entry=entry,
        messages=len(said),
        ttl_ms=10_000,
    )
    # The reply to the first was lost.
    return [driver.ledger.send(call) for _ in range(2)] == [True, True]


def test_what_is_repeated_is_counted_once(driver: Driver) -> None:
    name = thread_name("t", "ann")
    for run_id in ("a", "a", "b"):
        driver.ledger.send(threads.enter(driver.keys, name, run_id, ttl_ms=10_000))
    assert added(driver, name, "a", "one", "two")
    assert added(driver, name, "b", "three")
    assert added(driver, name, "a", "one", "two", "more", length=4)
    assert not added(driver, name, "a", "a zombie's", length=2)

    found = look_at(driver, name)
    assert (found.runs, found.messages, found.turn) == (2, 4, "a")
    for _ in range(2):
        driver.ledger.send(threads.forget_run(driver.keys, name, "a", ttl_ms=10_000))
    found = look_at(driver, name)
    assert (found.runs, found.messages, found.said) == (1, 1, b'"three"')


@pytest.mark.parametrize(
    "text",
    [
        'He said "no".',
        "a\\",
        '\\"',
        '","x"]',
        "\u2028\x00\x1f",
        "\N{GRINNING FACE}" * 300,
        '"' * 300,
        "",
    ],
)
def test_the_last_words_are_found_whatever_they_are(driver: Driver, text: str) -> None:
    name = thread_name("words", None)
    assert added(driver, name, "a", text)
    assert json.loads(look_at(driver, name).said) == text[:200]


def test_a_conversation_of_an_older_version_appears_with_what_is_added(driver: Driver) -> None:
    name = thread_name("old", "ann")
    where = driver.keys.thread(name)
    client = driver.ledger.client(where.log)
    for number in range(2):
        client.rpush(where.log, f'["old-{number}",[{{"role":"user","content":"Hi."}}]]')
        client.hset(where.places, f"old-{number}", f"{number}:3")
    client.pexpire(where.log, 10_000)
    assert driver.ledger.send(threads.look_at(driver.keys, name)) is None

    assert driver.ledger.send(threads.retitle(driver.keys, name, "Old"))
    assert (look_at(driver, name).title, look_at(driver, name).said) == ("Old", b"")
    assert added(driver, name, "new", "one", "two")
    found = look_at(driver, name)
    assert (found.runs, found.messages, found.said, found.title) == (3, 2, b'"two"', "Old")
    assert listed(driver, name) == listed(driver, name, "ann") == [where.about]


def test_what_lists_show_goes_with_the_messages(driver: Driver) -> None:
    name = thread_name("kept", "ann")
    where = driver.keys.thread(name)
    client = driver.ledger.client(where.log)
    assert added(driver, name, "a", "one")
    assert client.pttl(where.about) >= client.pttl(where.log) > 9_000
    assert 9_000 < client.pttl(where.listed) <= 10_000
    # The messages have expired, and a run comes.
    client.delete(where.log, where.places)
    driver.ledger.send(threads.enter(driver.keys, name, "b", ttl_ms=10_000))
    assert (look_at(driver, name).runs, look_at(driver, name).messages) == (0, 0)
    assert added(driver, name, "b", "one", "two")
    assert (look_at(driver, name).runs, look_at(driver, name).messages) == (1, 2)

    driver.ledger.send(threads.drop(driver.keys, name))
    assert listed(driver, name) == listed(driver, name, "ann") == []
    assert not driver.ledger.send(threads.retitle(driver.keys, name, "Again"))
    assert driver.ledger.send(threads.look_at(driver.keys, name)) is None
