"""Drives the scripts of trees of runs directly: calls that child runs answer, and their tasks."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from evented_agent.chunks.codec import encode
from evented_agent.ledger import attempts, runs
from evented_agent.ledger.keys import Keys
from evented_agent.ledger.records import (
    Committed,
    NewTask,
    Record,
    RunEnd,
    Task,
    Work,
)
from evented_agent.ledger.script import Command
from evented_agent.ledger.tree_records import NewChild, TreeFull
from evented_agent.models.messages import ToolCall
from evented_agent.state.journal import Result, Turn, dump_entry
from tests.support.driver import WORKER, Driver

POLICY: Mapping[str, Any] = {
    "on_crash": "rerun",
    "most_retries": 2,
    "expiry": 60_000,
    "on_expiry": "decline",
}
CHILD = NewChild("a", 2, '[{"role":"user","content":"hi"}]')


def call_id(branch: str, call: str) -> str:
    return f"{branch}/{call}" if branch else call


def new_call(
    branch: str, call: str, *, step: int = 1, asks: bool = False, **policy: object
) -> NewTask:
    """A call as the commit of its turn queues it, or asks a person about it."""
    id_, key = call_id(branch, call), f"{step}:tool:{call}"
    about = {"toolCallId": id_, "toolName": "look", "args": {}}
    ask = encode("tool-call-approval", call_id(branch, key), about) if asks else None
    return NewTask(key, "tool", step, call=id_, tool="look", ask=ask, policy={**POLICY, **policy})


def turn_work(task: Task, *calls: NewTask, usage: Mapping[str, int] | None = None) -> Work:
    """A turn of the model that asks for *calls*."""
    asked = [ToolCall(id=each.call or "", name="look") for each in calls]
    turn = dump_entry(Turn(task.step, ("hi",), asked, "tool-calls" if asked else "stop"))
    return Work(entries=[turn], next=calls, usage=usage or {})


def result_work(task: Task) -> Work:
    return Work(entries=[dump_entry(Result(task.step, task.call or "", "look", result=1))])


def end_chunk(task: Task) -> str:
    return encode("finish", task.key, {"stepResult": {"reason": "stop"}})


def finish_work(task: Task, call: Task | None, *, chunks: Sequence[str] = ()) -> Work:
    """The run, or the child that answers *call*, finishes."""
    chunks = [*chunks, end_chunk(task)]
    if call is None:
        return Work(chunks=chunks, finish=RunEnd("finished", "stop"))
    id_ = call.call or ""
    told = encode("tool-result", call.key, {"toolCallId": id_, "toolName": "look", "result": 1})
    entry = dump_entry(Result(call.step, id_, "look", result=1))
    return Work(chunks=chunks, finish=RunEnd("finished", "stop", chunks=[told], entry=entry))


def fail_work(task: Task) -> Work:
    """The run, or the child, fails with its task."""
    error = {"name": "E", "message": "no"}
    chunk = encode("error", task.key, {"error": error})
    return Work(chunks=[chunk], finish=RunEnd("failed", "error", error))


def spawning(keys: Keys, task: Task, *, sent: int = 0, child: NewChild = CHILD) -> Command[Any]:
    return attempts.spawn(keys, task, sent=sent, chunks=[], child=child)


def committing(keys: Keys, task: Task, work: Work, sent: int = 0) -> Command[Any]:
    return attempts.commit(
        keys, task, sent=sent, work=work, worker=WORKER, end_token=f"end-{task.key}"
    )


class TreeDriver(Driver):
    """A `Driver` with what trees need."""

    agents = ("a", "b")

    def read(self, run_id: str = "r") -> Record:
        return self.ledger.send(runs.read(self.keys, run_id, journal=True))

    def states(self, run_id: str = "r") -> dict[str, str]:
        return {task.key: task.state for task in self.read(run_id).tasks}

    def child(self, run_id: str, branch: str) -> Mapping[str, Any]:
        """What a child has of its own, as it is stored."""
        stored = self.ledger.client().hget(self.keys.of(run_id).tasks, branch)
        found: Mapping[str, Any] = json.loads(stored or "null")
        return found

    def entries(self, run_id: str, branch: str = "") -> list[dict[str, Any]]:
        return [json.loads(entry) for entry in self.read(f"{run_id}{branch}").entries]

    def attempt(self, run_id: str, key: str) -> Task:
        return self.granted(run_id, key, f"t-{key}")

    def work(self, task: Task, work: Work, sent: int = 0) -> Committed:
        """Commit *work*, which is not refused."""
        done = self.ledger.send(committing(self.keys, task, work, sent))
        assert isinstance(done, Committed)
        return done

    def asks(self, run_id: str, branch: str, *calls: NewTask, step: int = 1) -> Committed:
        """The model of a branch asks for *calls* in its turn."""
        task = self.attempt(run_id, call_id(branch, f"{step}:model"))
        return self.work(task, turn_work(task, *calls))

    def spawn(self, task: Task, **how: Any) -> Committed:
        done = self.ledger.send(spawning(self.keys, task, **how))
        assert isinstance(done, Committed), done
        return done

    def refused(self, task: Task) -> TreeFull:
        full = self.ledger.send(spawning(self.keys, task))
        assert isinstance(full, TreeFull), full
        return full

    def spawned(self, run_id: str, branch: str, call: str, **policy: object) -> str:
        """The first turn of a branch makes one call, which a child answers: the child."""
        self.asks(run_id, branch, new_call(branch, call, **policy))  # type: ignore[arg-type]
        task = self.attempt(run_id, call_id(branch, f"1:tool:{call}"))
        self.spawn(task)
        return f"{branch}~{int(self.own(run_id, branch)['children'])}"

    def own(self, run_id: str, branch: str) -> Mapping[str, Any]:
        return self.child(run_id, branch) if branch else self.read(run_id).fields

    def answers(self, run_id: str, branch: str) -> Task:
        """The call that a child answers, as its record has it now."""
        key = self.child(run_id, branch)["answers"]
        [call] = [task for task in self.read(run_id).tasks if task.key == key]
        return call

    def says_stop(self, run_id: str, branch: str) -> Task:
        """The model of a branch answers in its first turn; its end task is claimed."""
        done = self.asks(run_id, branch)
        assert done.end is not None
        return done.end.task

    def finishes(self, run_id: str, branch: str) -> Committed:
        """The child answers at once."""
        end = self.says_stop(run_id, branch)
        return self.work(end, finish_work(end, self.answers(run_id, branch)))
