"""The scripts for messages to runs under way, called directly."""

import json
from collections.abc import Iterator
from typing import Any, Literal

import pytest

from evented_agent.chunks import MessageDropped, RunWaiting
from evented_agent.chunks.codec import encode
from evented_agent.errors import InboxFull, RunConflict, RunDeleted, RunNotFound
from evented_agent.ledger import attempts, runs, threads
from evented_agent.ledger.connection import Ledger
from evented_agent.ledger.keys import Keys
from evented_agent.ledger.records import (
    Claim,
    Committed,
    Decision,
    Fenced,
    JournalChanged,
    NewMessage,
    NewTask,
    RunEnd,
    Sent,
    Task,
    Work,
)
from tests.support.driver import Driver, cluster_server
from tests.support.servers import RedisServer

ASK = encode("tool-call-approval", "1:tool:a", {"toolCallId": "a", "toolName": "t", "args": {}})
APPROVED = Decision("approved", "approved", "{}", told='{"toolCallId":"a"}')
Waits = Literal["answer", "hold", "decline"]


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
    keys = Keys("inbox-scripts", 5 if is_cluster else 1)
    yield Driver(ledger, keys)
    for key in ledger.client().keys(f"{keys.prefix}:*"):
        ledger.client().delete(key)
    ledger.close()


def message(id_: str = "m", text: str = "Hi", waits: Waits = "answer", **more: Any) -> NewMessage:
    entry = json.dumps({"k": "message", "id": id_, "said": [{"role": "user", "content": text}]})
    chunk = encode("message-queued", None, {"messageId": id_})
    return NewMessage(id_, digest=text, entry=entry, chunk=chunk, waits=waits, **more)


def put(driver: Driver, new: NewMessage, run_id: str = "r", *, notifies: bool = True) -> Sent:
    sent = driver.ledger.send(runs.put_message(driver.keys, run_id, new, notifies=notifies))
    assert sent is not None
    return sent


def is_refused(driver: Driver, new: NewMessage, run_id: str = "r") -> bool:
    return driver.ledger.send(runs.put_message(driver.keys, run_id, new, notifies=True)) is None


def journal(driver: Driver, run_id: str = "r") -> list[dict[str, Any]]:
    record = driver.ledger.send(runs.read(driver.keys, run_id, journal=True))
    return [json.loads(entry) for entry in record.entries]


def field(driver: Driver, name: str, run_id: str = "r") -> str | None:
    return driver.ledger.send(runs.read(driver.keys, run_id)).fields.get(name)


def tool(call: str = "a", *, ask: str | None = None, **policy: object) -> NewTask:
    key = f"1:tool:{call}"
    return NewTask(key, "tool", 1, call, "t", ask=ask, policy={"expiry": 60_000, **policy})


def turned(driver: Driver, *calls: NewTask, run_id: str = "r", **fields: Any) -> Committed:
    """A run whose model made a turn with these calls."""
    driver.create(run_id, **fields)
    task = driver.granted(run_id)
    return driver.committed(task, entries=["{}"], next=list(calls))


def test_a_message_is_journalled_told_and_remembered(driver: Driver) -> None:
    driver.create("r")
    assert field(driver, "v") == "1"
    sent = put(driver, message())
    [entry] = journal(driver)
    assert (entry["k"], entry["id"], entry["n"]) == ("message", "m", sent.number)
    assert driver.types("r") == ["start", "message-queued"]
    assert json.loads(field(driver, "inbox") or "") == [[0, "m", False]]
    assert field(driver, "v") == "2"


def test_the_same_message_again_changes_nothing(driver: Driver) -> None:
    driver.create("r")
    sent = put(driver, message())
    again = put(driver, message())
    assert again.number == sent.number
    assert [due.key for due in again.sends] == ["1:model"]
    assert len(journal(driver)) == 1
    with pytest.raises(RunConflict, match="other content"):
        put(driver, message(text="otherwise"))
    with pytest.raises(RunNotFound):
        put(driver, message(), "gone")
    driver.create("gone")
    driver.ledger.send(runs.delete(driver.keys, "gone", indexes=[], tombstone_ms=9000))
    with pytest.raises(RunDeleted):
        put(driver, message(), "gone")


def test_a_large_message_is_kept_beside_the_journal(driver: Driver) -> None:
    driver.create("r")
    sent = put(driver, message(text="x" * 300_000))
    record = driver.ledger.send(runs.read(driver.keys, "r", journal=True))
    assert record.entries == [f"@message-{sent.number}".encode()]
    [stored] = driver.ledger.fetch_blobs(
        driver.keys.of("r").blobs, [record.entries[0][1:].decode()]
    )
    assert stored is not None
    assert json.loads(stored)["n"] == sent.number


def test_a_turn_answers_what_it_had_seen_and_nothing_else(driver: Driver) -> None:
    driver.create("r")
    put(driver, message("one"))
    task = driver.granted("r")
    put(driver, message("two"))
    driver.committed(task, entries=["{}"], seen=1)
    assert json.loads(field(driver, "inbox") or "") == [[1, "two", False]]


def test_the_inbox_has_an_end(driver: Driver) -> None:
    turned(driver, tool(ask=ASK))
    for number in range(1000):
        put(driver, message(str(number), waits="hold"))
    with pytest.raises(InboxFull, match="later"):
        put(driver, message("more"))
    assert put(driver, message("7", waits="hold")).number


# Interrupting -----------------------------------------------------------------------------------


def test_an_interruption_is_told_to_the_attempt_that_runs_the_model(driver: Driver) -> None:
    driver.create("r")
    task = driver.granted("r")
    assert driver.say(task, "half", sent=0) is None
    put(driver, message(interrupts=True))
    assert driver.say(task, "more", sent=2) == "interrupted"
    beat = attempts.heartbeat(driver.keys, "r", task.key, token=task.token, lease_ms=3000)
    assert driver.ledger.send(beat) == "interrupted"


@pytest.mark.parametrize("ended", ["retried", "crashed", "released"])
def test_an_interruption_is_over_with_its_attempt(driver: Driver, ended: str) -> None:
    driver.create("r")
    task = driver.granted("r")
    put(driver, message(interrupts=True))
    if ended == "retried":
        retry = attempts.requeue(driver.keys, task, delay_ms=0, reason="why", change={})
        driver.ledger.send(retry)
    elif ended == "crashed":
        driver.expire(task)
        driver.reconcile("r")
    else:
        driver.ledger.send(attempts.release(driver.keys, "r", token=task.token, reason="stop"))
    again = driver.granted("r", token="again")
    assert driver.say(again, "all", sent=0) is None


def test_an_abort_comes_before_an_interruption_and_tools_hear_of_none(driver: Driver) -> None:
    driver.create("r")
    task = driver.granted("r")
    put(driver, message(interrupts=True))
    driver.ledger.send(runs.abort(driver.keys, "r", reason=None))
    assert driver.say(task, "half", sent=0) == "aborted"
    turned(driver, tool(), run_id="s")
    call = driver.granted("s", "1:tool:a")
    put(driver, message(interrupts=True), "s")
    assert driver.say(call, "half", sent=0) is None


# Putting off ------------------------------------------------------------------------------------


def is_put_off(driver: Driver, run_id: str = "r") -> bool:
    """Whether the call *a* waits on, beside an end task that lets the model answer."""
    record = driver.ledger.send(runs.read(driver.keys, run_id))
    [call] = [task for task in record.tasks if task.call == "a"]
    ends = [task for task in record.tasks if task.kind == "end"]
    placeholder = any(entry.get("placeholder") for entry in journal(driver, run_id))
    told = driver.types(run_id).count("tool-call-deferred") == 1
    return call.is_put_off and call.state == "suspended" and len(ends) == 1 and placeholder and told


def test_a_message_puts_off_the_calls_that_wait_for_people(driver: Driver) -> None:
    turned(driver, tool(ask=ASK))
    assert field(driver, "status") == "suspended"
    sent = put(driver, message())
    assert [due.key for due in sent.sends] == ["1:end"]
    assert is_put_off(driver)
    assert field(driver, "status") == "running"


def test_without_a_broker_the_next_look_sends_what_a_message_queued(driver: Driver) -> None:
    turned(driver, tool(ask=ASK))
    put(driver, message(), notifies=False)
    assert [due.key for due in driver.reconcile("r").sends] == ["1:end"]


def test_a_turn_that_asks_puts_its_calls_off_where_a_message_waits(driver: Driver) -> None:
    driver.create("r")
    task = driver.granted("r")
    put(driver, message())
    done = driver.committed(task, entries=["{}"], next=[tool(ask=ASK)])
    assert [due.key for due in done.sends] == ["1:end"]
    assert is_put_off(driver)
    assert not done.only_waits


def test_a_tool_that_asks_is_put_off_where_a_message_waits(driver: Driver) -> None:
    turned(driver, tool())
    call = driver.granted("r", "1:tool:a")
    put(driver, message())
    suspend = attempts.suspend(driver.keys, call, sent=0, chunks=[], ask=ASK, asked="{}")
    done = driver.ledger.send(suspend)
    assert [due.key for due in done.sends] == ["1:end"]
    assert is_put_off(driver)


@pytest.mark.parametrize("gone", ["crashed", "released"])
def test_a_call_whose_worker_is_gone_is_put_off_where_a_message_waits(
    driver: Driver, gone: str
) -> None:
    turned(driver, tool(on_crash="ask"))
    call = driver.granted("r", "1:tool:a")
    put(driver, message())
    if gone == "crashed":
        driver.expire(call)
        sends = driver.reconcile("r").sends
    else:
        release = attempts.release(driver.keys, "r", token=call.token, reason="stop")
        sends = driver.ledger.send(release)
    assert [due.key for due in sends] == ["1:end"]
    assert is_put_off(driver)


def test_calls_of_other_tools_hold_a_message_back(driver: Driver) -> None:
    turned(driver, tool("b"), tool(ask=ASK))
    assert put(driver, message()).sends == []
    call = driver.granted("r", "1:tool:b")
    done = driver.committed(call, entries=["{}"])
    assert [due.key for due in done.sends] == ["1:end"]
    assert is_put_off(driver)


def test_a_held_message_puts_nothing_off(driver: Driver) -> None:
    turned(driver, tool(ask=ASK))
    assert put(driver, message(waits="hold")).sends == []
    last = driver.chunks("r")[-1]
    assert isinstance(last, RunWaiting)
    assert field(driver, "status") == "suspended"
    put(driver, message("next"))
    assert is_put_off(driver)


def test_a_message_that_declines_settles_what_waits(driver: Driver) -> None:
    turned(driver, tool(ask=ASK))
    sent = put(driver, message(waits="decline", by='"ann"'))
    assert [due.key for due in sent.sends] == ["1:end"]
    assert driver.types("r")[-3:] == ["message-queued", "tool-call-decided", "tool-output-denied"]
    decided = driver.ledger.send(runs.read(driver.keys, "r")).decided
    assert json.loads(decided[0])["by"] == "ann"
    with pytest.raises(RunConflict, match="declined by 'ann'"):
        driver.ledger.send(
            runs.resume(driver.keys, "r", call="a", number=0, decision=APPROVED, notifies=True)
        )


def test_idle_time_counts_not_while_a_call_runs_that_was_put_off(driver: Driver) -> None:
    turned(driver, tool(ask=ASK))
    put(driver, message())
    end = driver.granted("r", "1:end")
    driver.committed(end, entries=["{}"], next=[NewTask("2:model", "model", 2)])
    answer = driver.granted("r", "2:model")
    last = driver.committed(answer, entries=["{}"], seen=9).end
    assert last is not None
    driver.committed(last.task, entries=["{}"], idle_ms=1)
    resume = runs.resume(driver.keys, "r", call="a", number=0, decision=APPROVED, notifies=True)
    driver.ledger.send(resume)
    call = driver.granted("r", "1:tool:a")
    assert driver.reconcile("r").sends == []
    assert field(driver, "idle") != "0"
    done = driver.committed(call, entries=["{}"])
    assert done.end is not None


# Ending -----------------------------------------------------------------------------------------


def closing(driver: Driver, task: Task, length: int) -> int | Committed | JournalChanged:
    work = Work(chunks=[encode("text-end", task.key, {"id": "t"})], entries=["{}"])
    close = attempts.close(driver.keys, task, sent=0, work=work, journal_length=length)
    return driver.ledger.send(close)


def ending(driver: Driver, **fields: Any) -> Task:
    """The end task of a run's only step, under way."""
    done = turned(driver, **fields)
    assert done.end is not None
    return done.end.task


def test_a_closed_run_takes_nothing_more_and_finishes(driver: Driver) -> None:
    task = ending(driver)
    assert closing(driver, task, 1) == closing(driver, task, 1) == 2
    assert driver.types("r")[-1] == "text-end"
    assert is_refused(driver, message())
    assert not driver.ledger.send(runs.abort(driver.keys, "r", reason="late"))
    driver.committed(task, entries=["{}"], journal_length=2, finish=RunEnd("finished", "stop"))
    assert field(driver, "status") == "finished"
    assert is_refused(driver, message())


def test_a_run_is_not_closed_over_a_message(driver: Driver) -> None:
    task = ending(driver)
    put(driver, message())
    grown = closing(driver, task, 1)
    assert isinstance(grown, JournalChanged)
    assert grown.journal_length == 2
    assert field(driver, "closed") is None


def test_a_run_that_is_aborted_is_not_closed(driver: Driver) -> None:
    task = ending(driver)
    driver.ledger.send(runs.abort(driver.keys, "r", reason=None))
    assert closing(driver, task, 1) == Committed(aborted=True)
    assert driver.committed(task).aborted


def test_the_deadline_of_a_closed_run_is_over(driver: Driver) -> None:
    task = ending(driver, deadline_in=1)
    closing(driver, task, 1)
    driver.reconcile("r")
    assert field(driver, "abort_at") is None
    driver.committed(task, finish=RunEnd("finished", "stop"))


def test_whoever_lost_its_task_closes_nothing(driver: Driver) -> None:
    task = ending(driver)
    driver.expire(task)
    driver.reconcile("r")
    with pytest.raises(Fenced):
        closing(driver, task, 1)
    assert put(driver, message()).number


@pytest.mark.parametrize("script", ["commit", "close"])
def test_a_decision_is_left_to_others_where_an_entry_is_of_a_later_version(
    driver: Driver, script: str
) -> None:
    task = ending(driver)
    put(driver, message())
    keys = driver.keys.of("r")
    driver.ledger.client(keys.run).hset(keys.run, "v", 99)
    if script == "close":
        done = closing(driver, task, 1)
    else:
        done = driver.commit(task, entries=["{}"], journal_length=1)
    assert isinstance(done, Committed)
    assert done.is_newer
    assert [due.key for due in done.sends] == ["1:end"]
    assert len(journal(driver)) == 2


@pytest.mark.parametrize("ended", ["aborted", "failed", "given up"])
def test_a_run_that_ends_says_which_messages_it_leaves(driver: Driver, ended: str) -> None:
    driver.create("r")
    task = driver.granted("r")
    put(driver, message("one"))
    put(driver, message("two"))
    if ended == "aborted":
        driver.ledger.send(runs.abort(driver.keys, "r", reason=None))
        driver.committed(task, entries=["{}"])
    elif ended == "failed":
        failure = {"name": "E", "message": "why"}
        chunk = encode("error", task.key, {"error": failure})
        driver.committed(task, chunks=[chunk], finish=RunEnd("failed", "error", failure))
    else:
        for _ in range(5):
            driver.expire(task)
            driver.reconcile("r")
            if field(driver, "status") != "failed":
                task = driver.granted("r", token=f"t{_}")
    *_, dropped, last = driver.chunks("r")
    assert last.type == ("abort" if ended == "aborted" else "error")
    assert isinstance(dropped, MessageDropped)
    assert dropped.payload.message_ids == ["one", "two"]
    assert journal(driver)[-1] == {"k": "dropped", "ids": ["one", "two"]}
    assert field(driver, "inbox") == "[]"


def test_a_refusal_lasts_whatever_becomes_of_the_run(driver: Driver) -> None:
    driver.create("r")
    task = driver.granted("r")
    failure = {"name": "E", "message": "why"}
    chunk = encode("error", task.key, {"error": failure})
    driver.committed(task, chunks=[chunk], finish=RunEnd("failed", "error", failure))
    assert is_refused(driver, message())
    keys = driver.keys.of("r")
    assert 0 < driver.ledger.client(keys.run).pttl(keys.tasks) <= 20_000
    driver.ledger.send(runs.retry_failed(driver.keys, "r", notifies=True))
    assert is_refused(driver, message())
    assert put(driver, message("new")).number


def test_a_retry_opens_a_closed_run_again(driver: Driver) -> None:
    task = ending(driver)
    closing(driver, task, 1)
    failure = {"name": "E", "message": "why"}
    chunk = encode("error", task.key, {"error": failure})
    driver.committed(task, chunks=[chunk], finish=RunEnd("failed", "error", failure))
    driver.ledger.send(runs.retry_failed(driver.keys, "r", notifies=True))
    assert field(driver, "closed") is None
    assert journal(driver)[-1]["follows"] == "reopened"
    assert put(driver, message()).number


def test_calls_whose_time_is_not_over_are_not_dropped(driver: Driver) -> None:
    background = {"bg": "deferred"}
    turned(driver, tool("b", **background), tool(ask=ASK))
    put(driver, message())
    end = driver.granted("r", "1:end")
    following = NewTask("1:end:dropped", "end", 1)
    driver.committed(end, entries=["{}"], drops=["b"], next=[following])
    live = driver.ledger.send(runs.read(driver.keys, "r")).tasks
    assert sorted(task.key for task in live) == ["1:end:dropped", "1:tool:a"]


# Turns in a thread ------------------------------------------------------------------------------


def enter(driver: Driver, run_id: str, void: str | None = None) -> threads.TurnHolder:
    return driver.ledger.send(threads.enter(driver.keys, "t", run_id, ttl_ms=10_000, void=void))


def test_a_run_that_only_waits_gives_its_turn_back(driver: Driver) -> None:
    turned(driver, tool(), tool("b", ask=ASK))
    turn = enter(driver, "r")
    give = runs.yield_turn(driver.keys, "r", number=turn.number)
    assert not driver.ledger.send(give)
    call = driver.granted("r", "1:tool:a")
    driver.committed(call, entries=["{}"])
    assert driver.ledger.send(give)
    assert field(driver, "yielded") == str(turn.number)


def test_what_is_taken_out_is_that_entry_and_no_later_one(driver: Driver) -> None:
    first = enter(driver, "r")
    assert enter(driver, "s") == first
    # The run has entered anew before whoever took its turn was through.
    again = enter(driver, "r", void=str(first.number))
    assert again.holder == "s"
    late = threads.leave(driver.keys, "t", "r", number=first.number)
    assert driver.ledger.send(late) == "s"
    assert driver.ledger.send(threads.leave(driver.keys, "t", "s")) == "r"
    assert driver.ledger.send(threads.next_turn(driver.keys, "t", "r")) is None


def test_a_message_to_a_thread_is_bound_to_one_run(driver: Driver) -> None:
    def bind(id_: str, **where: str) -> str | None:
        return driver.ledger.send(threads.bind(driver.keys, "t", id_, ttl_ms=10_000, **where))

    assert bind("m") is None
    assert bind("m", otherwise="old") == "old"
    enter(driver, "r")
    assert (bind("m"), bind("n"), bind("o", to="s"), bind("o")) == ("old", "r", "s", "s")
    assert enter(driver, "n").sent_to == "r"


def test_a_turn_of_the_model_ends_what_was_yielded(driver: Driver) -> None:
    driver.create("r")
    keys = driver.keys.of("r")
    driver.ledger.client(keys.run).hset(keys.run, "yielded", "3")
    claim = driver.claim("r")
    assert isinstance(claim, Claim)
    assert claim.yielded == "3"
    driver.committed(claim.task, entries=["{}"])
    assert field(driver, "yielded") == ""
