"""The ledger's state machine with people in it: approvals, suspensions, decisions in any order."""

import json
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from evented_agent.chunks.codec import encode
from evented_agent.errors import NotSuspended, RunConflict, SuspensionExpired
from evented_agent.ledger import attempts, runs
from evented_agent.ledger.keys import Keys
from evented_agent.ledger.records import Decision, Fenced, NewTask, Work
from tests.protocol.script_machine import IN_A_CLUSTER, Attempt, numbers, play
from tests.protocol.test_ledger_machine import CALLS, LedgerMachine
from tests.support.driver import cluster_server
from tests.support.servers import RedisServer

#: Waits for approval before it runs; another one may suspend itself.
APPROVED = "a"


def ask(call: str) -> str:
    payload = {"toolCallId": call, "toolName": "look", "args": {}}
    return encode("tool-call-approval", f"1:tool:{call}", payload)


class PeopleMachine(LedgerMachine):
    """The same run; one call is asked about, any may ask, people decide more than once."""

    def __init__(self) -> None:
        super().__init__()
        #: What was decided, by the number of the suspension.
        self.decided: dict[int, str] = {}
        self.numbers: list[tuple[str, int]] = []

    # What tools do ------------------------------------------------------------------------------

    @precondition(lambda self: any(each.task.kind == "tool" for each in self.attempts))
    @rule(at=numbers)
    def suspend(self, at: int) -> None:
        """Also by an attempt that lost its task, and by one whose reply was lost."""
        tools = [each for each in self.attempts if each.task.kind == "tool"]
        attempt = tools[at % len(tools)]
        call = attempt.task.call or ""
        before, was_owner = self.everything(), self.owns(attempt)
        closing = [encode("text-end", attempt.task.key, {"id": self.part(attempt)})]
        operation = attempts.suspend(
            self.driver.keys,
            attempt.task,
            sent=attempt.sent,
            chunks=closing if attempt.said else [],
            ask=ask(call),
            asked="{}",
        )
        try:
            found = self.driver.ledger.send(operation)
        except Fenced:
            assert not was_owner
            assert self.everything() == before
            return
        if not was_owner:
            assert self.everything() == before
            return
        self.lose(attempt, keeps_text=True)
        self.take_over_journal()
        if found.aborted:
            attempt.committed = found
        self.see_whether_it_is_over()

    # What people do -----------------------------------------------------------------------------

    @rule(call=st.sampled_from(CALLS), digest=st.sampled_from("xy"), settles=st.booleans())
    def decide(self, call: str, digest: str, settles: bool) -> None:
        """Decide about what is pending, twice perhaps, or about nothing."""
        pending = self.pending().get(call)
        before = self.everything()
        try:
            self.resume(call, 0, digest, settles=settles)
        except (NotSuspended, RunConflict, SuspensionExpired):
            assert pending is None or self.record().fields.get("abort_at")
            assert self.everything() == before
            return
        if pending is None:
            assert self.everything() == before
            return
        self.decided[pending] = digest
        if settles:
            self.done.add(f"1:tool:{call}")
        self.take_over_journal()
        self.see_whether_it_is_over()

    @precondition(lambda self: self.decided)
    @rule(at=numbers, digest=st.sampled_from("xyz"))
    def decide_again(self, at: int, digest: str) -> None:
        """A double click, or somebody who comes too late with another opinion."""
        number = list(self.decided)[at % len(self.decided)]
        call = next(call for call, n in self.numbers if n == number)
        before = self.everything()
        try:
            self.resume(call, number, digest, settles=False)
        except RunConflict:
            assert digest != self.decided[number]
        else:
            assert digest == self.decided[number]
        assert self.everything() == before

    def resume(self, call: str, number: int, digest: str, *, settles: bool) -> None:
        entry, result = json.dumps({"decided": call}), json.dumps({"call": call})
        payload = {"toolCallId": call, "toolName": "look", "approval": {"approved": False}}
        denied = encode("tool-output-denied", f"1:tool:{call}", payload)
        decision = (
            Decision(digest, "settle", entry, chunk=denied, result=result)
            if settles
            else Decision(digest, "approved", entry, data='{"approved":true}')
        )
        operation = runs.resume(
            self.driver.keys,
            self.run_id,
            call=call,
            number=number,
            decision=decision,
            notifies=True,
        )
        self.driver.ledger.send(operation)

    # The model ----------------------------------------------------------------------------------

    @invariant()
    def what_is_decided_is_pending_no_more(self) -> None:
        for number in self.pending().values():
            assert number not in self.decided

    @invariant()
    def a_run_is_suspended_while_all_of_it_waits(self) -> None:
        states = set(self.states().values())
        if not self.is_over:
            assert (self.record().fields["status"] == "suspended") == (states == {"suspended"})

    def pending(self) -> dict[str, int]:
        held = {task.call or "": task.suspended for task in self.record().tasks if task.suspended}
        return {call: each.number for call, each in held.items()}

    def take_over_journal(self) -> None:
        """What scripts journalled themselves; that it grows is checked by its reader."""
        self.journal = self.stored_journal()
        self.numbers = [
            (entry["call"], entry["n"])
            for entry in map(json.loads, self.journal)
            if entry.get("k") == "suspended"
        ]

    def committed(self, attempt: Attempt, found: object) -> None:
        super().committed(attempt, found)  # type: ignore[arg-type]
        self.take_over_journal()

    def work(self, attempt: Attempt, journal_length: int | None) -> Work:
        work = super().work(attempt, journal_length)
        following = [
            NewTask(
                new.key,
                new.kind,
                new.step,
                call=new.call,
                tool=new.tool,
                policy={"expiry": 60_000},
                ask=ask(APPROVED) if new.call == APPROVED else None,
            )
            if new.kind == "tool"
            else new
            for new in work.next
        ]
        return Work(
            chunks=work.chunks,
            entries=work.entries,
            next=following,
            journal_length=work.journal_length,
            finish=work.finish,
        )

    def decide_all(self) -> None:
        for call in self.pending():
            if not self.record().fields.get("abort_at"):
                self.decide(call, "x", settles=True)


def test_no_order_of_decisions_breaks_an_invariant(redis_server: RedisServer) -> None:
    play(PeopleMachine, redis_server, Keys("people-machine", 1))


def test_no_order_of_decisions_breaks_an_invariant_in_a_cluster(tmp_path: Path) -> None:
    with cluster_server(tmp_path) as server:
        play(PeopleMachine, server, Keys("people-machine", 3), examples=IN_A_CLUSTER)
