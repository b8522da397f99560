"""Which keys would stay in Redis for ever, though nothing needs them any more."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator

import redis

#: A key of a run, by the name that the run's keys have in common.
RUN_KEY = re.compile(r"(?P<run>[^{}]+:\{\d+\}:[A-Za-z0-9_.-]+):(?:run|tasks|journal|topic|blobs)")
#: Keys of ours that belong to no run: indexes, threads, limits, workers.
OURS = re.compile(r"[^{}]+:\{(\d+|background|counters)\}(:.*)?|[^{}]+:workers")
#: What a deployment has once; entries go with their runs, or a watchdog trims them.
PERMANENT = re.compile(r"[^{}]+:\{\d+\}:(alarms|bells|pulse|runs:(all|agent:.*|status:.*))")
#: What the broker has declared, and will not again.
BROKERS = "_kombu."
ENDED = ("finished", "failed", "aborted")


class LeakCheck:
    """Looks at all databases of a server, and empties them."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url, decode_responses=True)

    def leaks(self) -> list[str]:
        """Keys without a time to live that should have one."""
        found = []
        for database in self._client.info("keyspace"):
            self._client.select(int(database.removeprefix("db")))
            found += [f"{database} {key}" for key in self._leaks()]
        return found

    def forget(self) -> None:
        """Delete all but what the broker has declared: no file finds the runs of another one."""
        for database in self._client.info("keyspace"):
            self._client.select(int(database.removeprefix("db")))
            keys = [
                key for key in self._client.scan_iter(count=1000) if not key.startswith(BROKERS)
            ]
            for first in range(0, len(keys), 1000):
                self._client.unlink(*keys[first : first + 1000])

    def close(self) -> None:
        self._client.close()

    def _leaks(self) -> Iterator[str]:
        runs: dict[str, list[str]] = defaultdict(list)
        others = []
        for key in self._client.scan_iter(count=1000):
            if match := RUN_KEY.fullmatch(key):
                runs[match["run"]].append(key)
            elif OURS.fullmatch(key) and not PERMANENT.fullmatch(key):
                others.append(key)
        for run, keys in runs.items():
            status, lives = self._look(run, keys)
            if status != "goes on":
                yield from (f"{key} ({status})" for key in _endless(keys, lives))
        _, lives = self._look("", others)
        yield from _endless(others, lives)

    def _look(self, run: str, keys: list[str]) -> tuple[str, list[int]]:
        """What became of a run, and how long its keys have to live, at one moment."""
        with self._client.pipeline() as pipeline:
            pipeline.hmget(f"{run}:run", ["status", "live", "deleted"])
            for key in keys:
                pipeline.pttl(key)
            (status, live, deleted), *lives = pipeline.execute()
        if deleted:
            return "deleted", lives
        if status is None:
            return "no record", lives
        return status if status in ENDED and not json.loads(live) else "goes on", lives


def _endless(keys: list[str], lives: list[int]) -> list[str]:
    return [key for key, life in zip(keys, lives, strict=True) if life == -1]
