"""Which run of a conversation is read next: plans, and what is remembered between them."""

from collections import deque
from dataclasses import dataclass

from evented_agent.client.deployment import Deployment
from evented_agent.client.follow import Cursor, start_of
from evented_agent.client.index_pages import all_members
from evented_agent.client.owner import thread_of
from evented_agent.errors import DeclarationError, RunDeleted, RunNotFound
from evented_agent.given import check_optional_text
from evented_agent.ledger.plan import Plan, send
from evented_agent.ledger.records import ENDED, Record
from evented_agent.ledger.runs import read

#: A run, and the cursor after which to read it.
Position = tuple[str, Cursor]

#: How much earlier (ms) than the last run another may seem to have begun that comes after it: the
#: clocks of a cluster's masters differ.
_MARGIN = 5_000


@dataclass(frozen=True, slots=True)
class RunsOfThread:
    """Which runs are followed: those of a conversation, perhaps of one agent alone."""

    thread_id: str
    resource_id: str | None = None
    agent: str | None = None

    def __post_init__(self) -> None:
        thread_of(self.thread_id, self.resource_id)
        check_optional_text("agent", self.agent)

    def has(self, record: Record) -> bool:
        fields = record.fields
        return (
            fields.get("thread") == self.thread_id
            and fields.get("resource") == self.resource_id
            and self.agent in (None, fields["agent"])
        )


class ThreadCourse:
    """The runs of a conversation in the order of their creation, one at a time.

    *position* is what is read now, or was read last; None before the first, and where that is gone.
    """

    def __init__(self, at: Deployment, which: RunsOfThread) -> None:
        self.position: Position | None = None
        self._at = at
        self._which = which
        self._newest = 0
        self._known: dict[str, int] = {}
        self._ahead: deque[str] = deque()

    def begin(self, after: Position | None) -> Plan[None]:
        """Begin with the first run that there still is, or go on after a position.

        Raises `DeclarationError`, `InvalidCursor`, and `RunNotFound` for a run that is not, or no
        longer, among them.
        """
        if after is None:
            return
        if not _is_position(after):
            raise DeclarationError(
                f"after={after!r}: pass the position of a stream, or leave it out."
            )
        run_id, cursor = after
        start_of(cursor)
        record = yield from self._record(run_id)
        if record is None:
            raise RunNotFound(run_id)
        yield from self._look()
        created = int(record.fields["created"])
        # What comes before it was read before, or is not wanted.
        self._ahead = deque(
            other for other in self._ahead if (self._known[other], other) > (created, run_id)
        )
        self.position = run_id, cursor

    def next_run(self) -> Plan[Position | None]:
        """The run to read, and from where; None where nothing follows for now.

        That is the last one once more, if it has failed and was told to go on.
        """
        if not self._ahead:
            yield from self._look()
        while self._ahead:
            run_id = self._ahead.popleft()
            record = yield from self._record(run_id)
            if record is not None and _is_readable(record):
                self.position = run_id, 0
                return self.position
        if self.position is None:
            return None
        record = yield from self._record(self.position[0])
        is_live = record is not None and record.fields["status"] not in ENDED
        return self.position if is_live else None

    def _look(self) -> Plan[None]:
        """Find the runs that have come since the last look, oldest first."""
        since = max(0, self._newest - _MARGIN)
        index = ("thread", self._which.thread_id)
        found = yield from all_members(self._at.keys, index, since)
        new = [run_id for run_id in found if run_id not in self._known]
        self._ahead.extend(sorted(new, key=lambda run_id: (found[run_id], run_id)))
        self._known = found
        self._newest = max([self._newest, *found.values()])

    def _record(self, run_id: str) -> Plan[Record | None]:
        """A run of the conversation; None for one that is gone, or another's."""
        try:
            record = yield from send(read(self._at.keys, run_id))
        except (RunNotFound, RunDeleted):
            return None
        return record if self._which.has(record) else None


def _is_position(given: object) -> bool:
    return isinstance(given, tuple | list) and len(given) == 2


def _is_readable(record: Record) -> bool:
    """Whether the run has chunks, or will have."""
    return record.fields["status"] not in ENDED or bool(record.last_cursor)
