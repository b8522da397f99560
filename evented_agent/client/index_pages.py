"""Pages of what indexes hold, newest first, merged over all shards; the same at each call."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from evented_agent.errors import DeclarationError
from evented_agent.given import check_count, check_optional_text
from evented_agent.ledger.indexes import list_index
from evented_agent.ledger.keys import Keys
from evented_agent.ledger.plan import Plan, send
from evented_agent.ledger.script import Command

_T = TypeVar("_T")

#: Members read per round trip.
_PAGE = 50
#: Members read per round trip where nothing is read of them.
_MOST_MEMBERS = 500
_MOST_NEWEST = 100
#: Digits of a time (ms) in a `page`: more than any has, and few enough to be exact.
_MOST_DIGITS = 15

#: A member's place in a listing: its time in the index (ms), and itself where times are equal.
_Place = tuple[int, str]


def newest_members(keys: Keys, index: tuple[str, str]) -> Plan[tuple[dict[str, int], bool]]:
    """The newest members of an index, with their times (ms), and whether there are no others."""
    found: dict[str, int] = {}
    oldest = 0
    for shard in range(keys.shards):
        call = list_index(keys, shard, index, since=0, offset=0, limit=_MOST_NEWEST)
        places = yield from send(call)
        found.update((member, time) for time, member in places)
        if len(places) == _MOST_NEWEST:
            # Of another shard older ones may be known, between which some are missing.
            oldest = max(oldest, places[-1][0])
    return {member: time for member, time in found.items() if time >= oldest}, not oldest


def all_members(keys: Keys, index: tuple[str, str], since: int = 0) -> Plan[dict[str, int]]:
    """All members of an index, of all shards, with their times (ms); none from before *since*."""
    found: dict[str, int] = {}
    for shard in range(keys.shards):
        found |= yield from _members_of_shard(keys, shard, index, since)
    return found


def _members_of_shard(
    keys: Keys, shard: int, index: tuple[str, str], since: int
) -> Plan[dict[str, int]]:
    found: dict[str, int] = {}
    while True:
        offset = len(found)
        call = list_index(keys, shard, index, since=since, offset=offset, limit=_MOST_MEMBERS)
        places = yield from send(call)
        found.update((member, time) for time, member in places)
        if len(places) < _MOST_MEMBERS or len(found) == offset:
            return found


@dataclass(frozen=True, slots=True)
class IndexPages(Generic[_T]):
    """Reads an index page by page, and keeps what matches.

    Attributes:
        keys: Where the indexes are.
        index: Which index, the same in each shard.
        since: Nothing from before that time.
        read: What there is of some members of a shard; those that are missing are gone.
        matches: Whether that is wanted.
        forget: The call that takes members that are gone out of an index.
    """

    keys: Keys
    index: tuple[str, str]
    since: datetime | None
    read: Callable[[int, Sequence[str]], Plan[Mapping[str, _T]]]
    matches: Callable[[_T], bool]
    forget: Callable[[int, Sequence[str]], Command[int]]

    def page(self, limit: int, page: str | None) -> Plan[tuple[list[_T], str | None]]:
        """The newest that match, at most *limit*, and the ``page`` that follows, if there is one.

        *page* is what this returned with the page before.
        """
        check_count("limit", limit)
        check_optional_text("page", page)
        before = None if page is None else _place(page)
        found: list[tuple[_Place, _T]] = []
        for shard in range(self.keys.shards):
            found.extend((yield from self._of_shard(shard, limit, before)))
        found.sort(key=lambda each: each[0], reverse=True)
        shown = found[:limit]
        is_more = len(found) > limit and bool(shown)
        next_page = "{}.{}".format(*shown[-1][0]) if is_more else None
        return [each for _, each in shown], next_page

    def _of_shard(
        self, shard: int, limit: int, before: _Place | None
    ) -> Plan[list[tuple[_Place, _T]]]:
        matching: list[tuple[_Place, _T]] = []
        offset = 0
        # One more than is shown says whether there is another page.
        while len(matching) <= limit:
            places = yield from send(self._places(shard, before, offset))
            if not places:
                break
            there = yield from self.read(shard, [member for _, member in places])
            gone = [member for _, member in places if member not in there]
            if gone:
                # They have expired; nothing else removes them from the index.
                yield from send(self.forget(shard, gone))
            offset += len(places) - len(gone)
            matching.extend(
                (place, there[place[1]])
                for place in places
                if place[1] in there
                if before is None or place < before
                if self.matches(there[place[1]])
            )
        return matching[: limit + 1]

    def _places(
        self, shard: int, before: _Place | None, offset: int
    ) -> Command[Sequence[tuple[int, str]]]:
        return list_index(
            self.keys,
            shard,
            self.index,
            since=0 if self.since is None else int(self.since.timestamp() * 1000),
            until=None if before is None else before[0],
            offset=offset,
            limit=_PAGE,
        )


def _place(page: str) -> _Place:
    time, _, member = page.partition(".")
    if not time.isdecimal() or len(time) > _MOST_DIGITS or not member:
        raise DeclarationError(f"page={page!r}: pass the next_page of the page before.")
    return int(time), member
