"""Every script about a run, made to err at each of its steps: nothing is half done, or it heals.

The law is that all that can err comes before the first write.  A write that fails in the middle
all the same (Redis gives no promise) must leave a run that goes on, ends, and can be read.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from evented_agent.chunks.codec import encode
from evented_agent.errors import EventedAgentError
from evented_agent.ledger import attempts, runs, watch
from evented_agent.ledger.connection import Ledger
from evented_agent.ledger.keys import Keys
from evented_agent.ledger.records import (
    FORMAT,
    NewTask,
    RunEnd,
    Task,
    Work,
)
from evented_agent.ledger.script import Command
from evented_agent.models.messages import ToolCall
from evented_agent.state.journal import Decided, Turn, dump_entry
from tests.protocol.script_faults import (
    Prepare,
    check_readable,
    ends_when_aborted,
    errs_before_its_first_write,
    goes_on_when_called_again,
    play_on,
    reconciling,
    resuming,
)
from tests.support import trees
from tests.support.driver import FIELDS, WORKER, Driver, message
from tests.support.servers import RedisServer
from tests.support.trees import TreeDriver, committing, finish_work

POLICY = {**trees.POLICY, "on_crash": "ask"}
ASK = encode("tool-call-approval", "1:tool:b", {"toolCallId": "b", "toolName": "look", "args": {}})


@pytest.fixture
def driver(redis_server: RedisServer) -> Iterator[TreeDriver]:
    ledger = Ledger(redis_server.url)
    keys = Keys("faults")
    yield TreeDriver(ledger, keys)
    for key in ledger.client().keys(f"{keys.prefix}:*"):
        ledger.client().delete(key)
    ledger.close()


# A scripted life, up to the call that is made to err ------------------------------------------


def create(driver: Driver, run_id: str, **fields: str | int) -> Command[Any]:
    return runs.create(
        driver.keys,
        run_id,
        digest="d",
        fields=FIELDS | {"tells": "failed suspended"} | fields,
        indexes=[("all", ""), ("thread", "t")],
        first=NewTask("1:model", "model", 1),
        chunks=[encode("start", None, {"id": "a"})],
    )


def spoken(driver: Driver, run_id: str) -> Task:
    driver.ledger.send(create(driver, run_id))
    task = driver.granted(run_id)
    driver.say(task, "hello", 0)
    return task


def turn(driver: Driver, run_id: str) -> Command[Any]:
    """The commit of a turn with three calls, one of which asks and one is in the background."""
    task = spoken(driver, run_id)
    calls = [ToolCall(id=call, name="look") for call in "abcd"]
    following = [
        NewTask("1:tool:a", "tool", 1, call="a", tool="look", policy=POLICY),
        NewTask("1:tool:b", "tool", 1, call="b", tool="look", policy=POLICY, ask=ASK),
        NewTask("1:tool:c", "tool", 1, call="c", tool="look", policy={**POLICY, "bg": "deferred"}),
        NewTask("1:tool:d", "tool", 1, call="d", tool="look"),
    ]
    work = Work(
        chunks=[encode("text-end", task.key, {"id": "txt-1.1"})],
        entries=[dump_entry(Turn(1, ("hello",), calls, "tool-calls"))],
        next=following,
        usage={"input_tokens": 1},
    )
    return committing(driver.keys, task, work, sent=2)


def called(driver: Driver, run_id: str, key: str = "1:tool:a") -> Task:
    driver.ledger.send(turn(driver, run_id))
    return driver.granted(run_id, key, f"t-{key}")


def said_by_tool(driver: Driver, run_id: str) -> Task:
    task = called(driver, run_id)
    driver.say(task, "working", 0)
    return task


def claiming(driver: Driver, run_id: str) -> Command[Any]:
    driver.ledger.send(create(driver, run_id))
    return attempts.claim(
        driver.keys, run_id, "1:model", token="t", worker=WORKER, newest=FORMAT, agents=["a"]
    )


def appending(driver: Driver, run_id: str) -> Command[Any]:
    task = spoken(driver, run_id)
    more = [encode("text-delta", task.key, {"id": "txt-1.1", "text": " you"})] * 2
    return attempts.append(
        driver.keys,
        run_id,
        task.key,
        token=task.token,
        sent=2,
        chunks=more,
        closing=[encode("text-end", task.key, {"id": "txt-1.1"})],
    )


def beating(driver: Driver, run_id: str) -> Command[Any]:
    task = spoken(driver, run_id)
    return attempts.heartbeat(driver.keys, run_id, task.key, token=task.token, lease_ms=3000)


def suspending(driver: Driver, run_id: str) -> Command[Any]:
    task = called(driver, run_id)
    ask = encode("tool-call-suspended", task.key, {"toolCallId": "a", "toolName": "look"})
    return attempts.suspend(driver.keys, task, sent=0, chunks=[], ask=ask, asked='{"payload":{}}')


def _resuming(follows: Any) -> Prepare:
    def deciding(driver: Driver, run_id: str) -> Command[Any]:
        driver.ledger.send(turn(driver, run_id))
        tasks = driver.ledger.send(runs.read(driver.keys, run_id)).tasks
        [asking] = [task for task in tasks if task.state == "suspended"]
        return resuming(driver, asking, follows)

    return deciding


def requeuing(driver: Driver, run_id: str) -> Command[Any]:
    task = spoken(driver, run_id)
    return attempts.requeue(driver.keys, task, delay_ms=0, reason="failed", change={"tries": 1})


def releasing(driver: Driver, run_id: str) -> Command[Any]:
    """A model task withdraws what it said; a call that asks on a crash asks."""
    task = said_by_tool(driver, run_id)
    return attempts.release(driver.keys, run_id, token=task.token, reason="shutdown")


def crashing(driver: Driver, run_id: str) -> Command[Any]:
    driver.expire(said_by_tool(driver, run_id))
    return reconciling(driver, run_id)


def ending_a_step(driver: Driver, run_id: str) -> Command[Any]:
    """The last commit of a step claims the end task."""
    driver.ledger.send(create(driver, run_id))
    task = driver.granted(run_id)
    return committing(driver.keys, task, Work(entries=[dump_entry(Turn(1, ("hi",), (), "stop"))]))


def finishing(driver: Driver, run_id: str) -> Command[Any]:
    driver.ledger.send(ending_a_step(driver, run_id))
    end = driver.granted(run_id, "1:end", "end-1:model")
    return committing(driver.keys, end, finish_work(end, None))


def failing(driver: Driver, run_id: str) -> Command[Any]:
    task = spoken(driver, run_id)
    error = encode("error", task.key, {"error": {"name": "E", "message": "no"}})
    end = RunEnd("failed", "error", {"name": "E", "message": "no"})
    return committing(driver.keys, task, Work(chunks=[error], finish=end), sent=2)


def retrying(driver: Driver, run_id: str) -> Command[Any]:
    driver.ledger.send(failing(driver, run_id))
    play_on(driver, run_id, only="after")
    return runs.retry_failed(driver.keys, run_id, notifies=True)


def aborting(driver: Driver, run_id: str) -> Command[Any]:
    driver.ledger.send(create(driver, run_id))
    return runs.abort(driver.keys, run_id, reason="enough")


def aborting_at_work(driver: Driver, run_id: str) -> Command[Any]:
    spoken(driver, run_id)
    return runs.abort(driver.keys, run_id, reason="enough")


def asked(driver: Driver, run_id: str) -> None:
    """A person is asked, and nothing else is to be done."""
    driver.ledger.send(create(driver, run_id))
    task = driver.granted(run_id)
    turn_ = dump_entry(Turn(1, ("hi",), [ToolCall(id="b", name="look")], "tool-calls"))
    call = NewTask("1:tool:b", "tool", 1, call="b", tool="look", policy=POLICY, ask=ASK)
    driver.committed(task, entries=[turn_], next=[call])


def _sending(prepare: Callable[[Driver, str], object], **how: Any) -> Prepare:
    def sending(driver: Driver, run_id: str) -> Command[Any]:
        prepare(driver, run_id)
        return runs.put_message(driver.keys, run_id, message("m", **how), notifies=True)

    return sending


def answering(driver: Driver, run_id: str) -> Command[Any]:
    """The commit of a turn that has seen one message of two, and asks a person."""
    driver.ledger.send(create(driver, run_id))
    driver.put(run_id, "m1")
    task = driver.granted(run_id)
    driver.put(run_id, "m2")
    turn_ = dump_entry(Turn(1, ("hi",), [ToolCall(id="b", name="look")], "tool-calls", seen=1))
    call = NewTask("1:tool:b", "tool", 1, call="b", tool="look", policy=POLICY, ask=ASK)
    return committing(driver.keys, task, Work(entries=[turn_], next=[call], seen=1))


def dropping(driver: Driver, run_id: str) -> Command[Any]:
    driver.ledger.send(create(driver, run_id))
    driver.put(run_id, "m")
    return runs.abort(driver.keys, run_id, reason="enough")


def closing(driver: Driver, run_id: str) -> Command[Any]:
    driver.ledger.send(ending_a_step(driver, run_id))
    end = driver.granted(run_id, "1:end", "end-1:model")
    work = Work(
        chunks=[encode("step-finish", end.key, {"step": 1})],
        entries=[dump_entry(Decided(1, "told"))],
    )
    return attempts.close(driver.keys, end, sent=0, work=work, journal_length=1)


def yielding(driver: Driver, run_id: str) -> Command[Any]:
    asked(driver, run_id)
    return runs.yield_turn(driver.keys, run_id, number=1)


def cancelling(driver: Driver, run_id: str) -> Command[Any]:
    driver.ledger.send(turn(driver, run_id))
    return runs.cancel(driver.keys, run_id, call="c", reason="enough")


def waking(driver: Driver, run_id: str) -> Command[Any]:
    task = spoken(driver, run_id)
    call = attempts.requeue(
        driver.keys, task, delay_ms=50, reason="busy", change={"waits_for": "its turn"}
    )
    driver.ledger.send(call)
    return watch.wake(driver.keys, run_id, "1:model")


def deleting(driver: Driver, run_id: str) -> Command[Any]:
    spoken(driver, run_id)
    return runs.delete(driver.keys, run_id, indexes=[("all", "")], tombstone_ms=1000)


def giving_up(driver: Driver, run_id: str) -> Command[Any]:
    spoken(driver, run_id)
    return watch.give_up_run(driver.keys, run_id)


LIFE = {
    "create": create,
    "claim": claiming,
    "append": appending,
    "heartbeat": beating,
    "commit with calls": turn,
    "commit that claims the end": ending_a_step,
    "commit that finishes": finishing,
    "commit that fails": failing,
    "suspend": suspending,
    "resume: approved": _resuming("approved"),
    "resume: settled": _resuming("settle"),
    "requeue": requeuing,
    "release": releasing,
    "reconcile: a crash": crashing,
    "retry_failed": retrying,
    "abort: nothing runs": aborting,
    "abort: something runs": aborting_at_work,
    "send: to what speaks": _sending(spoken, interrupts=True),
    "send: while a person is asked": _sending(asked),
    "send: declines": _sending(asked, waits="decline", by='"ann"'),
    "commit of a turn that a message waits behind": answering,
    "abort with a message": dropping,
    "close": closing,
    "yield_turn": yielding,
    "cancel": cancelling,
    "wake": waking,
    "delete": deleting,
}
every_call = pytest.mark.parametrize("prepare", LIFE.values(), ids=LIFE)


# What must hold -------------------------------------------------------------------------------


@every_call
def test_all_that_can_err_comes_before_the_first_write(
    driver: TreeDriver, prepare: Prepare
) -> None:
    errs_before_its_first_write(driver, prepare)


@every_call
def test_a_run_whose_script_died_half_way_goes_on_and_stays_readable(
    driver: TreeDriver, prepare: Prepare
) -> None:
    goes_on_when_called_again(driver, prepare, leaves_a_run=prepare is not deleting)


@every_call
def test_a_run_whose_script_died_half_way_and_was_not_called_again_ends_when_aborted(
    driver: TreeDriver, prepare: Prepare
) -> None:
    # A retry that died has taken the end back: only the retry itself brings it again.
    if prepare not in (create, deleting, retrying):
        ends_when_aborted(driver, prepare)


def test_a_record_behind_its_topic_catches_up_with_the_next_append(driver: Driver) -> None:
    task = spoken(driver, "behind")
    keys = driver.keys.of("behind")
    seq = int(driver.ledger.client().hget(keys.run, "seq") or 0)
    driver.ledger.client().hset(keys.run, "seq", seq - 2)

    driver.say(task, "again", 2)
    driver.committed(task, 4, entries=[dump_entry(Turn(1, ("again",), (), "stop"))])

    play_on(driver, "behind")
    check_readable(driver, "behind")


def test_a_record_behind_its_topic_can_be_aborted(driver: Driver) -> None:
    spoken(driver, "behind")
    keys = driver.keys.of("behind")
    driver.ledger.client().hset(keys.run, "seq", 1)

    driver.ledger.send(runs.abort(driver.keys, "behind", reason=None))

    play_on(driver, "behind")
    check_readable(driver, "behind")


@pytest.mark.parametrize(
    "damage",
    [
        ("run", "live", "[["),
        ("run", "inbox", "[["),
        ("run", "abort_at", "x"),
        ("tasks", "1:model", "{"),
    ],
    ids=lambda damage: damage[1],
)
def test_a_run_that_no_look_can_help_is_failed_and_readable(
    driver: Driver, damage: tuple[str, str, str]
) -> None:
    spoken(driver, "broken")
    key, field, value = damage
    driver.ledger.client().hset(getattr(driver.keys.of("broken"), key), field, value)
    with pytest.raises(EventedAgentError) as erred:
        driver.ledger.send(reconciling(driver, "broken"))
    assert watch.is_script_error(erred.value)

    assert driver.ledger.send(watch.give_up_run(driver.keys, "broken"))

    record = check_readable(driver, "broken")
    assert record.fields["status"] == "failed"
    assert driver.alarm("broken") is None


def test_what_the_server_refuses_says_nothing_about_the_run() -> None:
    refused = "refused: NOPERM this user may not. script: f, on @user_script:3."

    assert not watch.is_script_error(RuntimeError(refused))
    assert not watch.is_script_error(ConnectionError("connection closed"))
