"""What the scripts read and write, as types.  Does no I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import pydantic_core

from evented_agent.ledger.tree_records import AnsweredCall

#: The newest format of records, journal entries and messages that this version writes and serves:
#: 2 with a run's first message or hand-off, 3 with its first child.
FORMAT = 3
#: The format in which runs begin, which older versions serve too.
FIRST_FORMAT = 1

TaskKind = Literal["model", "tool", "end", "hook", "after"]


#: Why an attempt is fenced that owns its task, but not all that it wrote is there.
GAP = "gap"


class Fenced(Exception):
    """This attempt no longer owns its task: another will do, or has done, the work."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


#: Why an attempt is to stop before its work is done, as the scripts tell it.
Signal = Literal["aborted", "interrupted"]


class Due(NamedTuple):
    """A task whose message is to be sent now."""

    run_id: str
    key: str
    generation: int
    kind: TaskKind
    tool: str | None = None
    queue: str = ""
    agent: str = ""

    @property
    def task_id(self) -> str:
        """The Celery task id; every message about one attempt has the same."""
        return f"{self.run_id}:{self.key}:{self.generation}"


#: What holds for a call of a tool that this version does not have.
_NO_POLICY = {"on_crash": "rerun", "most_retries": 0, "expiry": 0, "on_expiry": "decline"}


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task that a commit queues; a tool's *policy* goes along, so that any script can apply it.

    With *ask*, the stored chunk that asks for approval, it is suspended instead.
    """

    key: str
    kind: TaskKind
    step: int
    call: str | None = None
    tool: str | None = None
    args: str = "{}"
    ask: str | None = None
    policy: Mapping[str, Any] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        record: dict[str, Any] = {"key": self.key, "kind": self.kind, "step": self.step}
        if self.kind == "tool":
            record |= {"call": self.call, "tool": self.tool, "args": self.args}
            record |= {**_NO_POLICY, **self.policy}
        if self.ask is not None:
            record["ask"] = self.ask
        return record


@dataclass(frozen=True, slots=True)
class SuspensionRecord:
    """Why a task waits for a person, since when and until when (ms).

    *number* is the seq of the chunk that asks; *asked* the JSON of ``payload`` and
    ``resumeSchema``.
    """

    number: int
    kind: str
    at: int
    expires: int
    asked: str = "{}"


@dataclass(frozen=True, slots=True)
class Task:
    """A task as its record holds it; a hook's *suspended* is what it tells people about.

    *lost_at* is when the lease of the attempt before ran out, if that is why there is this one.
    *branch* is the child run whose task it is (``~1``), "" for the run that was started; *child* is
    the one that answers the call.
    """

    run_id: str
    key: str
    kind: TaskKind
    step: int
    state: str
    generation: int
    token: str = ""
    call: str | None = None
    tool: str | None = None
    owner: str | None = None
    retries: int = 0
    crashes: int = 0
    tries: int = 0
    model: int = 0
    queued_at: int = 0
    started: int = 0
    lost_at: int | None = None
    lease: int = 0
    not_before: int | None = None
    args: str = "{}"
    approval: str | None = None
    given: Sequence[str] = ()
    suspended: SuspensionRecord | None = None
    waits_for: str | None = None
    waited: int = 0
    hook_tries: int = 0
    list_tries: int = 0
    background: str | None = None
    timeout_ms: int | None = None
    most_retries: int = 0
    is_idle_over: bool = False
    late: Sequence[str] | None = None
    is_decided: bool = False
    is_put_off: bool = False
    branch: str = ""
    child: str = ""

    @property
    def own_run_id(self) -> str:
        """The id of the run or the child run whose task it is."""
        return f"{self.run_id}{self.branch}"

    @property
    def id_prefix(self) -> str:
        """What the keys of its run's tasks, and the ids of its calls and parts, begin with."""
        return f"{self.branch}/" if self.branch else ""

    @classmethod
    def parse(cls, run_id: str, key: str, stored: bytes) -> "Task":
        record = pydantic_core.from_json(stored)
        return cls(
            run_id=run_id,
            key=key,
            kind=record["kind"],
            step=int(record["step"]),
            state=record["state"],
            generation=int(record["gen"]),
            token=record.get("token", ""),
            call=record.get("call"),
            tool=record.get("tool"),
            owner=record.get("owner"),
            retries=int(record.get("retries", 0)),
            crashes=int(record.get("crashes", 0)),
            tries=int(record.get("tries", 0)),
            model=int(record.get("model", 0)),
            queued_at=int(record.get("queued_at", 0)),
            started=int(record.get("started", 0)),
            lost_at=_lost_at(record),
            lease=int(record.get("lease", 0)),
            not_before=record.get("not_before"),
            args=record.get("args", "{}"),
            approval=record.get("approval"),
            given=tuple(record.get("given", ())),
            suspended=_suspended(record),
            waits_for=record.get("waits_for"),
            waited=int(record.get("waited", 0)),
            hook_tries=int(record.get("hook_tries", 0)),
            list_tries=int(record.get("list_tries", 0)),
            background=record.get("bg"),
            timeout_ms=record.get("timeout"),
            most_retries=int(record.get("most_retries", 0)),
            is_idle_over=bool(record.get("idle_over")),
            late=tuple(record["late"]) if "late" in record else None,
            is_put_off=bool(record.get("put_off")),
            branch=record.get("branch", ""),
            child=record.get("child", "") if record["state"] == "child" else "",
            is_decided=any(record.get(name) for name in ("decided", "approval", "given")),
        )


def _lost_at(record: Mapping[str, Any]) -> int | None:
    lost = record.get("lost")
    return int(lost["at"]) if lost and lost["gen"] + 1 == record["gen"] else None


def _suspended(record: Mapping[str, Any]) -> SuspensionRecord | None:
    # A hook task tells about the suspension of another one.
    held = record.get("suspended" if record["state"] == "suspended" else "held")
    if held is None:
        return None
    return SuspensionRecord(
        number=int(held["n"]),
        kind=held["kind"],
        at=int(held["at"]),
        expires=int(held["expires"]),
        asked=record.get("asked", "{}"),
    )


@dataclass(frozen=True, slots=True)
class Claim:
    """An attempt of *task* that this process may run, with all that it needs.

    *agent* goes on with it, *run_agent* is the one that the run began with. *is_revived* says that
    the run had failed before and was told to go on, *yielded* is the number of its entry in the
    thread that it has given back; *trace* is the span that the run belongs to, as
    `telemetry.trace_context` stores it; *answers* the call that a child run is for, *conversation*
    the thread of the run above it, which is not its own.
    """

    task: Task
    agent: str
    run_agent: str
    options: bytes
    messages: bytes
    thread: str | None
    resource: str | None
    is_revived: bool
    yielded: str | None
    aborted: bool
    journal_length: int
    entries: Sequence[bytes]
    trace: str | None = None
    answers: AnsweredCall | None = None
    conversation: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a claim was not granted; the task is somebody else's or nobody's."""

    reason: str


@dataclass(frozen=True, slots=True)
class HandOver:
    """The agent that goes on with a run, and what its declaration changes in the record."""

    agent: str
    fields: Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How a commit ends its run.

    *chunks* and *entry* are what the end of a child run says to its parent: the result of its call.
    """

    status: Literal["finished", "failed"]
    reason: str
    error: Mapping[str, str] | None = None
    chunks: Sequence[str] = ()
    entry: str = ""


@dataclass(frozen=True, slots=True)
class Work:
    """What a completed attempt leaves behind, all in one script.

    *journal_length* is given for decisions to end or to wait: the commit is refused if the journal
    has grown. *seen* is how much of it a turn's model had been shown. *turn* says which of
    *entries* the next tasks belong to. With *idle_ms* the run has nothing to do but wait for its
    deferred calls, for so long; *drops* are those that it no longer waits for. *hand_over* says who
    goes on with the run.
    """

    chunks: Sequence[str] = ()
    entries: Sequence[str] = ()
    next: Sequence[NewTask] = ()
    usage: Mapping[str, int] = field(default_factory=dict)
    journal_length: int | None = None
    seen: int | None = None
    finish: RunEnd | None = None
    turn: int = 0
    idle_ms: int | None = None
    hand_over: HandOver | None = None
    drops: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person decided, in the forms in which the script stores it.

    *follows* says what becomes of the call: "approved" and "data" run its tool with *data*,
    "rerun" runs it again, "settle" ends it with *chunk* and the journal entry *result*. *told* is
    the payload of the chunk that tells readers.
    """

    digest: str
    follows: Literal["approved", "data", "rerun", "settle"]
    entry: str
    data: str = ""
    chunk: str = ""
    result: str = ""
    told: str = ""


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message to a run, in the forms in which the script stores it.

    *waits* says what becomes of calls that wait for people: they are put off ("answer"), declined,
    or the message waits with them ("hold").
    """

    id: str
    digest: str
    entry: str
    chunk: str
    waits: Literal["answer", "hold", "decline"] = "answer"
    by: str = ""
    interrupts: bool = False


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that its run has: the number of its chunk, and the messages of tasks to send."""

    number: int
    sends: Sequence[Due]


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a decision: messages to send, and what stands, as JSON.

    *stored* is empty for a decision that an older version has taken.
    """

    sends: Sequence[Due]
    is_new: bool
    stored: bytes


@dataclass(frozen=True, slots=True)
class Committed:
    """What follows a commit: messages to send, and the end task if this commit claimed it.

    *is_newer* says that the task was handed back: its run has what this version cannot read;
    *only_waits* that no step of the run is under way now.
    """

    sends: Sequence[Due] = ()
    end: Claim | None = None
    aborted: bool = False
    is_newer: bool = False
    only_waits: bool = False


@dataclass(frozen=True, slots=True)
class JournalChanged:
    """A decision was refused because the journal has grown; decide again from *entries*."""

    journal_length: int
    entries: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Record:
    """One run as `read` saw it; *now* and all times are ms of the Redis clock.

    *children* are the records of its child runs, by their ids. The record of a child run has the
    tasks of that one and of those below it.
    """

    run_id: str
    now: int
    fields: Mapping[str, str]
    tasks: Sequence[Task]
    last_cursor: str
    entries: Sequence[bytes]
    decided: Sequence[bytes] = ()
    children: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether it has finished, failed or was aborted."""
        return self.fields["status"] in ENDED

    @property
    def only_waits(self) -> bool:
        """Whether no step of it is under way: people are asked, or calls are in the background."""
        under_way = [task for task in self.tasks if task.state != "suspended"]
        # What goes on of a child holds its call up, and with it the call's step.
        busy = {task.branch for task in under_way if task.state != "child"}

        def holds_step(task: Task) -> bool:
            if task.branch or task.kind == "hook" or task.background == "deferred":
                return False
            below = (branch for branch in busy if f"{branch}~".startswith(f"{task.child}~"))
            return task.state != "child" or any(below)

        return not any(holds_step(task) for task in under_way)

    def queued(self) -> list[Due]:
        """The messages that would start what is queued and need not wait."""
        return [
            Due(
                self.run_id,
                task.key,
                task.generation + 1,
                task.kind,
                task.tool,
                self.fields["queue"],
                self._agent_of(task),
            )
            for task in self.tasks
            if task.state == "queued" and task.not_before is None
        ]

    def _agent_of(self, task: Task) -> str:
        own = self.children.get(task.own_run_id, {})
        return str(own.get("acting") or own.get("agent") or self.fields["agent"])


@dataclass(frozen=True, slots=True)
class KeptAttempts:
    """Attempts of a tree of runs as scripts keep them, each JSON; *total* is how many have ended.

    *ended* are the last of those, *live* run or are queued; *now* is the ms of the Redis clock.
    *run_id* is the run that was started, *branch* the child of it that was asked for, or "".
    """

    run_id: str
    branch: str
    now: int
    total: int
    ended: Sequence[bytes]
    live: Sequence[bytes]


ENDED = ("finished", "failed", "aborted")
