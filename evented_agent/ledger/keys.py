"""Every Redis key, built here and nowhere else.

A run's keys, its alarm and its indexes share the hash tag of its shard, so that one script can
touch them all, also on a cluster.
"""

import hashlib
import re
import zlib
from dataclasses import dataclass
from typing import Any

from evented_agent.errors import ChildRun, RunNotFound

_RUN_ID = re.compile(r"[A-Za-z0-9_.-]{1,128}")

#: The index of all conversations, in each shard; with a resource, of those that are its own.
CONVERSATIONS = ("conversations", "")

STATUSES = ("queued", "running", "suspended", "finished", "failed", "aborted")


def is_run_id(value: object) -> bool:
    """Whether a run may be called that."""
    return isinstance(value, str) and _RUN_ID.fullmatch(value) is not None


_CHILD = re.compile(r"(?:~[1-9][0-9]{0,3}){1,9}")


def split_child(run_id: Any) -> tuple[str, str]:
    """The run that was started, and which child of it is meant (``~1~2``), or ""."""
    if not isinstance(run_id, str):
        # What is no id is refused by whoever makes keys of it.
        return run_id, ""
    root, mark, rest = run_id.partition("~")
    branch = f"{mark}{rest}"
    return (root, branch) if _CHILD.fullmatch(branch) else (run_id, "")


def thread_name(thread: str, resource: str | None) -> str:
    """A thread belongs to its resource: under another one the same id is another thread."""
    return f"{len(resource or '')}:{resource or ''}:{thread}"


def thread_named(name: str) -> tuple[str, str | None]:
    """The thread and the resource of a `thread_name`."""
    length, _, rest = name.partition(":")
    size = int(length) if length.isdecimal() else 0
    return rest[size + 1 :], rest[:size] or None


def digest_of(name: str) -> str:
    """What stands in a key for a name of whatever characters."""
    return hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class RunKeys:
    """The keys of one run, in the order in which the scripts expect them."""

    run: str
    tasks: str
    journal: str
    topic: str
    blobs: str
    alarms: str
    bells: str
    statuses: tuple[str, ...]

    @property
    def own(self) -> tuple[str, ...]:
        """KEYS 1-7, enough for scripts that cannot change the run's status."""
        return (self.run, self.tasks, self.journal, self.topic, self.blobs, self.alarms, self.bells)

    @property
    def all(self) -> tuple[str, ...]:
        """KEYS 1-13."""
        return (*self.own, *self.statuses)


@dataclass(frozen=True, slots=True)
class ThreadKeys:
    """The keys of one thread, in the order in which the scripts expect them.

    Whose turn it is, the conversation, where each run is in it, what lists show of it, the indexes
    that it is found in (of all conversations, and of those of its resource), which run each message
    to it went to, and the numbers of the entries in *turns*.
    """

    turns: str
    log: str
    places: str
    about: str
    listed: str
    owned: str
    sent: str
    entries: str

    @property
    def all(self) -> tuple[str, ...]:
        """KEYS 1-8."""
        own = (self.turns, self.log, self.places, self.about)
        return (*own, self.listed, self.owned, self.sent, self.entries)


@dataclass(frozen=True, slots=True)
class Keys:
    """Builds the keys of one deployment."""

    prefix: str = "ea"
    shards: int = 1

    def shard(self, run_id: str) -> int:
        return zlib.crc32(run_id.encode()) % self.shards

    def of(self, run_id: str) -> RunKeys:
        """The keys of a run, and of the whole tree that begins with it.

        Raises `RunNotFound` for what no run can be called, `ChildRun` for a child of one.
        """
        if not is_run_id(run_id):
            root, branch = split_child(run_id)
            raise ChildRun(run_id, root) if branch and is_run_id(root) else RunNotFound(run_id)
        shard = self.shard(run_id)
        own = f"{self._tag(shard)}:{run_id}"
        return RunKeys(
            run=f"{own}:run",
            tasks=f"{own}:tasks",
            journal=f"{own}:journal",
            topic=f"{own}:topic",
            blobs=f"{own}:blobs",
            alarms=self.alarms(shard),
            bells=self.bells(shard),
            statuses=tuple(self.index(shard, "status", status) for status in STATUSES),
        )

    def of_tree(self, run_id: str) -> RunKeys:
        """The keys of a run, or of the one that a child run belongs to."""
        return self.of(split_child(run_id)[0])

    def thread(self, name: str) -> ThreadKeys:
        """The keys of a thread, whatever characters the caller's ids have."""
        shard = self.shard(name)
        turns, log, about = self.thread_at(shard, digest_of(name))
        _, resource = thread_named(name)
        listed = self.index(shard, *CONVERSATIONS)
        owned = self.index(shard, CONVERSATIONS[0], resource or "")
        sent, entries = f"{log}:sent", f"{log}:entries"
        return ThreadKeys(turns, log, f"{log}:places", about, listed, owned, sent, entries)

    def thread_at(self, shard: int, digest: str) -> tuple[str, str, str]:
        """Turns, log and what lists show of the thread that an index has as *digest*."""
        own = f"{self._tag(shard)}:thread:{digest}"
        return f"{own}:turns", own, f"{own}:about"

    def slots(self, scope: str = "") -> str:
        """Who holds places of a limit of background calls; without a scope, who waits for one."""
        digest = f":{digest_of(scope)}" if scope else ""
        return f"{self.prefix}:{{background}}{digest}"

    def counters(self, part: str = "") -> str:
        """What workers have counted: in all, of one time, or the last batch of one process."""
        return f"{self.prefix}:{{counters}}{part and ':'}{part}"

    def ended(self, shard: int) -> str:
        """Up to when ended runs were counted."""
        return f"{self._tag(shard)}:ended"

    def of_shard(self, shard: int) -> tuple[str, ...]:
        """The alarms and bells of a shard, and its index of each status."""
        statuses = (self.index(shard, "status", status) for status in STATUSES)
        return (self.alarms(shard), self.bells(shard), *statuses)

    def alarms(self, shard: int) -> str:
        return f"{self._tag(shard)}:alarms"

    def bells(self, shard: int) -> str:
        return f"{self._tag(shard)}:bells"

    def watch(self, shard: int) -> tuple[str, str, str, str]:
        """The watchdogs' lock, the alarms, the pulse and the bells of a shard."""
        tag = self._tag(shard)
        return (f"{tag}:watch", self.alarms(shard), f"{tag}:pulse", self.bells(shard))

    def index(self, shard: int, kind: str, value: str = "") -> str:
        """A sorted set of run ids by time (ms): all, or one agent's, thread's, status's."""
        return (
            f"{self._tag(shard)}:runs:{kind}:{value}"
            if value
            else f"{self._tag(shard)}:runs:{kind}"
        )

    @property
    def workers(self) -> str:
        return f"{self.prefix}:workers"

    @property
    def deployment(self) -> str:
        """What every process of a deployment must agree on."""
        return f"{self.prefix}:deployment"

    @property
    def prefixes(self) -> str:
        """Under which other prefixes runs of this deployment are."""
        return f"{self.prefix}:prefixes"

    def _tag(self, shard: int) -> str:
        return f"{self.prefix}:{{{shard}}}"
