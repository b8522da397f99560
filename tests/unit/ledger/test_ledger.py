"""The scripts, called directly: every write is fenced, idempotent and leaves an alarm."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from evented_agent.chunks import StepReset
from evented_agent.errors import RunConflict, RunDeleted, RunNotFound
from evented_agent.ledger import attempts, runs
from evented_agent.ledger.connection import Ledger
from evented_agent.ledger.keys import Keys
from evented_agent.ledger.records import (
    Claim,
    Fenced,
    JournalChanged,
    NewTask,
    Refused,
    RunEnd,
)
from evented_agent.state.run_info import info_of
from tests.support.driver import Driver, cluster_server
from tests.support.servers import RedisServer


@pytest.fixture(params=[1, 3], ids=["one shard", "three shards"])
def driver(request: pytest.FixtureRequest, redis_server: RedisServer) -> Iterator[Driver]:
    ledger = Ledger(redis_server.url)
    keys = Keys(f"ledger{request.param}", request.param)
    yield Driver(ledger, keys)
    for key in ledger.client().keys(f"{keys.prefix}:*"):
        ledger.client().delete(key)
    ledger.close()


def test_creating_again_finds_the_same_run_or_refuses(driver: Driver) -> None:
    assert driver.create("r")
    assert not driver.create("r")
    with pytest.raises(RunConflict):
        driver.create("r", digest="other")
    assert driver.types("r") == ["start"]


def test_a_claim_is_granted_once_and_repeated_to_its_token(driver: Driver) -> None:
    driver.create("r")
    first = driver.granted("r")

    assert driver.granted("r") == first
    assert driver.claim("r", token="another") == Refused("busy")
    assert driver.claim("r", key="9:model") == Refused("stale")
    assert driver.claim("nobody") == Refused("missing")


def test_a_worker_without_the_agent_or_too_old_leaves_the_task_queued(driver: Driver) -> None:
    driver.create("r", agent="b")
    driver.create("new", v=99)

    assert driver.claim("r") == Refused("unserved")
    assert driver.claim("new") == Refused("newer")
    assert driver.alarm("r") is not None


def test_a_repeated_append_writes_nothing_twice(driver: Driver) -> None:
    driver.create("r")
    task = driver.granted("r")
    driver.say(task, "a", sent=0)
    driver.say(task, "a", sent=0)

    assert driver.types("r") == ["start", "text-start", "text-delta"]


def test_an_append_with_a_gap_or_a_foreign_token_is_fenced(driver: Driver) -> None:
    driver.create("r")
    task = driver.granted("r")
    with pytest.raises(Fenced, match="gap"):
        driver.say(task, "a", sent=3)
    driver.expire(task)
    driver.reconcile("r")
    with pytest.raises(Fenced, match="fenced"):
        driver.say(task, "a", sent=0)


def test_a_commit_with_a_wrong_count_is_refused(driver: Driver) -> None:
    driver.create("r")
    task = driver.granted("r")
    driver.say(task, "a", sent=0)

    with pytest.raises(Fenced, match="gap"):
        driver.commit(task, sent=1)


def test_a_repeated_commit_gets_the_same_answer(driver: Driver) -> None:
    driver.create("r")
    task = driver.granted("r")
    tools = [NewTask(f"1:tool:{n}", "tool", 1, str(n), "t") for n in range(2)]
    first = driver.committed(task, entries=['{"k":"turn"}'], next=tools)
    second = driver.committed(task, entries=['{"k":"turn"}'], next=tools)

    assert first == second
    assert [due.key for due in first.sends] == ["1:tool:0", "1:tool:1"]
    assert driver.ledger.client().llen(driver.keys.of("r").journal) == 1


def test_the_last_tool_claims_the_end_of_the_step(driver: Driver) -> None:
    driver.create("r")
    tools = [NewTask(f"1:tool:{n}", "tool", 1, str(n), "t") for n in range(2)]
    driver.commit(driver.granted("r"), entries=['{"k":"turn"}'], next=tools)
    tasks = [driver.granted("r", tool.key, f"t{tool.call}") for tool in tools]

    assert driver.committed(tasks[0], entries=["{}"]).end is None
    end = driver.committed(tasks[1], entries=["{}"]).end
    assert end is not None
    assert (end.task.key, end.journal_length) == ("1:end", 3)
    # The reply was lost: asked again, the same claim comes back.
    assert driver.committed(tasks[1], entries=["{}"]).end == end


def test_each_claim_says_which_span_the_run_belongs_to(driver: Driver) -> None:
    driver.create("traced", trace="00-a-b-01")
    claim = driver.claim("traced")
    assert isinstance(claim, Claim)
    end = driver.committed(claim.task, entries=["{}"]).end

    assert end is not None
    assert (claim.trace, end.trace) == ("00-a-b-01", "00-a-b-01")


def test_calls_over_the_limit_wait_for_a_place(driver: Driver) -> None:
    driver.create("r")
    tools = [NewTask(f"1:tool:{n}", "tool", 1, str(n), "t") for n in range(4)]
    sends = driver.committed(driver.granted("r"), entries=["{}"], next=tools).sends
    assert [due.key for due in sends] == ["1:tool:0", "1:tool:1"]
    assert driver.claim("r", "1:tool:2") == Refused("busy")

    done = driver.committed(driver.granted("r", "1:tool:0", "x"), entries=["{}"])

    assert [due.key for due in done.sends] == ["1:tool:2"]


def test_a_decision_from_an_old_journal_is_refused(driver: Driver) -> None:
    driver.create("r")
    end = driver.committed(driver.granted("r"), entries=["{}"]).end
    assert end is not None
    finish = RunEnd("finished", "stop")

    refused = driver.commit(end.task, finish=finish, journal_length=0)

    assert isinstance(refused, JournalChanged)
    assert refused.journal_length == 1
    driver.committed(end.task, finish=finish, journal_length=1)
    assert driver.ledger.send(runs.read(driver.keys, "r")).fields["status"] == "finished"


def test_a_lease_that_ran_out_withdraws_what_was_said(driver: Driver) -> None:
    driver.create("r")
    task = driver.granted("r")
    driver.say(task, "half", sent=0)
    driver.expire(task)

    found = driver.reconcile("r")

    assert [due.key for due in found.sends] == ["1:model"]
    assert driver.types("r") == ["start", "text-start", "text-delta", "text-end", "step-reset"]
    assert driver.granted("r", token="t2").generation == 2


def test_after_a_pause_of_redis_leases_get_time_to_be_renewed(driver: Driver) -> None:
    driver.create("r")
    task = driver.granted("r")
    driver.expire(task)

    assert driver.reconcile("r", grace=5000).sends == []
    driver.say(task, "still here", sent=0)


def test_a_healthy_lease_is_left_alone(driver: Driver) -> None:
    driver.create("r")
    driver.granted("r")

    assert driver.reconcile("r").sends == []


def test_a_run_that_kills_its_worker_each_time_ends(driver: Driver) -> None:
    driver.create("r")
    for n in range(5):
        driver.expire(driver.granted("r", token=f"t{n}"))
        driver.reconcile("r")

    record = driver.ledger.send(runs.read(driver.keys, "r"))
    assert record.fields["status"] == "failed"
    assert "stopped 5 times" in record.fields["error"]
    assert driver.types("r")[-1] == "error"
    assert driver.alarm("r") is None


def test_a_tool_that_kills_its_worker_each_time_becomes_an_error(driver: Driver) -> None:
    driver.create("r")
    tool = NewTask("1:tool:c", "tool", 1, "c", "t")
    driver.commit(driver.granted("r"), entries=["{}"], next=[tool])
    sends: list[str] = []
    for n in range(5):
        driver.expire(driver.granted("r", "1:tool:c", f"t{n}"))
        sends = [due.key for due in driver.reconcile("r").sends]

    assert sends == ["1:end"]
    assert driver.types("r")[-1] == "tool-error"


def test_a_message_is_sent_again_only_when_it_may_be(driver: Driver) -> None:
    driver.create("r")
    record = driver.keys.of("r")
    client = driver.ledger.client()

    def grow_old() -> None:
        task = json.loads(client.hget(record.tasks, "1:model") or "{}")
        task["send_at"] -= 100_000
        client.hset(record.tasks, "1:model", json.dumps(task))

    assert driver.reconcile("r").sends == []
    grow_old()
    assert driver.reconcile("r", may_send=False).sends == []
    grow_old()
    assert [due.key for due in driver.reconcile("r").sends] == ["1:model"]


def test_an_abort_ends_a_queued_run_at_once_and_a_running_one_after_it_saw_it(
    driver: Driver,
) -> None:
    driver.create("queued")
    driver.create("running")
    task = driver.granted("running")
    driver.say(task, "half", sent=0)
    for run_id in ("queued", "running"):
        assert driver.ledger.send(runs.abort(driver.keys, run_id, reason="why"))

    assert driver.types("queued")[-1] == "abort"
    assert driver.say(task, "", sent=2) == "aborted"
    driver.committed(task, sent=4, entries=["{}"])
    assert driver.types("running")[-1] == "abort"
    assert "step-reset" not in driver.types("running")
    assert not driver.ledger.send(runs.abort(driver.keys, "running", reason=None))


def test_a_released_attempt_counts_as_no_crash(driver: Driver) -> None:
    driver.create("r")
    task = driver.granted("r")
    driver.say(task, "half", sent=0)

    dues = driver.ledger.send(attempts.release(driver.keys, "r", worker="w1", reason="shutdown"))

    assert [due.generation for due in dues] == [2]
    assert driver.granted("r", token="t2").crashes == 0
    with pytest.raises(Fenced):
        driver.commit(task, sent=2)


def test_a_retry_waits_and_withdraws(driver: Driver) -> None:
    driver.create("r")
    task = driver.granted("r")
    driver.say(task, "half", sent=0)
    call = attempts.requeue(driver.keys, task, delay_ms=60_000, reason="429", change={"tries": 1})
    driver.ledger.send(call)
    driver.ledger.send(call)

    assert driver.claim("r", token="t2") == Refused("early")
    assert driver.types("r")[-1] == "step-reset"


def test_every_live_run_has_an_alarm_and_no_ended_one(driver: Driver) -> None:
    driver.create("r")
    assert driver.alarm("r")
    task = driver.granted("r")
    assert driver.alarm("r")
    end = driver.committed(task, entries=["{}"]).end
    assert driver.alarm("r")
    assert end is not None
    driver.committed(end.task, finish=RunEnd("finished", "stop"))
    assert driver.alarm("r") is None


def test_a_deletion_leaves_a_tombstone_and_fences(driver: Driver) -> None:
    driver.create("r")
    task = driver.granted("r")
    driver.ledger.send(runs.delete(driver.keys, "r", indexes=[("all", "")], tombstone_ms=9000))

    with pytest.raises(Fenced, match="deleted"):
        driver.say(task, "a", sent=0)
    with pytest.raises(RunDeleted):
        driver.create("r")
    with pytest.raises(RunDeleted):
        driver.ledger.send(runs.read(driver.keys, "r"))
    with pytest.raises(RunNotFound):
        driver.ledger.send(runs.read(driver.keys, "nobody"))
    assert len(driver.ledger.client().keys(f"{driver.keys.prefix}:*r:*")) == 1


def test_the_scripts_declare_every_key(tmp_path: Path) -> None:
    with cluster_server(tmp_path) as server:
        ledger = Ledger(server.url)
        cluster = Driver(ledger, Keys("cluster", 5))
        for run_id in ("one", "two", "three"):
            cluster.create(run_id)
            end = cluster.committed(cluster.granted(run_id), entries=["{}"]).end
            assert end is not None
            cluster.committed(end.task, finish=RunEnd("finished", "stop"))
            assert ledger.send(runs.read(cluster.keys, run_id)).fields["status"] == "finished"
        ledger.close()


@pytest.mark.parametrize("is_claimed", [True, False], ids=["a dead attempt", "a lost message"])
def test_a_clock_that_went_back_hides_nothing_for_long(driver: Driver, is_claimed: bool) -> None:
    driver.create("back")
    key = "1:model"
    if is_claimed:
        driver.granted("back")
    tasks, client = driver.keys.of("back").tasks, driver.ledger.client()
    task = json.loads(client.hget(tasks, key) or "")
    for name in ("lease", "queued_at", "send_at"):
        if name in task:
            task[name] += 600_000
    client.hset(tasks, key, json.dumps(task))

    driver.reconcile("back")

    alarm = driver.alarm("back")
    now = driver.ledger.send(runs.read(driver.keys, "back")).now
    assert alarm is not None
    assert alarm - now <= 5_000


def test_a_worker_that_knows_tokens_alone_keeps_what_the_run_has_cost(driver: Driver) -> None:
    driver.create("mixed")
    costs = '"nano_usd":5,"priced_calls":1,"unpriced_calls":2'
    driver.ledger.client().hset(
        driver.keys.of("mixed").run, "usage", f'{{"input_tokens":1,{costs}}}'
    )

    driver.committed(driver.granted("mixed"), usage={"input_tokens": 1})

    record = driver.ledger.send(runs.read(driver.keys, "mixed"))
    assert json.loads(record.fields["usage"]) == {"input_tokens": 2, **json.loads(f"{{{costs}}}")}


def test_usage_that_no_number_can_hold_is_clamped_in_the_record(driver: Driver) -> None:
    driver.create("huge")
    driver.ledger.client().hset(driver.keys.of("huge").run, "usage", '{"input_tokens":1e+20}')

    task = driver.granted("huge")
    driver.committed(task, usage={"input_tokens": 10**20, "output_tokens": -5, "cost": 1.5})

    record = driver.ledger.send(runs.read(driver.keys, "huge"))
    usage = json.loads(record.fields["usage"])
    assert usage == {"input_tokens": 2**53, "output_tokens": 0, "cost": 1}


def test_a_retry_resets_each_task_that_had_said_something(driver: Driver) -> None:
    driver.create("both")
    model = driver.granted("both")
    following = [NewTask(f"1:tool:{call}", "tool", 1, call=call, tool="t") for call in "ab"]
    driver.committed(model, next=following)
    first, second = (driver.granted("both", f"1:tool:{call}", call) for call in "ab")
    driver.say(first, "one", 0)
    driver.say(second, "two", 0)
    error = {"name": "E", "message": "no"}
    driver.committed(first, 2, finish=RunEnd("failed", "error", error))

    driver.ledger.send(runs.retry_failed(driver.keys, "both", notifies=True))

    assert driver.types("both")[-2:] == ["step-reset", "step-reset"]
    resets = [each.payload for each in driver.chunks("both") if isinstance(each, StepReset)]
    # The first says which failure was taken back.
    assert [each.error and each.error.name for each in resets] == ["E", None]


@pytest.mark.parametrize(
    ("key", "field", "damaged"),
    [
        *(("run", "inbox", damaged) for damaged in ("", "{", "3", "[[")),
        *(("run", "live", damaged) for damaged in ("", "{", "3", "[[1]]", "null")),
        *(("tasks", "1:model", damaged) for damaged in ("", "{", "3", "[]", '{"kind":"model"}')),
        *(("tasks", "~1", damaged) for damaged in ("", "{", "3", "{}", '{"agent":"b"}')),
        *(("tasks", "decided:7", damaged) for damaged in ("", "{", "3", "{}")),
    ],
)
def test_what_is_damaged_of_a_record_hides_nothing_else_of_it(
    driver: Driver, key: str, field: str, damaged: str
) -> None:
    driver.create("r", children=1, messages='[{"role":"user","content":"Hi"}]')
    place = getattr(driver.keys.of("r"), key)
    client = driver.ledger.client()
    client.hset(driver.keys.of("r").tasks, "latest:", "7")
    client.hset(place, field, damaged)

    record = driver.ledger.send(runs.read(driver.keys, "r", journal=True))
    info = info_of(record, has_input=True)
    assert (info.run_id, info.agent, info.status) == ("r", "a", "queued")
    assert len(info.input) == 1
    assert (list(info.inbox), info.children, info.decisions) == ([], [], [])
    driver.ledger.send(runs.read_attempts(driver.keys, "r"))
    driver.ledger.send(runs.delete(driver.keys, "r", indexes=[], tombstone_ms=1000))
    assert not client.exists(driver.keys.of("r").tasks)
