"""The ledger's protocol, small enough to try every order of events: ``python -m …explorer``.

One run of four tasks: a model call that says two chunks, two tool calls, and an end that finishes.
Two workers crash, freeze and wake up at any point; messages arrive whenever they like and twice;
leases run out under whoever holds them; replies are lost; Redis may forget its last write; one
reader follows.  Each protection of the protocol can be left out, which must break something.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from tests.protocol.searching import Found, search, tell

SAYS = {"model": 2, "tool a": 0, "tool b": 0, "end": 0}
TASKS = tuple(SAYS)
TOOLS = ("tool a", "tool b")


@dataclass(frozen=True)
class Rules:
    """The protections, and how often each fault may happen."""

    writes_carry_a_token: bool = True
    appends_carry_a_count: bool = True
    ids_carry_an_incarnation: bool = True
    alarm_is_set_in_the_script: bool = True
    claims_and_commits_see_an_abort: bool = True
    takeovers: int = 1
    lost_replies: int = 0
    rollbacks: int = 0
    aborts: int = 0
    crashes: int = 1


class Task(NamedTuple):
    """A task's record in Redis."""

    state: str = "unborn"
    token: int = 0
    sent: int = 0
    first: int = 0


class Entry(NamedTuple):
    """A chunk in the topic; its place is its seq."""

    kind: str
    task: str = ""
    token: int = 0
    number: int = 0
    incarnation: int = 0


class Run(NamedTuple):
    """All that Redis holds."""

    tasks: tuple[Task, ...]
    status: str = "live"
    is_aborting: bool = False
    journal: tuple[tuple[str, int], ...] = ()
    topic: tuple[Entry, ...] = ()
    has_alarm: bool = True

    def task(self, name: str) -> Task:
        return self.tasks[TASKS.index(name)]

    def put(self, name: str, task: Task) -> "Run":
        at = TASKS.index(name)
        return self._replace(tasks=(*self.tasks[:at], task, *self.tasks[at + 1 :]))

    @property
    def is_running(self) -> bool:
        return any(task.state == "running" for task in self.tasks)


class Attempt(NamedTuple):
    """What a worker believes."""

    task: str
    token: int
    sent: int = 0


class Reader(NamedTuple):
    """Who follows: what it has seen, and whether it has to look its last id up."""

    seen: tuple[Entry, ...] = ()
    must_look: bool = False


class World(NamedTuple):
    """Everything, at one moment."""

    run: Run
    before: tuple[Run, ...] = ()
    workers: tuple[Attempt | None, ...] = (None, None)
    reader: Reader = Reader()
    tokens: int = 0
    incarnation: int = 0
    is_ringing: bool = False
    takeovers: int = 0
    lost_replies: int = 0
    rollbacks: int = 0
    aborts: int = 0
    crashes: int = 0


Step = tuple[str, World]


def begin() -> World:
    tasks = (Task("queued"), *(Task() for _ in TASKS[1:]))
    return World(Run(tasks))


class Protocol:
    """What may happen next, under some rules."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    def steps(self, world: World) -> Iterator[Step]:
        for number, attempt in enumerate(world.workers):
            if attempt is None:
                yield from self._claims(world, number)
            else:
                yield from self._work(world, number, attempt)
        yield from self._faults(world)
        yield from self._reader(world)

    # Workers -------------------------------------------------------------------------------

    def _claims(self, world: World, number: int) -> Iterator[Step]:
        run = world.run
        if run.status != "live":
            return
        for name in TASKS:
            task = run.task(name)
            if task.state != "queued":
                continue
            who = f"worker {number} claims the {name}"
            if run.is_aborting and self._rules.claims_and_commits_see_an_abort:
                if not run.is_running:
                    yield f"{who}, which ends the aborted run", self._wrote(world, _abort(run))
                continue
            token = world.tokens + 1
            claimed = run.put(name, task._replace(state="running", token=token, sent=0, first=0))
            after = self._wrote(world, claimed)._replace(tokens=token)
            yield who, _with_worker(after, number, Attempt(name, token))

    def _work(self, world: World, number: int, attempt: Attempt) -> Iterator[Step]:
        who = f"worker {number}"
        if world.crashes < self._rules.crashes:
            crashed = world._replace(crashes=world.crashes + 1)
            yield f"{who} crashes", _with_worker(crashed, number, None)
        if not self._passes(world.run, attempt):
            yield f"{who} is fenced", _with_worker(world, number, None)
        elif attempt.sent < SAYS[attempt.task]:
            yield from self._append(world, number, attempt)
        else:
            yield from self._commit(world, number, attempt)

    def _passes(self, run: Run, attempt: Attempt) -> bool:
        task = run.task(attempt.task)
        if run.status != "live" or task.state != "running":
            return False
        return task.token == attempt.token or not self._rules.writes_carry_a_token

    def _append(self, world: World, number: int, attempt: Attempt) -> Iterator[Step]:
        run, task = world.run, world.run.task(attempt.task)
        who = f"worker {number} says chunk {attempt.sent} of the {attempt.task}"
        heard = _with_worker(world, number, attempt._replace(sent=attempt.sent + 1))
        if self._rules.appends_carry_a_count:
            if task.sent > attempt.sent:
                yield f"{who}, which is there already", heard
                return
            if task.sent < attempt.sent:
                yield f"{who}, but an earlier one is gone", _with_worker(world, number, None)
                return
        entry = Entry("says", attempt.task, attempt.token, attempt.sent, world.incarnation)
        first = task.first or len(run.topic) + 1
        said = run._replace(topic=(*run.topic, entry))
        said = said.put(attempt.task, task._replace(sent=task.sent + 1, first=first))
        yield who, self._wrote(heard, said)
        if world.lost_replies < self._rules.lost_replies:
            yield f"{who}, and the reply is lost", self._wrote(_lost(world), said)

    def _commit(self, world: World, number: int, attempt: Attempt) -> Iterator[Step]:
        run, task = world.run, world.run.task(attempt.task)
        who = f"worker {number} commits the {attempt.task}"
        done = _with_worker(world, number, None)
        if self._rules.appends_carry_a_count and task.sent != attempt.sent:
            yield f"{who}, but a chunk is gone", done
            return
        committed = run.put(attempt.task, Task("done", attempt.token))
        committed = committed._replace(journal=(*run.journal, (attempt.task, attempt.token)))
        committed = self._follow(committed, attempt.task, world.incarnation)
        yield who, self._wrote(done, committed)
        if world.lost_replies < self._rules.lost_replies:
            # Asked again, Redis finds the task done under the same token: already.
            yield f"{who}, and the reply is lost", self._wrote(_lost(done), committed)

    def _follow(self, run: Run, committed: str, incarnation: int) -> Run:
        if committed == "end":
            end = Entry("finish", incarnation=incarnation)
            return run._replace(status="finished", topic=(*run.topic, end), has_alarm=False)
        if run.is_aborting and self._rules.claims_and_commits_see_an_abort:
            return run if run.is_running else _abort(run)
        if committed == "model":
            return run.put("tool a", Task("queued")).put("tool b", Task("queued"))
        if all(run.task(name).state == "done" for name in TOOLS):
            return run.put("end", Task("queued"))
        return run

    # What else happens ---------------------------------------------------------------------

    def _faults(self, world: World) -> Iterator[Step]:
        run, rules = world.run, self._rules
        if run.status == "live" and world.aborts < rules.aborts:
            wish = run._replace(is_aborting=True)
            wish = wish if wish.is_running else _abort(wish)
            yield "somebody aborts", self._wrote(world, wish)._replace(aborts=world.aborts + 1)
        if world.before and world.rollbacks < rules.rollbacks:
            yield (
                "Redis forgets its last write",
                world._replace(
                    run=world.before[-1],
                    before=(),
                    reader=world.reader._replace(must_look=True),
                    incarnation=world.incarnation + 1,
                    rollbacks=world.rollbacks + 1,
                ),
            )
        yield from self._reconcile(world)

    def _reconcile(self, world: World) -> Iterator[Step]:
        run = world.run
        if world.is_ringing:
            rung = world._replace(run=run._replace(has_alarm=run.status == "live"))
            yield "the watchdog sets the next alarm", rung._replace(is_ringing=False)
            if world.crashes < self._rules.crashes:
                crashed = world._replace(is_ringing=False, crashes=world.crashes + 1)
                yield "the watchdog crashes", crashed
            return
        if run.status != "live" or world.takeovers >= self._rules.takeovers or not run.has_alarm:
            return
        for name in TASKS:
            if run.task(name).state == "running":
                yield (
                    f"the lease of the {name} runs out, it is queued again",
                    self._take(world, name),
                )

    def _take(self, world: World, name: str) -> World:
        run, task = world.run, world.run.task(name)
        queued = run.put(name, Task("queued"))
        if task.first:
            reset = Entry("reset", name, number=task.first, incarnation=world.incarnation)
            queued = queued._replace(topic=(*queued.topic, reset))
        if run.is_aborting and not queued.is_running:
            queued = _abort(queued)
        is_set = self._rules.alarm_is_set_in_the_script
        if not is_set:
            queued = queued._replace(has_alarm=False)
        after = self._wrote(world, queued)
        return after._replace(takeovers=world.takeovers + 1, is_ringing=not is_set)

    def _reader(self, world: World) -> Iterator[Step]:
        reader, topic = world.reader, world.run.topic
        if reader.must_look:
            if self._still_has(topic, reader.seen):
                yield "the reader finds its last id", world._replace(reader=Reader(reader.seen))
            else:
                yield "the reader starts over", world._replace(reader=Reader())
        elif len(reader.seen) < len(topic):
            seen = (*reader.seen, topic[len(reader.seen)])
            yield f"the reader reads chunk {len(seen)}", world._replace(reader=Reader(seen))

    def _still_has(self, topic: tuple[Entry, ...], seen: tuple[Entry, ...]) -> bool:
        if not seen or not self._rules.ids_carry_an_incarnation:
            return True
        return len(topic) >= len(seen) and topic[len(seen) - 1].incarnation == seen[-1].incarnation

    def _wrote(self, world: World, run: Run) -> World:
        before = (world.run,) if self._rules.rollbacks > world.rollbacks else ()
        return world._replace(run=run, before=before)


def _abort(run: Run) -> Run:
    return run._replace(status="aborted", topic=(*run.topic, Entry("abort")), has_alarm=False)


def _with_worker(world: World, number: int, attempt: Attempt | None) -> World:
    workers = list(world.workers)
    workers[number] = attempt
    return world._replace(workers=tuple(workers))


def _lost(world: World) -> World:
    return world._replace(lost_replies=world.lost_replies + 1)


# What must hold ----------------------------------------------------------------------------


def violations(protocol: Protocol, world: World) -> Iterator[str]:
    """What is broken in this world, by name."""
    run, reader = world.run, world.reader
    ends = [at for at, entry in enumerate(run.topic, 1) if entry.kind in ("finish", "abort")]
    if len(ends) > 1:
        yield "two ends"
    if ends and ends[0] != len(run.topic):
        yield "a chunk after the end"
    if len({task for task, _ in run.journal}) != len(run.journal):
        yield "a task was journalled twice"
    passing = [each for each in world.workers if each and protocol._passes(run, each)]
    if len({each.task for each in passing}) != len(passing):
        yield "two attempts pass the fence of one task"
    if run.status == "live" and not run.has_alarm and not world.is_ringing:
        yield "a live run without an alarm"
    if run.status != "live" and not reader.must_look and len(reader.seen) >= len(run.topic):
        yield from _wrong_reading(run, reader)


def _wrong_reading(run: Run, reader: Reader) -> Iterator[str]:
    if len(reader.seen) > len(run.topic):
        yield "a reader waits for chunks beyond the end"
    if reader.seen and reader.seen[-1].kind not in ("finish", "abort"):
        yield "a reader never sees the end"
    if run.status == "finished" and _read(reader.seen) != _journalled(run):
        yield "a reader has another text than the journal"


def _read(seen: tuple[Entry, ...]) -> list[tuple[str, int, int]]:
    said: list[tuple[int, Entry]] = []
    for seq, entry in enumerate(seen, 1):
        if entry.kind == "says":
            said.append((seq, entry))
        elif entry.kind == "reset":
            said = [(at, e) for at, e in said if e.task != entry.task or at < entry.number]
    return [(entry.task, entry.token, entry.number) for _, entry in said]


def _journalled(run: Run) -> list[tuple[str, int, int]]:
    return [(task, token, n) for task, token in run.journal for n in range(SAYS[task])]


def started_after_abort(before: World, after: World) -> bool:
    if not before.run.is_aborting or before.run.status != "live":
        return False
    return any(
        new and new != old and new.sent == 0 and (old is None or old.token != new.token)
        for old, new in zip(before.workers, after.workers, strict=True)
    )


def explore(rules: Rules, *, until_broken: bool = False) -> Found:
    """Try every order of events, or those up to the first that breaks something."""
    protocol = Protocol(rules)

    def look(world: World) -> tuple[list[str], list[tuple[str, World]]]:
        following = list(protocol.steps(world))
        broken = list(violations(protocol, world))
        if any(started_after_abort(world, after) for _, after in following):
            broken.append("a task began after the abort")
        return broken, following

    return search(begin(), look, until_broken=until_broken)


PROTOCOL = Rules()
#: The protocol as it is, under each kind of fault.
AS_IT_IS = {
    "crashes, zombies, two takeovers": replace(PROTOCOL, takeovers=2),
    "lost replies": replace(PROTOCOL, lost_replies=2),
    "an abort": replace(PROTOCOL, aborts=1),
    "a forgotten write": replace(PROTOCOL, rollbacks=1),
}
#: What each protection is for.
LEFT_OUT = {
    "no token": replace(PROTOCOL, writes_carry_a_token=False),
    "no count": replace(PROTOCOL, appends_carry_a_count=False, lost_replies=1, takeovers=0),
    "no incarnation": replace(
        PROTOCOL, ids_carry_an_incarnation=False, rollbacks=1, takeovers=1, crashes=1
    ),
    "alarm set outside": replace(PROTOCOL, alarm_is_set_in_the_script=False),
    "abort unseen": replace(PROTOCOL, claims_and_commits_see_an_abort=False, aborts=1),
}


def main() -> int:
    for name, rules in (AS_IT_IS | LEFT_OUT).items():
        tell(name, explore(rules))
    return 0


if __name__ == "__main__":
    sys.exit(main())
