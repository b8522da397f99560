"""Listing runs, without I/O."""

from collections.abc import Generator, Mapping, Sequence
from datetime import datetime
from typing import Any

from evented_agent.agents.tools.approvals import Pending
from evented_agent.errors import DeclarationError, RunDeleted, RunNotFound
from evented_agent.ledger import indexes, runs
from evented_agent.ledger import workers as worker_scripts
from evented_agent.ledger.keys import STATUSES, Keys
from evented_agent.ledger.records import Record
from evented_agent.ledger.script import Command
from evented_agent.state.run_info import RunInfo, info_of, is_waiting

#: Runs read per round trip while listing.
PAGE = 50

#: A run's place in a listing: its time in the index (ms), and its id where times are equal.
_Place = tuple[int, str]


class RunPage(list[RunInfo]):
    """The runs of one page; *next_page*, if there is one, is the ``page`` that follows."""

    def __init__(self, runs: Sequence[RunInfo] = (), next_page: str | None = None) -> None:
        super().__init__(runs)
        self.next_page = next_page


class Wanted:
    """A listing without I/O: asks for pages of the narrowest index and keeps what matches.

    *chosen* are ``status``, ``agent``, ``thread_id``, ``resource_id`` and ``since``.  Runs come by
    the time when they were created; those of a status in which they have ended, when they ended.
    """

    def __init__(
        self, keys: Keys, chosen: Mapping[str, Any], *, limit: int, page: str | None = None
    ) -> None:
        self._keys = keys
        status = chosen.get("status")
        if status is not None and status not in STATUSES:
            raise DeclarationError(f"status={status!r}: use one of {', '.join(STATUSES)}.")
        self._fields = {
            name: value
            for name, value in {
                "thread": chosen.get("thread_id"),
                "resource": chosen.get("resource_id"),
                "status": status,
                "agent": chosen.get("agent"),
            }.items()
            if value is not None
        }
        self._index = next(iter(self._fields.items()), ("all", ""))
        since: datetime | None = chosen.get("since")
        self._since = 0 if since is None else int(since.timestamp() * 1000)
        self._limit = limit
        self._before = None if page is None else _place(page)

    def steps(self) -> Generator[list[Command[Any]], Sequence[Any], RunPage]:
        found: list[tuple[_Place, Record]] = []
        for shard in range(self._keys.shards):
            found.extend((yield from self._of_shard(shard)))
        found.sort(key=lambda each: each[0], reverse=True)
        shown = found[: self._limit]
        workers: Sequence[worker_scripts.LiveWorker] = ()
        if any(is_waiting(record) for _, record in shown):
            [workers] = yield [worker_scripts.live_workers(self._keys)]
        is_more = len(found) > self._limit and bool(shown)
        next_page = "{}.{}".format(*shown[-1][0]) if is_more else None
        return RunPage([info_of(record, workers) for _, record in shown], next_page)

    def _of_shard(
        self, shard: int
    ) -> Generator[list[Command[Any]], Sequence[Any], list[tuple[_Place, Record]]]:
        matching: list[tuple[_Place, Record]] = []
        offset = 0
        # One more than is shown says whether there is another page.
        while len(matching) <= self._limit:
            [places] = yield [
                indexes.list_index(
                    self._keys,
                    shard,
                    self._index,
                    since=self._since,
                    until=None if self._before is None else self._before[0],
                    offset=offset,
                    limit=PAGE,
                )
            ]
            if isinstance(places, BaseException):
                raise places
            if not places:
                break
            records = yield [runs.read(self._keys, run_id) for _, run_id in places]
            gone = [place[1] for place, r in zip(places, records, strict=True) if _is_gone(r)]
            if gone:
                # Their records have expired: nobody else takes them out of the index.
                yield [indexes.forget(self._keys, shard, self._index, gone)]
            offset += len(places) - len(gone)
            matching.extend(
                (place, record)
                for place, record in zip(places, records, strict=True)
                if isinstance(record, Record) and self._matches(place, record)
            )
        return matching[: self._limit + 1]

    def _matches(self, place: _Place, record: Record) -> bool:
        if self._before is not None and place >= self._before:
            return False
        return all(record.fields.get(name) == value for name, value in self._fields.items())


def _place(page: str) -> _Place:
    time, _, run_id = page.partition(".")
    if not time.isdecimal() or not run_id:
        raise DeclarationError(f"page={page!r}: pass the next_page of the page before.")
    return int(time), run_id


def oldest_first(found: Sequence[Sequence[RunInfo]]) -> list[Pending]:
    """What the runs of several listings wait for; a run may be in more than one of them."""
    pending = {
        (each.run_id, each.number): each
        for infos in found
        for info in infos
        for each in info.pending
    }
    return sorted(pending.values(), key=lambda each: each.since)


def _is_gone(record: object) -> bool:
    return isinstance(record, RunNotFound | RunDeleted)
