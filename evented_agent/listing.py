"""Listing runs, without I/O."""

from collections.abc import Generator, Sequence
from datetime import datetime
from typing import Any

from evented_agent.errors import RunDeleted, RunNotFound
from evented_agent.ledger import fleet, operations
from evented_agent.ledger.call import Call
from evented_agent.ledger.keys import Keys
from evented_agent.ledger.records import Record
from evented_agent.results import RunInfo, info_of, is_waiting

#: Runs read per round trip while listing.
PAGE = 50


class Wanted:
    """A listing without I/O: asks for pages of the narrowest index and keeps what matches."""

    def __init__(
        self,
        keys: Keys,
        status: str | None,
        agent: str | None,
        thread_id: str | None,
        resource_id: str | None,
        since: datetime | None,
        limit: int,
    ) -> None:
        self._keys = keys
        self._fields = {
            name: value
            for name, value in {
                "thread": thread_id,
                "resource": resource_id,
                "status": status,
                "agent": agent,
            }.items()
            if value is not None
        }
        self._index = next(iter(self._fields.items()), ("all", ""))
        self._since = 0 if since is None else int(since.timestamp() * 1000)
        self._limit = limit

    def steps(self) -> Generator[list[Call[Any]], Sequence[Any], list[RunInfo]]:
        found: list[Record] = []
        for shard in range(self._keys.shards):
            found.extend((yield from self._of_shard(shard)))
        found.sort(key=lambda record: int(record.fields["created"]), reverse=True)
        workers: Sequence[fleet.LiveWorker] = ()
        if any(is_waiting(record) for record in found):
            [workers] = yield [fleet.workers(self._keys)]
        return [info_of(record, workers) for record in found[: self._limit]]

    def _of_shard(self, shard: int) -> Generator[list[Call[Any]], Sequence[Any], list[Record]]:
        matching: list[Record] = []
        offset = 0
        while len(matching) < self._limit:
            [run_ids] = yield [
                fleet.list_runs(
                    self._keys, shard, self._index, since=self._since, offset=offset, limit=PAGE
                )
            ]
            if isinstance(run_ids, BaseException):
                raise run_ids
            if not run_ids:
                break
            records = yield [operations.read(self._keys, run_id) for run_id in run_ids]
            gone = [i for i, r in zip(run_ids, records, strict=True) if _is_gone(r)]
            if gone:
                # Their records have expired: nobody else takes them out of the index.
                yield [fleet.forget(self._keys, shard, self._index, gone)]
            offset += len(run_ids) - len(gone)
            matching.extend(r for r in records if isinstance(r, Record) and self._matches(r))
        return matching[: self._limit]

    def _matches(self, record: Record) -> bool:
        return all(record.fields.get(name) == value for name, value in self._fields.items())


def _is_gone(record: object) -> bool:
    return isinstance(record, RunNotFound | RunDeleted)
