"""Makes the scripts about a run err at each of their steps; what must hold all the same."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

from evented_agent.chunks import ErrorInfo
from evented_agent.chunks.codec import encode
from evented_agent.client.reader import Reader
from evented_agent.errors import EventedAgentError
from evented_agent.ledger import runs, watch
from evented_agent.ledger.records import Claim, Decision, Fenced, Record, Task, Work
from evented_agent.ledger.script import Command, Script
from evented_agent.state.journal import Result, Resumed, dump_entry
from evented_agent.state.run_info import info_of
from evented_agent.state.run_result import result_of
from tests.support.driver import Driver
from tests.support.trees import TreeDriver, committing, finish_work, result_work, turn_work

#: Brings a run to the call that is made to err, and returns that call.
Prepare = Callable[[TreeDriver, str], Command[Any]]

#: Goes in front of a script: its step number AT errs; so does what may err after a write.
SABOTAGE = """
local step_, written_, redis_, cjson_ = 0, false, redis, cjson
local WRITES_ = {HSET = 1, HDEL = 1, RPUSH = 1, XADD = 1, XDEL = 1, ZADD = 1, ZREM = 1, SET = 1,
  PEXPIRE = 1, PERSIST = 1, UNLINK = 1}
local function sabotage_(is_write)
  step_ = step_ + 1
  if step_ == AT then error(written_ and 'written' or 'unwritten') end
  written_ = written_ or is_write
end
local redis = {
  call = function(name, ...) sabotage_(WRITES_[name]) return redis_.call(name, ...) end,
  pcall = function(name, ...) sabotage_(WRITES_[name]) return redis_.pcall(name, ...) end,
}
local cjson = {
  null = cjson_.null,
  encode = function(value) sabotage_() return cjson_.encode(value) end,
  decode = function(value)
    if written_ then error('too late') end
    sabotage_()
    return cjson_.decode(value)
  end,
}
"""

run_ids = (f"r{number}" for number in itertools.count())


# What must hold -------------------------------------------------------------------------------


def errs_before_its_first_write(driver: TreeDriver, prepare: Prepare) -> None:
    """All that can err comes before the first write."""
    run_id = next(run_ids)
    call = prepare(driver, run_id)

    before = everything(driver, run_id)
    at = 1
    while err(driver, call, at) == "unwritten":
        assert everything(driver, run_id) == before
        at += 1


def goes_on_when_called_again(
    driver: TreeDriver, prepare: Prepare, *, leaves_a_run: bool = True
) -> None:
    """A run whose script died half way goes on, and stays readable."""
    for run_id, call in _deaths(driver, prepare):
        with suppress(Fenced, EventedAgentError):
            driver.ledger.send(call)
        if leaves_a_run:
            play_on(driver, run_id)
            check_readable(driver, run_id)


def ends_when_aborted(driver: TreeDriver, prepare: Prepare) -> None:
    """A run whose script died half way, and was not called again, ends when it is aborted."""
    for run_id, _ in _deaths(driver, prepare):
        driver.ledger.send(runs.abort(driver.keys, run_id, reason=None))
        play_on(driver, run_id)
        check_readable(driver, run_id)


def _deaths(driver: TreeDriver, prepare: Prepare) -> Iterator[tuple[str, Command[Any]]]:
    """Runs whose script died in the middle of its writes, at each place, with its call."""
    run_id, call = "", None
    for at in itertools.count(1):
        if call is None:
            run_id = next(run_ids)
            call = prepare(driver, run_id)
        why = err(driver, call, at)
        if not why:
            return
        # An error before the first write has left the run as it was.
        if why == "written":
            yield run_id, call
            call = None


# How it is done -------------------------------------------------------------------------------


def err(driver: Driver, call: Command[Any], at: int) -> str:
    """Send *call* with an error at its step *at*: when that was, or "" if there is no such step."""
    source = SABOTAGE.replace("== AT", f"== {at}") + call.script.source
    sabotaged = Script(call.script.name, source, "0" * 40, call.script.header)
    try:
        driver.ledger.send(replace(call, script=sabotaged))
    except EventedAgentError as error:
        if "written" not in str(error):
            raise
        return "unwritten" if "unwritten" in str(error) else "written"
    return ""


def everything(driver: Driver, run_id: str) -> Any:
    client, keys = driver.ledger.client(), driver.keys.of(run_id)
    scores = [client.zscore(key, run_id) for key in (keys.alarms, keys.bells, *keys.statuses)]
    return [client.dump(key) for key in keys.own[:5]], scores


def check_readable(driver: Driver, run_id: str) -> Record:
    """Its record, its result and its stream can be read, and it has ended."""
    record = driver.ledger.send(runs.read(driver.keys, run_id, journal=True))
    for each in (run_id, *record.children):
        found = driver.ledger.send(runs.read(driver.keys, each, journal=True))
        assert info_of(found).is_ended
        result_of(found, found.entries)
    reader = Reader(driver.keys, driver.ledger, run_id)
    chunks = [chunk for chunk in reader.chunks(0, timeout=5) if chunk]
    assert [chunk.seq for chunk in chunks] == list(range(1, len(chunks) + 1))
    assert chunks[-1].ends_topic
    client, keys = driver.ledger.client(), driver.keys.of(run_id)
    assert all(client.pttl(key) != -1 for key in keys.own[:5])
    return record


def play_on(driver: Driver, run_id: str, only: str = "") -> None:
    """Whoever is there does what is due: workers, people and the watchdog."""
    client, keys = driver.ledger.client(), driver.keys.of(run_id)
    for turn_ in range(60):
        record = driver.ledger.send(runs.read(driver.keys, run_id))
        if record.ended and not record.tasks and client.pttl(keys.run) != -1:
            return
        for task in record.tasks:
            if only in ("", task.key):
                _do_what_is_due(driver, task, f"{turn_}-{task.key}")
        driver.ledger.send(reconciling(driver, run_id))
    raise AssertionError(f"{run_id} does not end")


def _do_what_is_due(driver: Driver, task: Task, token: str) -> None:
    if task.state == "queued":
        found = driver.claim(task.run_id, task.key, token)
        # Another task may have ended its run meanwhile.
        if isinstance(found, Claim):
            work = work_of(driver, found.task)
            driver.ledger.send(committing(driver.keys, found.task, work))
    elif task.state == "running":
        with suppress(Fenced):
            driver.expire(task)
    elif task.state == "suspended":
        # Nobody decides about a run that is being aborted.
        with suppress(EventedAgentError):
            driver.ledger.send(settling(driver, task))


def work_of(driver: Driver, task: Task) -> Work:
    """What a worker makes of a task: models ask for nothing more, and each end finishes."""
    if task.kind == "model":
        return turn_work(task)
    if task.kind == "tool":
        return result_work(task)
    if task.kind != "end":
        return Work()
    record = driver.ledger.send(runs.read(driver.keys, task.run_id))
    answers = record.children[task.own_run_id]["answers"] if task.branch else ""
    return finish_work(task, next((each for each in record.tasks if each.key == answers), None))


def reconciling(driver: Driver, run_id: str) -> Command[Any]:
    look = watch.Tick(is_watching=True, now=2**50)
    return watch.reconcile(driver.keys, run_id, look=look, may_send=True, jitter=0)


def resuming(driver: Driver, task: Task, follows: Any) -> Command[Any]:
    """A person decides about a suspended call."""
    call = task.call or ""
    entry = dump_entry(Resumed(call, 1, "approval", {"approved": True}))
    result = dump_entry(Result(1, call, "look", error=ErrorInfo(name="No", message="no")))
    about = {"toolCallId": call, "toolName": "look", "approval": {"approved": False}}
    denied = encode("tool-output-denied", task.key, about)
    decision = Decision("digest", follows, entry, data="{}", chunk=denied, result=result)
    return runs.resume(
        driver.keys, task.run_id, call=call, number=0, decision=decision, notifies=False
    )


def settling(driver: Driver, task: Task) -> Command[Any]:
    return resuming(driver, task, "settle")
