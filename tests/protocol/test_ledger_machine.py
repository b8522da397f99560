"""The real scripts, in any order: crashes, duplicates and zombies between any two operations.

Hypothesis plays callers, workers and watchdogs.  Attempts that lost their task live on and keep
trying; whatever they do must leave every key of the run as it was.
"""

import itertools
import json
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from evented_agent.chunks import RunWaiting, Transcript
from evented_agent.chunks.codec import encode
from evented_agent.ledger import attempts, runs
from evented_agent.ledger.keys import Keys
from evented_agent.ledger.records import (
    Claim,
    Committed,
    Fenced,
    JournalChanged,
    NewTask,
    Refused,
    RunEnd,
    Work,
)
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

CALLS = ("a", "b", "c")
TASKS = ("1:model", *(f"1:tool:{call}" for call in CALLS), "1:end", "2:model", "2:end")
LIMIT = 2


class LedgerMachine(ScriptMachine):
    """One run of two steps with three calls."""

    def __init__(self) -> None:
        super().__init__()
        self.beginnings = itertools.count(1)
        self.owners: dict[str, Attempt] = {}
        self.lapsed: set[str] = set()
        self.journal: list[str] = []
        self.texts: dict[int, str] = {}
        self.done: set[str] = set()
        self.is_over = False
        self.waits_told = 0

    @initialize()
    def create(self) -> None:
        self.driver.create(self.run_id, tool_limit=LIMIT)

    # What workers do ---------------------------------------------------------------------------

    @rule(which=st.sampled_from(TASKS))
    def claim(self, which: str) -> None:
        """Any message may arrive at any time, also twice."""
        was_queued = which in self.states() and self.states()[which] == "queued"
        found = self.driver.claim(self.run_id, which, token=f"t{next(self.tokens)}")
        if isinstance(found, Refused):
            assert not was_queued or found.reason == "aborted"
            self.see_whether_it_is_over()
            return
        assert was_queued
        assert which not in self.owners
        assert which not in self.done
        self.adopt(found)

    @precondition(lambda self: self.attempts)
    @rule(at=numbers)
    def claim_again(self, at: int) -> None:
        """The reply to a claim was lost."""
        attempt = self.attempt(at)
        if attempt.said or attempt.committed:
            return
        before, was_owner = self.everything(), self.owns(attempt)
        found = self.driver.claim(self.run_id, attempt.task.key, token=attempt.task.token)
        if was_owner:
            assert isinstance(found, Claim)
            assert found.task.generation == attempt.task.generation
            assert self.everything() == before
        elif isinstance(found, Claim):
            # Its worker froze before it began, and its task is queued again.
            self.attempts.remove(attempt)
            self.adopt(found)
        else:
            self.see_whether_it_is_over()

    @precondition(lambda self: self.attempts)
    @rule(at=numbers, words=st.integers(1, 3))
    def say(self, at: int, words: int) -> None:
        attempt = self.attempt(at)
        texts = [f"{attempt.task.token}.{len(attempt.said) + n} " for n in range(words)]
        chunks = self.chunks(attempt, texts)
        before, sent = self.everything(), attempt.sent
        if not self.owns(attempt):
            self.expect_fenced(before, lambda: self.append(attempt, sent, chunks))
            return
        self.append(attempt, sent, chunks)
        attempt.began = attempt.began or next(self.beginnings)
        attempt.said += texts
        attempt.sent += len(chunks)
        attempt.last_append = (sent, chunks)

    @precondition(lambda self: any(attempt.last_append for attempt in self.attempts))
    @rule(at=numbers)
    def say_again(self, at: int) -> None:
        """The reply to an append was lost."""
        attempt = self.attempt(at)
        if attempt.last_append is None:
            return
        before, (sent, chunks) = self.everything(), attempt.last_append
        if self.owns(attempt):
            self.append(attempt, sent, chunks)
            assert self.everything() == before
        else:
            self.expect_fenced(before, lambda: self.append(attempt, sent, chunks))

    @precondition(lambda self: self.attempts)
    @rule(at=numbers)
    def say_with_a_gap(self, at: int) -> None:
        attempt = self.attempt(at)
        chunks = self.chunks(attempt, ["lost "])
        self.expect_fenced(
            self.everything(), lambda: self.append(attempt, attempt.sent + 1, chunks)
        )

    @precondition(lambda self: self.attempts)
    @rule(at=numbers)
    def commit(self, at: int) -> None:
        """Also by an attempt that lost its task, and by one whose reply was lost."""
        attempt = self.attempt(at)
        before, was_owner = self.everything(), self.owns(attempt)
        try:
            found = self.send_commit(attempt)
        except Fenced:
            assert not was_owner
            assert self.everything() == before
            return
        assert isinstance(found, Committed)
        if was_owner:
            self.committed(attempt, found)
        else:
            assert attempt.committed is not None
            assert list(found.sends) == list(attempt.committed.sends)
            assert self.everything() == before

    @precondition(lambda self: self.attempts)
    @rule(at=numbers)
    def commit_after_lost_chunks(self, at: int) -> None:
        attempt = self.attempt(at)
        if attempt.committed is None:
            before = self.everything()
            self.expect_fenced(before, lambda: self.send_commit(attempt, sent=attempt.sent + 1))

    @precondition(lambda self: any(key.endswith("end") for key in self.owners))
    @rule()
    def decide_from_an_old_journal(self) -> None:
        attempt = next(each for key, each in self.owners.items() if key.endswith("end"))
        before = self.everything()
        found = self.send_commit(attempt, journal_length=attempt.journal_length - 1)
        assert isinstance(found, JournalChanged)
        assert self.everything() == before

    @precondition(lambda self: self.attempts)
    @rule(at=numbers, waits=st.booleans())
    def retry(self, at: int, waits: bool) -> None:
        """It failed, or its run has to wait for its turn in a thread."""
        attempt = self.attempt(at)
        before, was_owner = self.everything(), self.owns(attempt)
        waited = attempt.task.waited
        wait = {"waits_for": "its turn", "waited": waited + 1}
        call = attempts.requeue(
            self.driver.keys,
            attempt.task,
            delay_ms=0,
            reason="failed",
            change=wait if waits else {"tries": 1},
        )
        try:
            found = self.driver.ledger.send(call)
        except Fenced:
            assert not was_owner
            assert self.everything() == before
            return
        if was_owner:
            self.lose(attempt, keeps_text=found.aborted)
            if found.aborted:
                attempt.committed = found
            elif waits and waited == 0:
                self.waits_told += 1
            self.see_whether_it_is_over()
        else:
            assert self.everything() == before

    @precondition(lambda self: self.attempts)
    @rule(at=numbers)
    def beat(self, at: int) -> None:
        attempt = self.attempt(at)
        if self.owns(attempt):
            self.heartbeat(attempt, WORKER.lease_ms)
            self.lapsed.discard(attempt.task.token)
        else:
            before = self.everything()
            self.expect_fenced(before, lambda: self.heartbeat(attempt, WORKER.lease_ms))

    @precondition(lambda self: self.attempts)
    @rule(at=numbers)
    def release(self, at: int) -> None:
        attempt = self.attempt(at)
        call = attempts.release(
            self.driver.keys, self.run_id, token=attempt.task.token, reason="shutdown"
        )
        before, was_owner = self.everything(), self.owns(attempt)
        self.driver.ledger.send(call)
        if was_owner:
            self.lose(attempt)
            self.see_whether_it_is_over()
        else:
            assert self.everything() == before

    # What happens to workers, and what watchdogs and callers do ---------------------------------

    @precondition(lambda self: self.owners)
    @rule(at=numbers)
    def freeze(self, at: int) -> None:
        """The lease of an attempt runs out; its worker may wake up at any time."""
        attempt = list(self.owners.values())[at % len(self.owners)]
        self.heartbeat(attempt, -1000)
        self.lapsed.add(attempt.task.token)

    @rule(may_send=st.booleans())
    def reconcile(self, may_send: bool) -> None:
        taken = [each for each in self.owners.values() if each.task.token in self.lapsed]
        self.driver.reconcile(self.run_id, may_send=may_send)
        # The fifth crash of a call is its result.
        given_up = self.stored_journal()[len(self.journal) :]
        keys = {f"1:tool:{json.loads(entry)['call']}" for entry in given_up}
        self.journal += given_up
        self.done |= keys
        if self.record().fields["status"] != "failed":
            for attempt in taken:
                self.lose(attempt, keeps_text=attempt.task.key in keys)
        self.see_whether_it_is_over()

    @rule()
    def abort(self) -> None:
        self.driver.ledger.send(runs.abort(self.driver.keys, self.run_id, reason=None))
        self.see_whether_it_is_over()

    # What must always hold ----------------------------------------------------------------------

    @invariant()
    def chunks_have_no_gaps_and_one_end(self) -> None:
        chunks = self.topic()
        assert [chunk.seq for chunk in chunks] == list(range(1, len(chunks) + 1))
        ends = [chunk.seq for chunk in chunks if chunk.type in ENDS]
        assert ends == ([len(chunks)] if self.is_over else [])

    @invariant()
    def each_wait_for_the_turn_is_told_once(self) -> None:
        waits = [chunk for chunk in self.topic() if isinstance(chunk, RunWaiting)]
        turns = [chunk for chunk in waits if chunk.payload.waits_for == "turn"]
        assert len(turns) == self.waits_told

    @invariant()
    def readers_have_what_was_committed_and_what_is_being_said(self) -> None:
        transcript = Transcript()
        for chunk in self.topic():
            transcript.feed(chunk)
        assert transcript.text == "\n\n".join(self.expected_texts())

    @invariant()
    def the_journal_holds_each_result_once(self) -> None:
        assert self.stored_journal() == self.journal

    @invariant()
    def a_live_run_rings_and_an_ended_one_expires(self) -> None:
        keys, client = self.driver.keys.of(self.run_id), self.driver.ledger.client()
        states = self.states().values()
        notifies = {
            name: client.zscore(key, self.run_id) is not None
            for name, key in (("alarm", keys.alarms), ("bell", keys.bells))
        }
        if self.is_over:
            assert notifies == {"alarm": False, "bell": False}
            assert all(client.pttl(key) != -1 for key in keys.own[:5])
        else:
            assert notifies["bell"] == ("queued" in states)
            assert notifies["alarm"] >= ("running" in states)
            assert any(notifies.values())

    @invariant()
    def no_more_calls_than_the_limit(self) -> None:
        busy = [
            key
            for key, state in self.states().items()
            if ":tool:" in key and state in ("queued", "running")
        ]
        assert len(busy) <= LIMIT

    def teardown(self) -> None:
        """Whatever happened, the run can be brought to its end."""
        for _ in range(60):
            if self.is_over:
                break
            self.decide_all()
            for attempt in list(self.owners.values()):
                found = self.send_commit(attempt)
                assert isinstance(found, Committed)
                self.committed(attempt, found)
            for key, state in self.states().items():
                if state == "queued" and not self.is_over:
                    self.claim(key)
            self.reconcile(may_send=True)
        assert self.is_over
        self.chunks_have_no_gaps_and_one_end()
        self.readers_have_what_was_committed_and_what_is_being_said()
        self.a_live_run_rings_and_an_ended_one_expires()

    def decide_all(self) -> None:
        """Nobody is asked anything here."""

    # The model ----------------------------------------------------------------------------------

    def owns(self, attempt: Attempt) -> bool:
        return self.owners.get(attempt.task.key) is attempt

    def adopt(self, claim: Claim) -> None:
        attempt = Attempt(claim.task, claim.journal_length)
        self.attempts.append(attempt)
        self.lapsed.discard(claim.task.token)
        self.owners[claim.task.key] = attempt

    def lose(self, attempt: Attempt, *, keeps_text: bool = False) -> None:
        del self.owners[attempt.task.key]
        if keeps_text and attempt.said:
            self.texts[attempt.began] = "".join(attempt.said)

    def committed(self, attempt: Attempt, found: Committed) -> None:
        assert attempt.work is not None
        attempt.committed = found
        self.lose(attempt, keeps_text=True)
        self.done.add(attempt.task.key)
        self.journal += attempt.work.entries
        if found.end is not None:
            self.adopt(found.end)
        self.see_whether_it_is_over()

    def see_whether_it_is_over(self) -> None:
        status = self.record().fields["status"]
        if status in ("finished", "failed", "aborted") and not self.is_over:
            self.is_over = True
            # Partial text stays, and nobody owns anything any more.
            for attempt in list(self.owners.values()):
                self.lose(attempt, keeps_text=True)

    def expected_texts(self) -> list[str]:
        """The text of each task, in the order in which they began to speak."""
        speaking = [each for each in self.owners.values() if each.said]
        texts = self.texts | {each.began: "".join(each.said) for each in speaking}
        return [text for _, text in sorted(texts.items())]

    def send_commit(
        self, attempt: Attempt, *, sent: int | None = None, journal_length: int | None = None
    ) -> Committed | JournalChanged:
        attempt.work = work = self.work(attempt, journal_length)
        call = attempts.commit(
            self.driver.keys,
            attempt.task,
            sent=attempt.sent if sent is None else sent,
            work=work,
            worker=WORKER,
            end_token=f"end-{attempt.task.token}",
        )
        return self.driver.ledger.send(call)

    def work(self, attempt: Attempt, journal_length: int | None) -> Work:
        task = attempt.task
        closing = [encode("text-end", task.key, {"id": self.part(attempt)})] if attempt.said else []
        if task.kind == "model":
            calls = CALLS if task.step == 1 else ()
            following = [
                NewTask(f"1:tool:{call}", "tool", 1, call=call, tool="look") for call in calls
            ]
            return Work(chunks=closing, entries=[json.dumps({"turn": task.step})], next=following)
        if task.kind == "tool":
            return Work(chunks=closing, entries=[json.dumps({"call": task.call})])
        length = attempt.journal_length if journal_length is None else journal_length
        if task.step == 1:
            following = [NewTask("2:model", "model", 2)]
            return Work(entries=["{}"], next=following, journal_length=length)
        end = [encode("finish", task.key, {"stepResult": {"reason": "stop"}})]
        finish = RunEnd("finished", "stop")
        return Work(chunks=[*closing, *end], entries=["{}"], journal_length=length, finish=finish)


def test_no_order_of_operations_breaks_an_invariant(redis_server: RedisServer) -> None:
    play(LedgerMachine, redis_server, Keys("machine", 1))


def test_no_order_of_operations_breaks_an_invariant_in_a_cluster(tmp_path: Path) -> None:
    with cluster_server(tmp_path) as server:
        play(LedgerMachine, server, Keys("machine", 3), examples=IN_A_CLUSTER)
