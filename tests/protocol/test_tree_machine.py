"""Trees of runs, in any order: children begin, answer, fail, ask people, and their workers die."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from evented_agent.chunks import Chunk, Transcript, child_chunk
from evented_agent.chunks.children import Child
from evented_agent.chunks.codec import encode
from evented_agent.errors import NotFailed, NotSuspended, RunConflict
from evented_agent.ledger import attempts, runs
from evented_agent.ledger.keys import Keys
from evented_agent.ledger.records import (
    ENDED,
    Claim,
    Committed,
    Decision,
    Fenced,
    HandOver,
    JournalChanged,
    NewTask,
    Refused,
    Task,
    Work,
)
from evented_agent.ledger.tree_records import NewChild
from evented_agent.state.journal import Denied, Result, dump_entry
from tests.protocol.script_machine import (
    ENDS,
    IN_A_CLUSTER,
    Attempt,
    ScriptMachine,
    numbers,
    play,
)
from tests.support.driver import WORKER, cluster_server
from tests.support.servers import RedisServer
from tests.support.trees import (
    TreeDriver,
    fail_work,
    finish_work,
    new_call,
    result_work,
    spawning,
    turn_work,
)

#: Calls of a run's first turn; people are asked about the second.
CALLS = ("a", "b")
#: Children of children make a single call, of a tool.
DEPTH = 2
#: Calls of a run at a time.
LIMIT = 1
CHILD = NewChild("a", LIMIT, "[]")
#: Most walks are to come far.
seldom = st.sampled_from([False] * 9 + [True])


class TreeMachine(ScriptMachine):
    """A run, whose calls are answered by tools or by children, as it comes."""

    driver: TreeDriver

    def __init__(self) -> None:
        super().__init__()
        #: Who goes on with a run that was handed over.
        self.acting: dict[str, str] = {}
        #: Words that readers must have, and words that they must not have.
        self.kept: set[str] = set()
        self.gone: set[str] = set()

    @initialize(at=numbers, spawns=st.lists(st.booleans(), min_size=6, max_size=24))
    def create(self, at: int, spawns: list[bool]) -> None:
        """Walks begin anywhere in the life of an undisturbed tree."""
        self.driver.create(self.run_id, tool_limit=LIMIT)
        self.go_on(at, spawns)

    # What workers do ---------------------------------------------------------------------------

    @rule(at=numbers)
    def claim(self, at: int) -> None:
        """Any message may arrive at any time, also twice."""
        states = self.states()
        if not states:
            return
        key = list(states)[at % len(states)]
        found = self.driver.claim(self.run_id, key, token=f"t{next(self.tokens)}")
        if isinstance(found, Refused):
            assert states[key] != "queued" or found.reason == "aborted"
            return
        assert states[key] == "queued"
        self.adopt(found)

    @rule(at=numbers, spawns=st.lists(st.booleans(), min_size=1, max_size=8))
    def go_on(self, at: int, spawns: list[bool]) -> None:
        """What mostly happens: queued tasks are claimed, and what is claimed is done."""
        for spawns_now in spawns:
            self.do_next(at, spawns=spawns_now)

    def do_next(self, at: int, *, spawns: bool) -> None:
        queued = [n for n, state in enumerate(self.states().values()) if state == "queued"]
        owners = [n for n, attempt in enumerate(self.attempts) if self.owns(attempt)]
        if queued:
            self.claim(queued[at % len(queued)])
        elif owners:
            attempt = self.attempts[owners[at % len(owners)]]
            if not (spawns and self.spawn_of(attempt)):
                self.commit_of(attempt)

    @precondition(lambda self: self.attempts)
    @rule(at=numbers)
    def claim_again(self, at: int) -> None:
        """The reply to a claim was lost."""
        attempt = self.attempt(at)
        if attempt.said or not self.owns(attempt):
            return
        before = self.everything()
        found = self.driver.claim(self.run_id, attempt.task.key, token=attempt.task.token)
        assert isinstance(found, Claim)
        assert found.task.generation == attempt.task.generation
        assert self.everything() == before

    @precondition(lambda self: self.attempts)
    @rule(at=numbers, words=st.integers(1, 3))
    def say(self, at: int, words: int) -> None:
        attempt = self.attempt(at)
        texts = [f"{attempt.task.token}.{len(attempt.said) + n} " for n in range(words)]
        chunks, before = self.chunks(attempt, texts), self.everything()
        if not self.owns(attempt):
            self.expect_fenced(before, lambda: self.append(attempt, attempt.sent, chunks))
            return
        self.append(attempt, attempt.sent, chunks)
        attempt.said += texts
        attempt.sent += len(chunks)

    @precondition(lambda self: self.attempts)
    @rule(at=numbers)
    def spawn(self, at: int) -> None:
        """Also by an attempt that lost its call, and by one whose reply was lost."""
        self.spawn_of(self.attempt(at))

    def spawn_of(self, attempt: Attempt) -> bool:
        """Whether the attempt is of a call that a child may answer."""
        task = attempt.task
        if task.kind != "tool" or depth_of(task) == DEPTH or (attempt.work and not attempt.spawns):
            return False
        before, was_owner = self.everything(), self.owns(attempt)
        try:
            found = self.driver.ledger.send(
                spawning(self.driver.keys, attempt.task, sent=attempt.sent, child=CHILD)
            )
        except Fenced:
            assert not was_owner
            assert self.everything() == before
            return True
        assert isinstance(found, Committed)
        attempt.spawns = True
        if was_owner:
            self.kept.update(attempt.said)
        else:
            assert self.everything() == before
        return True

    @precondition(lambda self: self.attempts)
    @rule(at=numbers, fails=seldom, hands=seldom)
    def commit(self, at: int, fails: bool, hands: bool) -> None:
        """Also by an attempt that lost its task, and by one whose reply was lost."""
        self.commit_of(self.attempt(at), fails=fails, hands=hands)

    def commit_of(self, attempt: Attempt, *, fails: bool = False, hands: bool = False) -> None:
        if attempt.spawns:
            return
        before, was_owner = self.everything(), self.owns(attempt)
        fails = fails and attempt.task.kind == "model"
        attempt.work = attempt.work or self.work(attempt, fails=fails, hands=hands)
        try:
            found = self.send_commit(attempt, attempt.work)
        except Fenced:
            assert not was_owner
            assert self.everything() == before
            return
        if isinstance(found, JournalChanged):
            assert was_owner
            assert self.everything() == before
            attempt.journal_length = len(self.journal_of(attempt.task))
            return
        if was_owner:
            attempt.committed = found
            if attempt.work.hand_over is not None and not found.aborted:
                self.acting[attempt.task.own_run_id] = attempt.work.hand_over.agent
            # What a run failed with is withdrawn if it goes on; a child never does.
            self.kept.update(attempt.said if attempt.task.branch or not fails else [])
            if found.end is not None:
                self.adopt(found.end)
        else:
            assert attempt.committed is not None
            assert list(found.sends) == list(attempt.committed.sends)
            assert self.everything() == before

    @precondition(lambda self: self.attempts)
    @rule(at=numbers)
    def retry(self, at: int) -> None:
        """Its model, or its tool, has failed in a way that may pass."""
        attempt = self.attempt(at)
        call = attempts.requeue(
            self.driver.keys, attempt.task, delay_ms=0, reason="failed", change={"tries": 1}
        )
        before, was_owner = self.everything(), self.owns(attempt)
        try:
            found = self.driver.ledger.send(call)
        except Fenced:
            assert not was_owner
            assert self.everything() == before
            return
        if was_owner:
            attempt.committed = found if found.aborted else None
            (self.kept if found.aborted else self.gone).update(attempt.said)
        else:
            assert self.everything() == before

    @precondition(lambda self: self.attempts)
    @rule(at=numbers)
    def beat(self, at: int) -> None:
        attempt = self.attempt(at)
        if self.owns(attempt):
            self.heartbeat(attempt, WORKER.lease_ms)
        else:
            before = self.everything()
            self.expect_fenced(before, lambda: self.heartbeat(attempt, WORKER.lease_ms))

    @precondition(lambda self: self.attempts)
    @rule(at=numbers)
    def release(self, at: int) -> None:
        """Its worker is told to stop."""
        attempt = self.attempt(at)
        before, was_owner = self.everything(), self.owns(attempt)
        call = attempts.release(
            self.driver.keys, self.run_id, token=attempt.task.token, reason="shutdown"
        )
        self.driver.ledger.send(call)
        if was_owner:
            self.gone.update(attempt.said)
        else:
            assert self.everything() == before

    # What happens to workers, and what watchdogs and people do ----------------------------------

    @precondition(lambda self: self.attempts)
    @rule(at=numbers)
    def freeze(self, at: int) -> None:
        """The lease of an attempt runs out; its worker may wake up at any time."""
        attempt = self.attempt(at)
        if self.owns(attempt):
            self.heartbeat(attempt, -1000)

    @rule(may_send=st.booleans())
    def reconcile(self, may_send: bool) -> None:
        self.driver.reconcile(self.run_id, may_send=may_send)

    @rule(at=numbers, agrees=st.booleans())
    def decide(self, at: int, agrees: bool) -> None:
        """Somebody decides about a call of any run of the tree, or about none."""
        held = [task for task in self.record().tasks if task.suspended]
        if not held:
            return
        task = held[at % len(held)]
        before = self.everything()
        try:
            self.driver.ledger.send(self.deciding(task, agrees=agrees))
        except (NotSuspended, RunConflict):
            assert self.everything() == before
            assert self.is_over or self.record().fields.get("abort_at")

    @rule(really=seldom)
    def abort(self, really: bool) -> None:
        if really:
            self.driver.ledger.send(runs.abort(self.driver.keys, self.run_id, reason=None))

    @precondition(lambda self: self.record().fields["status"] == "failed")
    @rule()
    def revive(self) -> None:
        """Somebody lets the run go on where it failed."""
        before = self.everything()
        try:
            self.driver.ledger.send(
                runs.retry_failed(self.driver.keys, self.run_id, notifies=False)
            )
        except NotFailed:
            assert self.everything() == before

    # What must always hold ----------------------------------------------------------------------

    @invariant()
    def chunks_have_no_gaps_and_each_run_one_end(self) -> None:
        chunks = self.topic()
        assert [chunk.seq for chunk in chunks] == list(range(1, len(chunks) + 1))
        ends = Counter(chunk.run_id for chunk in self.said() if chunk.type in ENDS)
        record = self.record()
        assert ends.pop(self.run_id, 0) == self.is_over
        # Those that a tree ends without have its end.
        ended = [id_ for id_, own in record.children.items() if own["status"] in ENDED]
        assert dict(ends) == dict.fromkeys(ended, 1)
        if self.is_over:
            assert chunks[-1].type in ENDS

    @invariant()
    def nothing_of_a_child_follows_its_end(self) -> None:
        ended = set[str]()
        for chunk in self.said():
            assert chunk.run_id not in ended
            if chunk.type in ENDS and chunk.run_id != self.run_id:
                ended.add(chunk.run_id)

    @invariant()
    def a_child_lives_while_its_call_waits_for_it(self) -> None:
        record = self.record()
        waits = {f"{self.run_id}{task.child}": task.key for task in record.tasks if task.child}
        lives = {id_: own for id_, own in record.children.items() if own["status"] not in ENDED}
        if not self.is_over:
            assert waits == {id_: own["answers"] for id_, own in lives.items()}
            for task in record.tasks:
                assert not task.branch or task.own_run_id in lives

    @invariant()
    def each_call_and_each_turn_is_in_its_journal_once(self) -> None:
        for run_id in (self.run_id, *self.record().children):
            entries = self.entries(run_id)
            turns = [entry["step"] for entry in entries if entry.get("k") == "turn"]
            results = [entry["call"] for entry in entries if entry.get("k") == "result"]
            assert len(set(turns)) == len(turns)
            assert len(set(results)) == len(results)

    @invariant()
    def whoever_was_handed_a_run_goes_on_with_it(self) -> None:
        record = self.record()
        owns = {self.run_id: record.fields, **record.children}
        assert {id_: own["acting"] for id_, own in owns.items() if own.get("acting")} == self.acting

    @invariant()
    def readers_have_what_was_committed_and_nothing_withdrawn(self) -> None:
        transcripts: dict[str, Transcript] = {}
        for chunk in self.said():
            transcripts.setdefault(chunk.run_id, Transcript()).feed(chunk)
        words = Counter(word for each in transcripts.values() for word in each.text.split())
        assert all(words[word.strip()] == 1 for word in self.kept)
        assert not any(words[word.strip()] for word in self.gone)
        assert set(words.values()) <= {1}

    @invariant()
    def a_live_tree_rings_and_an_ended_one_expires(self) -> None:
        keys, client = self.driver.keys.of(self.run_id), self.driver.ledger.client()
        rings = [client.zscore(key, self.run_id) is not None for key in (keys.alarms, keys.bells)]
        if self.is_over:
            assert not any(rings)
            assert all(client.pttl(key) != -1 for key in keys.own[:5])
        else:
            assert any(rings)
            assert all(client.pttl(key) in (-1, -2) for key in keys.own[:5])

    @invariant()
    def no_run_makes_more_calls_than_its_limit(self) -> None:
        busy = Counter(
            task.branch
            for task in self.record().tasks
            if task.kind == "tool" and task.state in ("queued", "running")
        )
        # One that was asked about takes its place when somebody agrees.
        assert all(count <= LIMIT + 1 for count in busy.values())

    def teardown(self) -> None:
        """Whatever happened, the tree can be brought to its end."""
        for _ in range(200):
            if self.is_over:
                break
            self.decide(0, agrees=False)
            for attempt in [each for each in self.attempts if self.owns(each)]:
                self.commit_of(attempt)
            for at in range(len(self.states())):
                if not self.is_over:
                    self.claim(at)
            self.reconcile(may_send=True)
        assert self.is_over
        self.chunks_have_no_gaps_and_each_run_one_end()
        self.a_live_tree_rings_and_an_ended_one_expires()

    # The model ----------------------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        return self.record().fields["status"] in ENDED

    def owns(self, attempt: Attempt) -> bool:
        states = {task.key: task for task in self.record().tasks}
        found = states.get(attempt.task.key)
        return bool(found and found.state == "running" and found.token == attempt.task.token)

    def adopt(self, claim: Claim) -> None:
        self.attempts.append(Attempt(claim.task, claim.journal_length))

    def said(self) -> list[Chunk]:
        return [child_chunk(c) if isinstance(c, Child) else c for c in self.topic()]

    def entries(self, run_id: str) -> list[dict[str, Any]]:
        record = self.driver.ledger.send(runs.read(self.driver.keys, run_id, journal=True))
        return [json.loads(entry) for entry in record.entries]

    def journal_of(self, task: Task) -> list[dict[str, Any]]:
        return self.entries(task.own_run_id)

    def send_commit(self, attempt: Attempt, work: Work) -> Committed | JournalChanged:
        call = attempts.commit(
            self.driver.keys,
            attempt.task,
            sent=attempt.sent,
            work=work,
            worker=WORKER,
            end_token=f"end-{attempt.task.token}",
        )
        return self.driver.ledger.send(call)

    def work(self, attempt: Attempt, *, fails: bool, hands: bool) -> Work:
        task = attempt.task
        if fails:
            return fail_work(task)
        if task.kind == "model":
            calls = () if task.step == 2 else CALLS[: 1 if depth_of(task) == DEPTH else 2]
            asked = [new_call(task.branch, call, asks=call == "b") for call in calls]
            return turn_work(task, *asked)
        return result_work(task) if task.kind == "tool" else self.end(attempt, hands=hands)

    def end(self, attempt: Attempt, *, hands: bool) -> Work:
        """A turn with calls is followed by another one; without any, its run has its answer."""
        task = attempt.task
        if task.step == 1:
            following = [NewTask("2:model", "model", 2)]
            hand_over = HandOver("b", {}) if hands else None
            return Work(next=following, journal_length=attempt.journal_length, hand_over=hand_over)
        call = self.driver.answers(self.run_id, task.branch) if task.branch else None
        return replace(finish_work(task, call), journal_length=attempt.journal_length)

    def deciding(self, task: Task, *, agrees: bool) -> Any:
        denied = Result(task.step, task.call or "", "look", denied=Denied("no"))
        about = {"toolCallId": task.call, "toolName": "look", "approval": {"approved": False}}
        decision = (
            Decision("yes", "approved", "{}", data='{"approved":true}')
            if agrees
            else Decision(
                "no",
                "settle",
                "{}",
                chunk=encode("tool-output-denied", task.key, about),
                result=dump_entry(denied),
            )
        )
        return runs.resume(
            self.driver.keys,
            self.run_id,
            call=task.call or "",
            number=0,
            decision=decision,
            notifies=True,
        )


def depth_of(task: Task) -> int:
    return task.branch.count("~")


def test_no_order_of_operations_breaks_a_tree(redis_server: RedisServer) -> None:
    play(TreeMachine, redis_server, Keys("tree-machine", 1), driver=TreeDriver)


def test_no_order_of_operations_breaks_a_tree_in_a_cluster(tmp_path: Path) -> None:
    with cluster_server(tmp_path) as server:
        keys = Keys("tree-machine", 3)
        play(TreeMachine, server, keys, examples=IN_A_CLUSTER, driver=TreeDriver)
