"""One trace for one run, whichever processes it takes, however they end."""

import os
import threading
import uuid
from collections import Counter
from pathlib import Path

import pytest

from evented_agent import EventedAgent
from tests.conftest import StartWorker
from tests.support.proxy import Moment, Proxy, Write
from tests.support.servers import RedisServer
from tests.support.traces import FILE, NAME, StoredSpan, spans_in, tree
from tests.support.warm_start import run_warm
from tests.support.workers import WorkerProcess, wait_until

Agents = dict[str, EventedAgent]


@pytest.fixture(scope="module")
def worker_app() -> str:
    return "tests.durability.traced_app"


class Fleet:
    """Processes that trace into one file, each under its own name."""

    def __init__(self, folder: Path, start_worker: StartWorker, env: dict[str, str]) -> None:
        self.file = folder / "spans"
        self._start = start_worker
        self._env = {**env, FILE: str(self.file)}

    def worker(self, name: str, **env: str) -> WorkerProcess:
        return self._start(name, env={**self._env, NAME: name, **env}, concurrency=4)

    def call(self, process: str, *arguments: str) -> None:
        env = {**os.environ, **self._env, NAME: process}
        done = run_warm(["tests.durability.traced_app", *arguments], env)
        assert done.returncode == 0, done.stderr

    def spans(self, name: str = "") -> list[StoredSpan]:
        return [span for span in spans_in(self.file) if span.name.startswith(name)]

    def chats(self, run_id: str) -> list[StoredSpan]:
        """Model calls of a run, without those of its children."""
        found = self.spans("chat")
        return [span for span in found if span.attributes["evented_agent.run.id"] == run_id]


@pytest.fixture
def fleet(tmp_path: Path, start_worker: StartWorker, environment: dict[str, str]) -> Fleet:
    return Fleet(tmp_path, start_worker, environment)


def test_one_trace_spans_handlers_killed_workers_an_approval_and_a_child_run(
    fleet: Fleet, agents: Agents, marks: Path
) -> None:
    run_id = uuid.uuid4().hex
    clerk = agents["clerk"]
    (marks / "hold").touch()
    first = fleet.worker("w1")
    fleet.call("web", "start", run_id, "slow")
    said = clerk.observe(run_id, close_on_suspend=False).text_parts()
    wait_until(lambda: "word by" in next(said).snapshot, "the model is in mid-answer")
    first.kill()
    (marks / "hold").unlink()
    second = fleet.worker("w2")
    wait_until((marks / "book_van").exists, "the child run has come to its tool")
    second.kill()
    fleet.worker("w3")
    wait_until(lambda: clerk.get(run_id).status == "suspended", "it waits for approval")
    fleet.call("web2", "approve", run_id)
    assert clerk.observe(run_id).result(30).answer == "Order 7 is refunded."
    wait_until(lambda: fleet.spans("end_run clerk"), "the end is traced")

    spans = fleet.spans()
    print(tree(spans))
    [handler], [start] = fleet.spans("POST /chat"), fleet.spans("invoke_agent clerk")
    ours = [span for span in spans if span.scope == "evented_agent"]
    assert {span.trace_id for span in ours} == {handler.trace_id}
    assert start.parent == handler.span_id
    # A child run is beneath the call that it answers.
    [asked], [child] = fleet.spans("execute_tool courier"), fleet.spans("invoke_agent courier")
    assert child.parent == asked.span_id
    beneath = {span.name: span.parent for span in ours if span.parent == child.span_id}
    assert set(beneath) == {"chat model", "execute_tool book_van", "end_run courier"}
    rest = {span.parent for span in ours if span.parent not in (child.span_id, asked.span_id)}
    assert rest == {handler.span_id, start.span_id}
    # Calls that were cut off died with their process; each that was completed has one span.
    assert Counter(span.name for span in ours) == {
        "invoke_agent clerk": 1,
        "chat model": 4,
        "execute_tool look_up": 1,
        "execute_tool courier": 1,
        "invoke_agent courier": 1,
        "execute_tool book_van": 1,
        "end_run courier": 1,
        "resume_run clerk": 1,
        "execute_tool refund": 1,
        "end_run clerk": 1,
    }
    assert {span.status for span in ours} == {"UNSET"}
    about = [
        (
            s.process,
            s.attributes["evented_agent.attempt"],
            s.attributes.get("evented_agent.crashes"),
        )
        for s in [*fleet.spans("chat"), *fleet.spans("execute_tool book_van")]
    ]
    first_tries = [("w2", 1, None), ("w3", 1, None), ("w3", 1, None)]
    assert about == [("w2", 2, 1), *first_tries, ("w3", 2, 1)]
    whose = [s.attributes["evented_agent.run.id"].removeprefix(run_id) for s in fleet.spans("chat")]
    assert whose == ["", "~1", "~1", ""]
    assert {span.attributes["gen_ai.conversation.id"] for span in ours} == {f"t-{run_id}"}
    [decision], [approving] = fleet.spans("resume_run"), fleet.spans("POST /approve")
    assert fleet.spans("chat")[0].events == ["evented_agent.suspended"]
    assert (decision.process, decision.links) == ("web2", [approving.span_id])
    assert approving.links == [decision.span_id]
    assert approving.trace_id != handler.trace_id
    [query], [look] = fleet.spans("SELECT"), fleet.spans("execute_tool look_up")
    assert (query.trace_id, query.parent) == (handler.trace_id, look.span_id)


def is_first_turn(write: Write) -> bool:
    return (write.script, write.task, write.nth) == ("commit", "1:model", 1)


def is_spawn(write: Write) -> bool:
    return (write.script, write.nth) == ("spawn", 1)


@pytest.mark.parametrize(("moment", "calls"), [("before", 1), ("after", 0)])
def test_a_child_run_keeps_its_place_in_the_trace_whoever_is_killed_as_it_begins(
    moment: Moment, calls: int, fleet: Fleet, agents: Agents, redis_server: RedisServer
) -> None:
    run_id, killed = uuid.uuid4().hex, threading.Event()
    victims: list[WorkerProcess] = []

    def watch(write: Write, at: Moment) -> bool:
        if write.run_id == run_id and is_spawn(write) and at == moment:
            victims[0].kill()
            killed.set()
        return not killed.is_set()

    with Proxy(redis_server.port, watch) as proxy:
        victims.append(fleet.worker("w1", TEST_REDIS_URL=proxy.url))
        fleet.call("web", "start", run_id, "fast")
        assert killed.wait(30)
    fleet.worker("w2")
    wait_until(lambda: fleet.spans("end_run courier"), "the child's end is traced")

    # Once it has begun the call is not made again, and its spans died with its process.
    assert len(fleet.spans("execute_tool courier")) == len(fleet.spans("invoke_agent courier"))
    assert len(fleet.spans("invoke_agent courier")) == calls
    child = [s for s in fleet.spans() if s.attributes.get("evented_agent.run.id") == f"{run_id}~1"]
    [handler], [start] = fleet.spans("POST /chat"), fleet.spans("invoke_agent clerk")
    assert {span.trace_id for span in child} == {handler.trace_id}
    [parent] = {span.parent for span in child if not span.name.startswith("invoke_agent")}
    assert parent != start.span_id
    assert [span.span_id for span in fleet.spans("invoke_agent courier")] == [parent] * calls
    agents["clerk"].abort(run_id)


@pytest.mark.parametrize(("moment", "attempts"), [("before", [2]), ("after", [])])
def test_a_call_that_is_killed_at_its_commit_is_never_traced_twice(
    moment: Moment,
    attempts: list[int],
    fleet: Fleet,
    agents: Agents,
    redis_server: RedisServer,
) -> None:
    run_id, killed = uuid.uuid4().hex, threading.Event()
    victims: list[WorkerProcess] = []

    def watch(write: Write, at: Moment) -> bool:
        if write.run_id == run_id and is_first_turn(write) and at == moment:
            victims[0].kill()
            killed.set()
        return not killed.is_set()

    with Proxy(redis_server.port, watch) as proxy:
        victims.append(fleet.worker("w1", TEST_REDIS_URL=proxy.url))
        fleet.call("web", "start", run_id, "fast")
        assert killed.wait(30)
    fleet.worker("w2")
    clerk = agents["clerk"]
    wait_until(lambda: clerk.get(run_id).status == "suspended", "it waits for approval")
    wait_until(lambda: fleet.spans("execute_tool"), "the other call is traced")

    # Once it is committed it is not made again, and what was not exported died with its process.
    chats = fleet.chats(run_id)
    assert [span.attributes["evented_agent.attempt"] for span in chats] == attempts
    assert {span.status for span in fleet.spans()} == {"UNSET"}
    clerk.abort(run_id)


def test_a_call_of_a_frozen_worker_says_that_it_was_in_vain(
    fleet: Fleet, agents: Agents, redis_server: RedisServer
) -> None:
    run_id, frozen, let_go = uuid.uuid4().hex, threading.Event(), threading.Event()
    workers: list[WorkerProcess] = []

    def watch(write: Write, at: Moment) -> bool:
        if write.run_id == run_id and is_first_turn(write) and at == "before":
            workers[0].pause()
            frozen.set()
            let_go.wait(60)
        return True

    with Proxy(redis_server.port, watch) as proxy:
        workers.append(fleet.worker("w1", TEST_REDIS_URL=proxy.url))
        fleet.call("web", "start", run_id, "fast")
        assert frozen.wait(30)
        fleet.worker("w2")
        clerk = agents["clerk"]
        wait_until(lambda: clerk.get(run_id).status == "suspended", "the other has done it")
        let_go.set()
        workers[0].resume()
        wait_until(lambda: len(fleet.chats(run_id)) > 1, "the call in vain is traced")

    found = {
        (span.process, span.status, span.attributes.get("error.type"))
        for span in fleet.chats(run_id)
    }
    assert found == {("w1", "ERROR", "fenced"), ("w2", "UNSET", None)}
    assert len({span.trace_id for span in fleet.spans()}) == 1
    clerk.abort(run_id)
