"""The ledger's state machine with messages in it: sent, interrupting, held, declining, too late."""

import json
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from evented_agent.chunks.codec import encode
from evented_agent.ledger import attempts, runs
from evented_agent.ledger.keys import Keys
from evented_agent.ledger.records import (
    Claim,
    Committed,
    Decision,
    Fenced,
    JournalChanged,
    NewTask,
    RunEnd,
    Work,
)
from evented_agent.models.messages import ToolCall
from evented_agent.state.fold import State, fold
from evented_agent.state.journal import Decided, Denied, Result, Resumed, Turn, dump_entry
from tests.protocol.script_machine import IN_A_CLUSTER, Attempt, numbers, play
from tests.protocol.test_ledger_machine import CALLS, LIMIT
from tests.protocol.test_people_machine import APPROVED, PeopleMachine, ask
from tests.support.driver import cluster_server
from tests.support.servers import RedisServer

WAITS = ("answer", "hold", "decline")


class InboxMachine(PeopleMachine):
    """The run of `PeopleMachine`, which goes on for as long as somebody writes to it."""

    def __init__(self) -> None:
        super().__init__()
        #: What was answered to each message: its number, or None where the run had ended.
        self.answers: dict[str, int | None] = {}
        self.interrupted: set[str] = set()

    # What people do -----------------------------------------------------------------------------

    @rule(waits=st.sampled_from(WAITS), interrupts=st.booleans())
    def send(self, waits: str, interrupts: bool) -> None:
        id_ = f"m{len(self.answers)}"
        declined = self.pending() if waits == "decline" else {}
        was_over = self.refuses()
        sent = self.driver.put(self.run_id, id_, waits=waits, interrupts=interrupts)
        self.answers[id_] = None if sent is None else sent.number
        assert (sent is None) == was_over
        if sent is None:
            return
        if interrupts:
            models = [each for key, each in self.owners.items() if each.task.kind == "model"]
            self.interrupted |= {each.task.token for each in models}
        self.done |= {f"1:tool:{call}" for call in declined}
        self.decided |= dict.fromkeys(declined.values(), "message")
        self.take_over_journal()

    @precondition(lambda self: any(each.task.kind == "model" for each in self.owners.values()))
    @rule()
    def interrupt_one_that_is_handed_back(self) -> None:
        """Who speaks next is not cut short by what interrupted another."""
        model = next(each for each in self.owners.values() if each.task.kind == "model")
        self.send("answer", interrupts=True)
        if self.owns(model):
            self.release(self.attempts.index(model))
        self.claim_any(0)

    @precondition(lambda self: self.answers)
    @rule(at=numbers)
    def send_again(self, at: int) -> None:
        """The reply was lost; meanwhile the run may have ended, or gone on."""
        id_ = list(self.answers)[at % len(self.answers)]
        before = self.everything()
        sent = self.driver.put(self.run_id, id_)
        assert (None if sent is None else sent.number) == self.answers[id_]
        assert self.everything() == before

    # What workers do ----------------------------------------------------------------------------

    def adopt(self, claim: Claim) -> None:
        """A new attempt is not cut short, even under the token of an older one."""
        self.interrupted.discard(claim.task.token)
        super().adopt(claim)

    @rule(at=numbers)
    def claim_any(self, at: int) -> None:
        queued = [key for key, state in self.states().items() if state == "queued"]
        if queued:
            self.claim(queued[at % len(queued)])

    @precondition(lambda self: any(each.task.kind == "end" for each in self.attempts))
    @rule(at=numbers)
    def close(self, at: int) -> None:
        """Also by an attempt that lost its task, and by one whose reply was lost."""
        ends = [each for each in self.attempts if each.task.kind == "end"]
        attempt = ends[at % len(ends)]
        before, was_owner = self.everything(), self.owns(attempt)
        if was_owner and self.decision(attempt) != "finish":
            return
        entry = dump_entry(Decided(attempt.task.step, "tell"))
        call = attempts.close(
            self.driver.keys,
            attempt.task,
            sent=attempt.sent,
            work=Work(entries=[entry]),
            journal_length=attempt.journal_length,
        )
        try:
            found = self.driver.ledger.send(call)
        except Fenced:
            assert not was_owner
            assert self.everything() == before
            return
        assert was_owner
        if isinstance(found, int):
            assert found == len(self.stored_journal())
            attempt.journal_length = found
            self.take_over_journal()
        else:
            assert self.everything() == before
            assert self.aborting() == isinstance(found, Committed)

    def decide_from_an_old_journal(self) -> None:
        """Only decisions to end or to wait are refused: see `close` and `send_commit`."""

    @rule(may_send=st.booleans())
    def reconcile(self, may_send: bool) -> None:
        taken = [each for each in self.owners.values() if each.task.token in self.lapsed]
        self.driver.reconcile(self.run_id, may_send=may_send)
        self.take_over_journal()
        if self.record().fields["status"] != "failed":
            live = self.states()
            for attempt in taken:
                # The fifth crash of a call is its result.
                given_up = attempt.task.key not in live
                self.lose(attempt, keeps_text=given_up)
                if given_up:
                    self.done.add(attempt.task.key)
        self.see_whether_it_is_over()

    def see_whether_it_is_over(self) -> None:
        super().see_whether_it_is_over()
        # Calls that are put off, and messages that are dropped, are journalled by any script.
        self.take_over_journal()

    @invariant()
    def a_message_cuts_short_who_was_speaking_then(self) -> None:
        for attempt in self.owners.values():
            tasks: Any = self.driver.ledger.client().hgetall(self.driver.keys.of(self.run_id).tasks)
            is_cut = json.loads(tasks[attempt.task.key.encode()]).get("cut", False)
            assert is_cut == (attempt.task.token in self.interrupted)

    # What must always hold ----------------------------------------------------------------------

    @invariant()
    def each_message_is_in_one_turn_or_waits_or_was_dropped(self) -> None:
        state = self.folded(None)
        seen = [each.id for step in state.steps for each in step.received]
        waiting, dropped = [e.id for e in state.waiting], [e.id for e in state.dropped]
        accepted = [id_ for id_, number in self.answers.items() if number is not None]
        assert seen + waiting + dropped == accepted
        stored = json.loads(self.record().fields.get("inbox", "[]"))
        assert [each[1] for each in stored] == waiting
        if self.is_over:
            assert waiting == []
            assert dropped == [] or self.record().fields["status"] != "finished"

    @invariant()
    def no_message_waits_while_nothing_is_due(self) -> None:
        inbox = json.loads(self.record().fields.get("inbox", "[]"))
        if any(not is_held for _, _, is_held in inbox) and not self.aborting():
            assert set(self.states().values()) & {"queued", "running"}

    def no_more_calls_than_the_limit(self) -> None:
        """Nothing limits calls that were put off: people let them go on."""

    @invariant()
    def no_more_calls_of_the_step_than_the_limit(self) -> None:
        tasks = [task for task in self.record().tasks if task.kind == "tool"]
        busy = [t for t in tasks if t.state in ("queued", "running") and t.background != "deferred"]
        assert len(busy) <= LIMIT

    # The model ----------------------------------------------------------------------------------

    def refuses(self) -> bool:
        return self.is_over or self.aborting() or "closed" in self.record().fields

    def aborting(self) -> bool:
        return bool(self.record().fields.get("abort_at"))

    def folded(self, length: int | None) -> State:
        return fold(self.stored_journal()[:length])

    def decision(self, attempt: Attempt) -> str:
        """What an end task decides, from the journal that it knows."""
        state = self.folded(attempt.journal_length)
        last = state.steps[-1].decided
        if last is not None and last.follows == "tell":
            return "finish"
        if state.waiting or state.arrived or (len(state.steps) == 1 and last is None):
            # Placeholders answer the calls that are put off: the model goes on at once.
            return "go on"
        return "idle" if state.outstanding else "finish"

    def send_commit(
        self, attempt: Attempt, *, sent: int | None = None, journal_length: int | None = None
    ) -> Committed | JournalChanged:
        found = super().send_commit(attempt, sent=sent, journal_length=journal_length)
        if isinstance(found, JournalChanged):
            assert attempt.task.kind == "end"
            assert found.journal_length == len(self.stored_journal()) > attempt.journal_length
            attempt.journal_length = found.journal_length
            return self.send_commit(attempt, sent=sent)
        return found

    def work(self, attempt: Attempt, journal_length: int | None) -> Work:
        task = attempt.task
        closing = [encode("text-end", task.key, {"id": self.part(attempt)})] if attempt.said else []
        if task.kind == "model":
            return self.turn(attempt, closing)
        if task.kind == "tool":
            result = Result(1, task.call or "", "look", result="seen")
            return Work(chunks=closing, entries=[dump_entry(result)])
        decision, length = self.decision(attempt), attempt.journal_length
        entry = dump_entry(
            Decided(task.step, decision, notice="news" if decision == "go on" else None)
        )
        if decision == "go on":
            step = task.step + 1
            return Work(entries=[entry], next=[NewTask(f"{step}:model", "model", step)])
        if decision == "idle":
            return Work(entries=[entry], idle_ms=60_000, journal_length=length)
        end = [encode("finish", task.key, {"stepResult": {"reason": "stop"}})]
        finish = RunEnd("finished", "stop")
        return Work(chunks=end, entries=[entry], journal_length=length, finish=finish)

    def turn(self, attempt: Attempt, closing: list[str]) -> Work:
        step, names = attempt.task.step, CALLS if attempt.task.step == 1 else ()
        calls = [ToolCall(id=call, name="look") for call in names]
        seen = attempt.journal_length
        following = [
            NewTask(
                f"1:tool:{call}",
                "tool",
                1,
                call=call,
                tool="look",
                policy={"expiry": 60_000},
                ask=ask(call) if call == APPROVED else None,
            )
            for call in names
        ]
        entry = dump_entry(Turn(step, ("hi",), calls, "stop", seen=seen))
        return Work(chunks=closing, entries=[entry], next=following, seen=seen)

    def resume(self, call: str, number: int, digest: str, *, settles: bool) -> None:
        payload = {"toolCallId": call, "toolName": "look", "approval": {"approved": False}}
        decision = Decision(
            digest,
            "settle" if settles else "approved",
            dump_entry(Resumed(call, number, "approval", {"approved": not settles})),
            data='{"approved":true}',
            chunk=encode("tool-output-denied", f"1:tool:{call}", payload),
            result=dump_entry(Result(1, call, "look", denied=Denied("no"))),
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


def test_no_order_of_messages_breaks_an_invariant(redis_server: RedisServer) -> None:
    play(InboxMachine, redis_server, Keys("inbox-machine", 1))


def test_no_order_of_messages_breaks_an_invariant_in_a_cluster(tmp_path: Path) -> None:
    with cluster_server(tmp_path) as server:
        play(InboxMachine, server, Keys("inbox-machine", 3), examples=IN_A_CLUSTER)
