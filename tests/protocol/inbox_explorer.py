"""Messages to a run, small enough to try every order of events: ``python -m …inbox_explorer``.

One run.  Its first turn asks for two calls: ``a`` waits for a person, ``b`` runs; later turns only
answer.  Somebody sends messages, some of which interrupt, and repeats what had no reply; a person
approves once, at any time; an abort may come; workers crash as often as they like, and leases run
out.  That a stale attempt writes nothing is what `explorer` shows: here it is gone at once.  Each
protection can be left out, which must break something.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from tests.protocol.searching import Found, search, tell

TASKS = ("model", "a", "b", "end")
ENDED = ("finished", "aborted")

#: What is journalled: what it is, a message's number or how much of the journal a turn had seen,
#: and whether a turn was cut short.
Entry = tuple[str, int, bool]


@dataclass(frozen=True)
class Rules:
    """The protections, and how often each fault may happen."""

    puts_calls_off_whenever_it_suspends: bool = True
    closes_before_it_tells: bool = True
    interrupt_names_the_attempt: bool = True
    end_names_what_no_turn_had: bool = True
    known_id_before_ended: bool = True
    messages_come_before_stopping: bool = True
    ends_carry_a_length: bool = True
    only_ends_carry_a_length: bool = True
    turns_say_what_they_saw: bool = True
    stops: bool = False
    lost_replies: int = 1
    aborts: int = 0
    #: Of each message whether it interrupts.
    messages: tuple[bool, ...] = (False, True)


class Run(NamedTuple):
    """All that Redis holds; a task is "none", "waits" for a person, "queued" or "running"."""

    status: str = "live"
    is_aborting: bool = False
    model: str = "queued"
    a: str = "none"
    b: str = "none"
    end: str = "none"
    is_put_off: bool = False
    has_placeholder: bool = False
    #: Where in the journal the message is that cuts the answer short; -1: nothing is cut.
    cut_by: int = -1
    journal: tuple[Entry, ...] = ()
    dropped: frozenset[int] = frozenset()

    def state(self, task: str) -> str:
        return str(getattr(self, task))

    def put(self, task: str, state: str) -> "Run":
        return self._replace(**{task: state})  # type: ignore[arg-type]

    def add(self, kind: str, number: int = 0, *, is_cut: bool = False) -> "Run":
        return self._replace(journal=(*self.journal, (kind, number, is_cut)))

    @property
    def is_running(self) -> bool:
        return any(self.state(task) == "running" for task in TASKS)

    @property
    def awaited(self) -> int:
        """How many tasks the step waits for."""
        calls = self.a != "none" and not self.is_put_off
        return sum(self.state(task) != "none" for task in ("model", "b", "end")) + calls

    @property
    def only_waits(self) -> bool:
        return self.a == "waits" and not self.is_put_off and self.awaited == 1

    def unseen(self, kinds: tuple[str, ...] = ("message",), length: int | None = None) -> list[int]:
        journal = self.journal[:length]
        seen = max((number for kind, number, _ in journal if kind == "turn"), default=0)
        return [n for at, (kind, n, _) in enumerate(journal) if at >= seen and kind in kinds]


class Attempt(NamedTuple):
    """What a worker believes: how long the journal was, and how far it is in ending the run."""

    task: str
    length: int
    phase: str = ""
    refused: int = 0


class World(NamedTuple):
    """Everything, at one moment."""

    run: Run = Run()
    workers: tuple[Attempt | None, ...] = (None, None)
    #: How many messages have been answered to who sent them, and which began a run of their own.
    sent: int = 0
    elsewhere: frozenset[int] = frozenset()
    was_told: bool = False
    was_approved: bool = False
    lost_replies: int = 0
    aborts: int = 0
    #: What a worker has just done that it must not.
    wrong: str = ""


#: What happens, whether it happens by itself (no sender, person or crash is needed), and then.
Step = tuple[str, bool, World]


class Protocol:
    """What may happen next, under some rules."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    def steps(self, world: World) -> Iterator[Step]:
        world = world._replace(wrong="")
        yield from self._send(world)
        yield from self._people(world)
        yield from self._leases(world)
        for number, attempt in enumerate(world.workers):
            if attempt is None:
                yield from self._claims(world, number)
            else:
                yield from self._work(world, number, attempt)

    # Callers -------------------------------------------------------------------------------

    def _send(self, world: World) -> Iterator[Step]:
        number = world.sent
        if number == len(self._rules.messages):
            return
        run, answer = self._deliver(world.run, number)
        elsewhere = world.elsewhere | {number} if answer == "over" else world.elsewhere
        sent = world._replace(run=run, sent=number + 1, elsewhere=elsewhere)
        yield f"message {number} is sent: {answer}", False, sent
        if world.lost_replies < self._rules.lost_replies:
            lost = world._replace(run=run, lost_replies=world.lost_replies + 1)
            yield f"message {number} is sent, and the reply is lost", False, lost

    def _deliver(self, run: Run, number: int) -> tuple[Run, str]:
        is_known = ("message", number, False) in run.journal
        if is_known and self._rules.known_id_before_ended:
            return run, "ok"
        if run.status != "live" or run.is_aborting:
            return run, "over"
        if is_known:
            return run, "ok"
        run = run.add("message", number)
        names = self._rules.interrupt_names_the_attempt
        if self._rules.messages[number] and (run.model == "running" or not names):
            run = run._replace(cut_by=len(run.journal) - 1)
        if run.only_waits:
            run = _put_off(run)
        elif run.awaited == 0:
            run = run.put("end", "queued")
        return self._save(run), "ok"

    def _people(self, world: World) -> Iterator[Step]:
        run = world.run
        if run.status != "live" or run.is_aborting:
            return
        if run.a == "waits" and not world.was_approved:
            approved = self._save(run.put("a", "queued"))
            yield "a person approves", False, world._replace(run=approved, was_approved=True)
        if world.aborts < self._rules.aborts:
            wish = run._replace(is_aborting=True)
            wish = wish if wish.is_running else self._end(wish, "aborted")
            yield "somebody aborts", False, world._replace(run=wish, aborts=world.aborts + 1)

    # Workers -------------------------------------------------------------------------------

    def _leases(self, world: World) -> Iterator[Step]:
        held = {attempt.task for attempt in world.workers if attempt}
        for task in TASKS:
            if world.run.state(task) == "running" and task not in held:
                run = self._settle_abort(world.run.put(task, "queued"))
                yield f"the lease of {task} runs out", True, world._replace(run=self._save(run))

    def _claims(self, world: World, number: int) -> Iterator[Step]:
        run = world.run
        queued = [task for task in TASKS if run.state(task) == "queued"]
        if run.status in ENDED:
            return
        for task in queued:
            if run.is_aborting:
                if not run.is_running:
                    ended = self._end(run, "aborted")
                    yield f"the claim of {task} ends the run", True, world._replace(run=ended)
                continue
            claimed = run.put(task, "running")
            if task == "model" and self._rules.interrupt_names_the_attempt:
                claimed = claimed._replace(cut_by=-1)
            phase = "closed" if run.status == "closed" else ""
            attempt = Attempt(task, len(run.journal), phase)
            yield f"{task} is claimed", True, _with(world, number, attempt, claimed)

    def _work(self, world: World, number: int, attempt: Attempt) -> Iterator[Step]:
        run, task = world.run, attempt.task
        yield f"the worker of {task} crashes", False, _with(world, number, None, run)
        if run.status in ENDED or run.state(task) != "running":
            yield f"the worker of {task} is fenced", True, _with(world, number, None, run)
        elif task == "model":
            yield from self._model(world, number, attempt)
        elif task == "b":
            done = run.put("b", "none").add("result")
            yield self._commit(world, number, done, "b commits")
        elif task == "a":
            done = run.put("a", "none").add("news" if run.is_put_off else "result")
            done = done._replace(has_placeholder=False)
            yield self._commit(world, number, done, "a commits")
        else:
            yield from self._end_task(world, number, attempt)

    def _model(self, world: World, number: int, attempt: Attempt) -> Iterator[Step]:
        run = world.run
        seen = attempt.length if self._rules.turns_say_what_they_saw else len(run.journal)
        if seen > attempt.length and any(e[0] == "message" for e in run.journal[attempt.length :]):
            world = world._replace(wrong="a turn counts a message as seen that it had not")
        if run.cut_by >= 0:
            if run.cut_by < attempt.length:
                world = world._replace(wrong="the answer to a message is cut by that message")
            cut = run.put("model", "none").add("turn", seen, is_cut=True)._replace(cut_by=-1)
            yield self._commit(world, number, cut, "the model is cut short")
        is_first = not any(kind == "turn" and not is_cut for kind, _, is_cut in run.journal)
        said = run.put("model", "none").add("turn", seen)
        if self._rules.interrupt_names_the_attempt:
            said = said._replace(cut_by=-1)
        if is_first and not run.is_aborting:
            said = said._replace(a="waits", b="queued")
        yield self._commit(world, number, said, "the model commits")

    def _end_task(self, world: World, number: int, attempt: Attempt) -> Iterator[Step]:
        run, rules = world.run, self._rules
        decision = attempt.phase or self._decision(run, attempt)
        has_length = decision == "go on" and not rules.only_ends_carry_a_length
        has_length |= decision in ("idle", "finish") and rules.ends_carry_a_length
        if has_length and attempt.length != len(run.journal):
            yield self._refused(world, number, attempt, decision)
        elif decision == "go on":
            if world.was_told:
                world = world._replace(wrong="people were told of the end, and the run goes on")
            on = run.put("end", "none")._replace(model="queued")
            yield self._commit(world, number, on, "the end goes on", is_end=True)
        elif decision == "idle" or run.is_aborting:
            yield self._commit(world, number, run.put("end", "none"), "the end waits", is_end=True)
        elif decision == "finish" and rules.closes_before_it_tells:
            closed = run._replace(status="closed")
            yield "the run is closed", True, _with(world, number, _in(attempt, "closed"), closed)
        elif decision == "closed":
            told = _with(world, number, _in(attempt, "told"), run)
            yield "people are told of the end", True, told._replace(was_told=True)
        else:
            finished = self._end(run.put("end", "none"), "finished")
            yield "the run finishes", True, _with(world, number, None, finished)

    def _decision(self, run: Run, attempt: Attempt) -> str:
        known = run.journal[: attempt.length]
        turns = sum(kind == "turn" for kind, _, _ in known)
        if self._rules.stops and not self._rules.messages_come_before_stopping and turns > 1:
            return "idle" if run.has_placeholder else "finish"
        if run.unseen(("message", "news"), attempt.length):
            return "go on"
        if run.has_placeholder and not any(kind == "news" for kind, _, _ in known):
            return "idle"
        return "go on" if turns and known[-1][0] == "result" else "finish"

    def _refused(self, world: World, number: int, attempt: Attempt, decision: str) -> Step:
        again = attempt._replace(length=len(world.run.journal), refused=min(attempt.refused + 1, 2))
        if decision == "go on" and attempt.refused:
            world = world._replace(wrong="what no message can change is refused again and again")
        if decision == "finish" and not self._rules.closes_before_it_tells:
            world = world._replace(was_told=True)
        return f"to {decision} is refused", True, _with(world, number, again, world.run)

    # What scripts have in common -----------------------------------------------------------

    def _commit(
        self, world: World, number: int, run: Run, label: str, *, is_end: bool = False
    ) -> Step:
        """A task is done; whoever commits last claims the end task."""
        if run.is_aborting:
            return f"{label}, aborted", True, _with(world, number, None, self._settle_abort(run))
        if not is_end and run.awaited == 0:
            claimed = run.put("end", "running")
            end = Attempt("end", len(run.journal))
            return f"{label} and claims the end", True, _with(world, number, end, claimed)
        return label, True, _with(world, number, None, self._save(run))

    def _save(self, run: Run) -> Run:
        is_needed = run.status == "live" and run.only_waits and bool(run.unseen())
        return (
            _put_off(run) if is_needed and self._rules.puts_calls_off_whenever_it_suspends else run
        )

    def _settle_abort(self, run: Run) -> Run:
        return self._end(run, "aborted") if run.is_aborting and not run.is_running else run

    def _end(self, run: Run, status: str) -> Run:
        dropped = run.unseen() if self._rules.end_names_what_no_turn_had else []
        over = run._replace(
            status=status, dropped=frozenset(dropped) if status == "aborted" else run.dropped
        )
        return over._replace(model="none", a="none", b="none", end="none")


def _put_off(run: Run) -> Run:
    return run._replace(is_put_off=True, has_placeholder=True, end="queued").add("placeholder")


def _in(attempt: Attempt, phase: str) -> Attempt:
    return attempt._replace(phase=phase)


def _with(world: World, number: int, attempt: Attempt | None, run: Run) -> World:
    workers = list(world.workers)
    workers[number] = attempt
    return world._replace(run=run, workers=tuple(workers))


# What must hold ----------------------------------------------------------------------------


def violations(world: World, following: list[Step]) -> Iterator[str]:
    """What is broken in this world, by name."""
    run = world.run
    numbers = [number for kind, number, _ in run.journal if kind == "message"]
    left = set(run.unseen())
    if world.wrong:
        yield world.wrong
    if set(numbers) & world.elsewhere:
        yield "a message is in two runs"
    if len(numbers) != len(set(numbers)):
        yield "a message is twice in the journal"
    if run.status == "finished" and left:
        yield "a finish overtook a message"
    if run.status == "aborted" and left - run.dropped:
        yield "an ended run keeps a message that nobody hears of"
    if run.status == "live" and left and not any(by_itself for _, by_itself, _ in following):
        yield "a message waits although nothing runs"


def _settled(world: World) -> World:
    """The same world, without what makes no difference any more."""
    over = world.run.status in ENDED
    workers = (None, None) if over else tuple(sorted(world.workers, key=repr))
    return world._replace(workers=workers)


def explore(rules: Rules, *, until_broken: bool = False) -> Found:
    """Try every order of events, or those up to the first that breaks something."""
    protocol = Protocol(rules)

    def look(world: World) -> tuple[list[str], list[tuple[str, World]]]:
        following = list(protocol.steps(world))
        after = [(sentence, _settled(next_world)) for sentence, _, next_world in following]
        return list(violations(world, following)), after

    return search(World(), look, until_broken=until_broken)


PROTOCOL = Rules()
#: The protocol as it is, under each kind of fault.
AS_IT_IS = {
    "crashes and a lost reply": PROTOCOL,
    "an abort": replace(PROTOCOL, aborts=1, lost_replies=0),
    "three messages": replace(PROTOCOL, messages=(False, True, False), lost_replies=0),
}
#: What each protection is for.
LEFT_OUT = {
    "only send puts calls off": replace(PROTOCOL, puts_calls_off_whenever_it_suspends=False),
    "told before it is closed": replace(PROTOCOL, closes_before_it_tells=False),
    "whoever speaks is cut": replace(PROTOCOL, interrupt_names_the_attempt=False),
    "dropped without a word": replace(PROTOCOL, end_names_what_no_turn_had=False, aborts=1),
    "ended before known": replace(PROTOCOL, known_id_before_ended=False),
    "stops before it answers": replace(PROTOCOL, messages_come_before_stopping=False, stops=True),
    "ends without a length": replace(PROTOCOL, ends_carry_a_length=False),
    "all with a length": replace(
        PROTOCOL, only_ends_carry_a_length=False, messages=(False,) * 3, lost_replies=0
    ),
    "turns that saw all": replace(PROTOCOL, turns_say_what_they_saw=False),
}


def main() -> int:
    for name, rules in (AS_IT_IS | LEFT_OUT).items():
        tell(name, explore(rules))
    return 0


if __name__ == "__main__":
    sys.exit(main())
