"""A tree of runs in one record, small enough to try every order: ``python -m …tree_explorer``.

The run has two tasks: ``m`` speaks, and may fail the run; ``call`` is answered by a child, whose
one task ``c`` speaks, then ends or waits for a person.  Workers crash, a reply of the script
`spawn` is lost, the time of the call runs out, an abort and a retry may come.  That a stale attempt
writes nothing is what `explorer` shows: here it is gone at once.  Each protection can be left out,
which must break something.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from tests.protocol.searching import Found, search, tell

ENDED = ("finished", "failed", "aborted")
#: What a chunk is: "text", "reset", "result" or "end"; whose; and the number of an attempt, or of
#: the first chunk that is withdrawn.
Said = tuple[str, str, int]


@dataclass(frozen=True)
class Rules:
    """The protections, and how often each fault may happen."""

    spawn_is_one_script: bool = True
    spawn_knows_its_token: bool = True
    end_of_a_child_settles_its_call: bool = True
    end_of_the_run_forgets_all_tasks: bool = True
    stopping_a_call_puts_its_child_away: bool = True
    retry_resets_each_task: bool = True
    retry_says_its_own_reset_first: bool = True
    retry_keeps_a_call_with_its_child: bool = True
    crashes: int = 1
    lost_replies: int = 0
    failures: int = 0
    retries: int = 0
    timeouts: int = 0
    aborts: int = 0


class Task(NamedTuple):
    """A task of the tree, and the number of the first chunk of its attempt."""

    name: str
    state: str = "queued"
    first: int = -1


class Record(NamedTuple):
    """All that Redis holds of the tree."""

    status: str = "live"
    is_aborting: bool = False
    tasks: tuple[Task, ...] = (Task("call"), Task("m"))
    kept: tuple[Task, ...] = ()
    committed: tuple[tuple[str, int], ...] = ()
    topic: tuple[Said, ...] = ()
    children: int = 0
    is_child_live: bool = False
    results: int = 0

    def task(self, name: str) -> Task | None:
        return next((task for task in self.tasks if task.name == name), None)

    def put(self, task: Task) -> "Record":
        rest = (other for other in self.tasks if other.name != task.name)
        return self._replace(tasks=tuple(sorted((*rest, task))))

    def drop(self, name: str) -> "Record":
        return self._replace(tasks=tuple(task for task in self.tasks if task.name != name))

    def say(self, *chunks: Said) -> "Record":
        return self._replace(topic=(*self.topic, *chunks))


class Attempt(NamedTuple):
    """What a worker does: of which task, its number, and whether it has spoken, or spawned half."""

    task: str
    number: int
    phase: str = ""


class World(NamedTuple):
    """Everything, at one moment."""

    record: Record = Record()
    workers: tuple[Attempt | None, ...] = (None, None)
    attempts: int = 0
    was_approved: bool = False
    crashes: int = 0
    lost_replies: int = 0
    failures: int = 0
    retries: int = 0
    timeouts: int = 0
    aborts: int = 0

    def with_(self, record: Record, at: int | None = None, does: Attempt | None = None) -> "World":
        """The same with another record; the worker at *at* does something else."""
        if at is None:
            return self._replace(record=record)
        workers = (*self.workers[:at], does, *self.workers[at + 1 :])
        return self._replace(record=record, workers=workers)


#: What happens, whether it does so without anybody's doing, and what follows.
Step = tuple[str, bool, World]


class Protocol:
    """What may happen next, under the rules."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    def steps(self, world: World) -> Iterator[Step]:
        yield from self._people(world)
        yield from self._watchdog(world)
        for at, attempt in enumerate(world.workers):
            if attempt is None:
                yield from self._claims(world, at)
            else:
                yield from self._work(world, at, attempt)

    def _people(self, world: World) -> Iterator[Step]:
        record, rules = world.record, self._rules
        child = record.task("c")
        if child and child.state == "waits" and record.status == "live" and not record.is_aborting:
            queued = record.put(Task("c"))
            yield "a person approves", False, world.with_(queued)._replace(was_approved=True)
        if world.aborts < rules.aborts and record.status == "live" and not record.is_aborting:
            aborting = self._after(record._replace(is_aborting=True))
            yield "somebody aborts", False, world.with_(aborting)._replace(aborts=1)
        if world.retries < rules.retries and record.status == "failed":
            yield "somebody retries", False, world.with_(self._retried(record))._replace(retries=1)

    def _retried(self, record: Record) -> Record:
        """The end is taken back: its number goes to the first reset."""
        begun = [
            ("reset", task.name, task.first)
            for task in record.kept
            if task.first >= 0 and task.state == "running"
        ]
        own = [reset for reset in begun if reset[1] != "c"] or [("reset", "", len(record.topic))]
        resets = [*own, *(reset for reset in begun if reset[1] == "c")]
        if not self._rules.retry_says_its_own_reset_first and begun:
            resets = sorted(begun)
        if not self._rules.retry_resets_each_task:
            resets = resets[:1]
        revived = record._replace(status="live", tasks=(), kept=(), topic=record.topic[:-1])
        for task in record.kept:
            again = task.state in ("running", "queued")
            keeps = self._rules.retry_keeps_a_call_with_its_child
            again = again or (task.state == "child" and not keeps)
            revived = revived.put(Task(task.name) if again else task)
        return revived.say(*resets)

    def _watchdog(self, world: World) -> Iterator[Step]:
        record = world.record
        held = {attempt.task for attempt in world.workers if attempt is not None}
        for task in record.tasks:
            if task.state == "running" and task.name not in held:
                found = record.put(Task(task.name))
                if task.first >= 0:
                    found = found.say(("reset", task.name, task.first))
                yield f"the lease of {task.name} runs out", True, world.with_(self._after(found))
        call = record.task("call")
        if call and call.state == "child" and world.timeouts < self._rules.timeouts:
            late = self._settled(record, "late")
            yield "the time of the call is over", False, world.with_(late)._replace(timeouts=1)
        if record.is_aborting and record.status == "live":
            yield "the grace is over", True, world.with_(self._ended(record, "aborted"))

    def _claims(self, world: World, at: int) -> Iterator[Step]:
        record = world.record
        for task in record.tasks if record.status == "live" else ():
            if task.state != "queued" or record.is_aborting:
                continue
            number = world.attempts + 1
            running = record.put(Task(task.name, "running"))
            claimed = world.with_(running, at, Attempt(task.name, number))
            yield f"{task.name} is claimed", True, claimed._replace(attempts=number)

    def _work(self, world: World, at: int, attempt: Attempt) -> Iterator[Step]:
        record = world.record
        if world.crashes < self._rules.crashes:
            crashed = world.with_(record, at)._replace(crashes=world.crashes + 1)
            yield f"the worker of {attempt.task} dies", False, crashed
        if attempt.task == "call":
            yield from self._spawns(world, at, attempt)
            return
        task = record.task(attempt.task)
        assert task is not None
        if not attempt.phase:
            said = record.put(task._replace(first=len(record.topic)))
            said = said.say(("text", attempt.task, attempt.number))
            spoken = attempt._replace(phase="spoken")
            yield f"{attempt.task} speaks", True, world.with_(said, at, spoken)
            return
        committed = (*record.committed, (attempt.task, attempt.number))
        done = record.drop(attempt.task)._replace(committed=committed)
        if attempt.task == "m":
            yield "m commits", True, world.with_(self._after(done), at)
            if world.failures < self._rules.failures and not record.is_aborting:
                failed = world.with_(self._ended(record, "failed"), at)
                yield "m fails the run", False, failed._replace(failures=1)
            return
        yield "the child ends", True, world.with_(self._child_ended(done), at)
        if not world.was_approved and not record.is_aborting:
            waits = record.put(Task("c", "waits"))._replace(committed=committed)
            yield "the child asks a person", True, world.with_(waits, at)

    def _spawns(self, world: World, at: int, attempt: Attempt) -> Iterator[Step]:
        record, rules = world.record, self._rules
        if record.is_aborting:
            yield "the call sees the abort", True, world.with_(self._after(record.drop("call")), at)
            return
        if attempt.phase == "again":
            # The reply was lost, and the same call is made once more.
            if rules.spawn_knows_its_token:
                yield "the same spawn is known", True, world.with_(record, at)
            else:
                twice = record._replace(children=record.children + 1)
                yield "the same spawn again", True, world.with_(twice, at)
            return
        spawned = record._replace(children=record.children + 1, is_child_live=True)
        if rules.spawn_is_one_script:
            spawned = spawned.put(Task("call", "child")).put(Task("c"))
            yield "the child begins", True, world.with_(spawned, at)
        elif attempt.phase == "half":
            yield "the child's task is queued", True, world.with_(record.put(Task("c")), at)
        else:
            half = spawned.put(Task("call", "child"))
            yield "the child is made", True, world.with_(half, at, attempt._replace(phase="half"))
        if world.lost_replies < rules.lost_replies and rules.spawn_is_one_script:
            again = world.with_(spawned, at, attempt._replace(phase="again"))
            yield "the reply to spawn is lost", False, again._replace(lost_replies=1)

    def _child_ended(self, record: Record) -> Record:
        record = record._replace(is_child_live=False)
        if not self._rules.end_of_a_child_settles_its_call:
            return record
        return self._settled(record, "answered")

    def _settled(self, record: Record, how: str) -> Record:
        """The call has come to something, its child or not."""
        record = record.drop("call")
        if how == "late" and self._rules.stopping_a_call_puts_its_child_away:
            record = record.drop("c")._replace(is_child_live=False)
        record = record._replace(results=record.results + 1).say(("result", "call", 0))
        return self._after(record)

    def _after(self, record: Record) -> Record:
        """Something has been done: is that all?"""
        if record.status != "live":
            return record
        if record.is_aborting:
            running = any(task.state == "running" for task in record.tasks)
            return record if running else self._ended(record, "aborted")
        return record if record.tasks else self._ended(record, "finished")

    def _ended(self, record: Record, status: str) -> Record:
        kept = record.tasks if status == "failed" else ()
        left = () if self._rules.end_of_the_run_forgets_all_tasks else record.tasks
        return record._replace(status=status, tasks=left, kept=kept, is_aborting=False).say(
            ("end", "", 0)
        )


def violations(world: World, following: list[Step]) -> Iterator[str]:
    """What is broken in this world, by name."""
    record = world.record
    ends = [at for at, (kind, _, _) in enumerate(record.topic) if kind == "end"]
    if ends and ends != [len(record.topic) - 1]:
        yield "a chunk follows the end"
    if record.children > 1:
        yield "a call has two children"
    if record.results > 1:
        yield "a call has two results"
    goes_on = any(by_itself for _, by_itself, _ in following)
    asks = any(task.state == "waits" for task in record.tasks)
    if record.status == "live" and not goes_on and not asks:
        yield "nobody looks at the run again"
    if record.status == "finished":
        stands = {said for said in record.committed if said[0] == "m" or not world.timeouts}
        shown = {said for said in _read(record.topic) if said[0] == "m" or not world.timeouts}
        if shown != stands:
            yield "readers end with another text than the journals"
    if world.retries and record.topic[_taken_back(record)][1] == "c":
        yield "a child's reset says that the end is taken back"


def _taken_back(record: Record) -> int:
    """Where the first reset of the only retry stands: it has named no task that had crashed."""
    retried = [at for at, (kind, _, _) in enumerate(record.topic) if kind == "reset"]
    return retried[0] if retried else 0


def _read(topic: tuple[Said, ...]) -> set[tuple[str, int]]:
    """What a reader has understood."""
    shown: list[tuple[int, str, int]] = []
    for at, (kind, task, number) in enumerate(topic):
        if kind == "text":
            shown.append((at, task, number))
        elif kind == "reset":
            shown = [each for each in shown if each[1] != task or each[0] < number]
    return {(task, number) for _, task, number in shown}


def _without_the_stale(world: World) -> World:
    """The same world; an attempt whose task is no longer its own is gone."""

    def holds(attempt: Attempt | None) -> bool:
        if attempt is None:
            return False
        if attempt.phase in ("again", "half"):
            return True
        task = world.record.task(attempt.task)
        return task is not None and task.state == "running"

    workers = tuple(sorted((a if holds(a) else None for a in world.workers), key=repr))
    return world._replace(workers=workers)


def explore(rules: Rules, *, until_broken: bool = False) -> Found:
    """Try every order of events, or those up to the first that breaks something."""
    protocol = Protocol(rules)

    def look(world: World) -> tuple[list[str], list[tuple[str, World]]]:
        following = list(protocol.steps(world))
        after = [(sentence, _without_the_stale(each)) for sentence, _, each in following]
        return list(violations(world, following)), after

    return search(World(), look, until_broken=until_broken)


PROTOCOL = Rules()
#: The protocol as it is, under each kind of fault.
AS_IT_IS = {
    "two crashes, a person": replace(PROTOCOL, crashes=2),
    "a lost reply": replace(PROTOCOL, lost_replies=1),
    "an abort": replace(PROTOCOL, aborts=1),
    "a failure and a retry": replace(PROTOCOL, failures=1, retries=1, crashes=0),
    "a timeout": replace(PROTOCOL, timeouts=1),
}
_RETRIED = AS_IT_IS["a failure and a retry"]
#: What each protection is for.
LEFT_OUT = {
    "a child in two writes": replace(PROTOCOL, spawn_is_one_script=False),
    "a spawn that forgets": replace(PROTOCOL, spawn_knows_its_token=False, lost_replies=1),
    "a call settled later": replace(PROTOCOL, end_of_a_child_settles_its_call=False),
    "an end of the run alone": replace(
        PROTOCOL, end_of_the_run_forgets_all_tasks=False, failures=1
    ),
    "a child left alone": replace(PROTOCOL, stopping_a_call_puts_its_child_away=False, timeouts=1),
    "one reset for all": replace(_RETRIED, retry_resets_each_task=False),
    "a child's reset first": replace(_RETRIED, retry_says_its_own_reset_first=False),
    "a call made again": replace(_RETRIED, retry_keeps_a_call_with_its_child=False),
}


def main() -> int:
    for name, rules in (AS_IT_IS | LEFT_OUT).items():
        tell(name, explore(rules))
    return 0


if __name__ == "__main__":
    sys.exit(main())
