"""Where a command looks for runs: those of the app, or at a Redis those of all engines there."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from evented_agent.cli.output import short_ids
from evented_agent.client.deployment import REDIS_URL_VARIABLE
from evented_agent.client.runs import Runs
from evented_agent.errors import ConfigurationError, LedgerUnavailable, RunNotFound
from evented_agent.ledger.address import safe_url
from evented_agent.ledger.embedded_server import find_server, no_server
from evented_agent.ledger.error_replies import CONNECTION_FAILURES, refusal_of
from evented_agent.ledger.keys import Keys, is_run_id
from evented_agent.ledger.settings import Settings
from evented_agent.ledger.workers import prefixes
from evented_agent.state.run_info import RunInfo

_T = TypeVar("_T")

#: The newest runs that a short id is looked for in, and its least length.
_MOST_LOOKED_AT, _LEAST = 1_000, 4


@dataclass(frozen=True)
class Places:
    """All `Runs` that a command looks at, one for each prefix; the first is the deployment's."""

    all: Sequence[Runs]

    @property
    def first(self) -> Runs:
        return self.all[0]

    def find(self, given: str) -> tuple[Runs, str]:
        """Where a run is, and its id; *given* may be its beginning.

        Raises `RunNotFound` with where it was looked for, and what to add.
        """
        for place in self.all:
            try:
                if is_run_id(given):
                    place.get(given)
                    return place, given
            except RunNotFound:
                continue
        found = [
            (place, info.run_id)
            for place in self.all
            for info in (place.list(limit=_MOST_LOOKED_AT) if len(given) >= _LEAST else ())
            if info.run_id.startswith(given)
        ]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(run_id for _, run_id in found[:5])
            raise ConfigurationError(f"Several runs begin with {given!r}: {names}. Give more.")
        raise RunNotFound(given, self.description)

    def merged(self, look: Callable[[Runs], Sequence[_T]], order: Callable[[_T], Any]) -> list[_T]:
        """What *look* finds in all places, in the order of *order*."""
        return sorted((each for place in self.all for each in look(place)), key=order)

    @property
    def description(self) -> str:
        """Where was looked, and how to look elsewhere."""
        first = self.first
        names = " and ".join(repr(place.settings.prefix) for place in self.all)
        noun = "prefix" if len(self.all) == 1 else "the prefixes"
        where = f"{safe_url(first.redis_url)} under {noun} {names}"
        if first.agents:
            return f"{where}, where the app has its runs"
        return f"{where}; add -A MODULE, --redis URL or --prefix PREFIX for those of elsewhere"


def places_at(url: str | None, prefix: str | None) -> Places:
    """The runs at a Redis, else at that of the environment, else in the embedded server.

    Starts nothing. Without a *prefix* also those of agents that run in their own processes.
    """
    url = url or os.environ.get(REDIS_URL_VARIABLE)
    if url is None:
        server = find_server()
        if server is None:
            raise ConfigurationError(
                f"{no_server()} Add -A MODULE (the app whose runs they are) or --redis URL, or "
                "start what an agent left here: evented-agent server start."
            )
        url = server.url
    first = _at(url, prefix or Settings().prefix)
    if prefix is not None:
        return Places([first])
    others = _ask(first, lambda: first.ledger.send(prefixes(Keys(first.settings.prefix))))
    return Places([first, *(_at(url, other) for other in others)])


def stored_shards(runs: Runs) -> int | None:
    """Over how many shards the runs are spread, if any process has said so; writes nothing."""

    def look() -> Any:
        where = runs.keys.deployment
        return runs.ledger.client(where).hget(where, "shards")

    found = _ask(runs, look)
    return None if found is None else int(found)


def ids_of(found: Sequence[RunInfo]) -> dict[str, str]:
    """For each run the shortest id that names it among those found."""
    return short_ids([info.run_id for info in found], least=8)


def _at(url: str, prefix: str) -> Runs:
    runs = Runs(url, settings=Settings(prefix=prefix))
    shards = stored_shards(runs)
    if shards in (None, runs.settings.shards):
        return runs
    # Nothing but an app knows the settings, so those that others stored are right.
    return Runs(url, settings=Settings(prefix=prefix, shards=shards))


def _ask(runs: Runs, look: Callable[[], _T]) -> _T:
    try:
        return look()
    except CONNECTION_FAILURES as error:
        runs.ledger.recover(error)
        raise LedgerUnavailable(
            f"Redis at {safe_url(runs.redis_url)} could not be reached "
            f"({refusal_of(error).text}). Start it, or correct its URL."
        ) from None
