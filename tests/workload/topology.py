"""Where the runs of a workload are: one server, a cluster, or Sentinels; and what is done to it."""

import contextlib
import random
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from evented_agent.ledger.keys import Keys
from tests.support.topologies import Cluster, SentinelGroup

KINDS = ("cluster", "sentinel")
#: What is done to a topology, and how often, of ten times; only a cluster has slots to move.
ACTIONS = {"move": 7, "fail": 3}
#: Seconds between two actions, once all members are back.
PAUSE = (2.0, 5.0)
#: The most seconds before a master's death in which nothing is replicated.
UNSEEN = 1.0
#: Over how many slots the runs of a cluster are spread.
SHARDS = 6


@contextlib.contextmanager
def topology(kind: str, folder: Path, min_replicas: int) -> Iterator[Cluster | SentinelGroup]:
    """Start one; with *min_replicas* a master writes only while so many follow it."""
    extra = ("--min-replicas-to-write", str(min_replicas), "--min-replicas-max-lag", "2")
    made = Cluster if kind == "cluster" else SentinelGroup
    with made(folder, extra=extra if min_replicas else ()) as started:
        yield started


class TopologyChaos:
    """Moves slots and kills masters from a thread of its own until the block is left."""

    def __init__(self, disturbed: Cluster | SentinelGroup, seed: int) -> None:
        self.done: Counter[str] = Counter()
        self._topology = disturbed
        self._keys = Keys(shards=SHARDS)
        self._random = random.Random(seed)
        self._is_over = threading.Event()
        self._failed: list[BaseException] = []
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        for failure in self._failed:
            raise failure

    def _run(self) -> None:
        try:
            while not self._is_over.wait(self._random.uniform(*PAUSE)):
                [action] = self._random.choices(list(ACTIONS), list(ACTIONS.values()))
                self.done[self._act(action)] += 1
        except BaseException as failure:  # noqa: BLE001 - the one who waits is told
            self._failed.append(failure)

    def _act(self, action: str) -> str:
        shard, unseen = self._random.randrange(SHARDS), self._random.uniform(0, UNSEEN)
        if isinstance(self._topology, Cluster):
            key = self._keys.alarms(shard)
            if action == "move":
                self._topology.move(key, pause=self._random.uniform(0, 0.5))
                return "move"
            dead = self._topology.fail_over(key, unseen=unseen)
        else:
            dead = self._topology.fail_over(unseen=unseen)
        dead.start()
        self._topology.wait_healthy()
        return "fail"
