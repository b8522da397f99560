"""A seeded supervisor that kills, freezes, terminates and restarts workers under a workload."""

import random
import threading
from collections import Counter
from typing import Self

from tests.workload.fleet import Fleet

#: What is done to a worker, and how often, of ten times.
ACTIONS = {"kill": 4, "freeze": 3, "terminate": 2, "restart": 1}
#: Seconds between two actions, once the fleet is up again, and of a freeze: from a hiccup to twice
#: a lease. Much faster, and some call loses five workers in a row by chance, which counts as its
#: own fault.
PAUSE, FREEZE = (1.0, 3.0), (0.5, 6.5)


class Chaos:
    """Disturbs a fleet from a thread of its own until the block is left."""

    def __init__(self, fleet: Fleet, seed: int) -> None:
        self.done: Counter[str] = Counter()
        self._fleet = fleet
        self._random = random.Random(seed)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        names, weights = list(ACTIONS), list(ACTIONS.values())
        while not self._is_over.wait(self._random.uniform(*PAUSE)):
            [action] = self._random.choices(names, weights)
            at = self._random.randrange(self._fleet.size)
            self._act(action, at)
            self._fleet.wait_ready()
            self.done[action] += 1

    def _act(self, action: str, at: int) -> None:
        match action:
            case "kill":
                self._fleet.kill(at)
            case "freeze":
                self._fleet.freeze(at, self._random.uniform(*FREEZE), self._is_over)
            case "terminate":
                self._fleet.terminate(at)
            case "restart":
                for each in range(self._fleet.size):
                    self._fleet.kill(each)
