"""Many readers in a process of their own: ``python -m benchmarks.crowd THREADS TASKS``.

Is told runs of the agent "clock" and prints what came of reading them, as JSON: how long each
token took to each reader, in seconds, once all had begun, and how the readers ended.
"""

import asyncio
import json
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice

from benchmarks.app import agents
from evented_agent.chunks import AnyChunk


class Crowd:
    """Takes the chunks of all readers."""

    def __init__(self, size: int) -> None:
        self.ends: Counter[str] = Counter()
        self._missing = size
        self._began = 0.0
        self._lock = threading.Lock()
        self._heard: list[tuple[float, float]] = []
        self._runs = agents["clock"].client

    def delays(self) -> list[float]:
        return [heard - said for said, heard in self._heard if said > self._began]

    def read(self, run_id: str) -> None:
        self._begin()
        last = "nothing"
        try:
            for chunk in self._runs.observe(run_id):
                last = self._take(chunk)
        except Exception as error:  # noqa: BLE001 - counted
            last = repr(error)
        self.ends[last] += 1

    async def aread(self, run_id: str) -> None:
        self._begin()
        last = "nothing"
        try:
            async for chunk in await self._runs.aobserve(run_id):
                last = self._take(chunk)
        except Exception as error:  # noqa: BLE001 - counted
            last = repr(error)
        self.ends[last] += 1

    def _begin(self) -> None:
        with self._lock:
            self._missing -= 1
            if not self._missing:
                # What came before is read from the log, late of necessity.
                self._began = time.monotonic() + 1
                print("all", flush=True)

    def _take(self, chunk: AnyChunk) -> str:
        if chunk.type == "text-delta":
            now = time.monotonic()
            self._heard += [(float(said), now) for said in chunk.payload.text.split()]
        return chunk.type


async def _all(crowd: Crowd, runs: list[str]) -> None:
    await asyncio.gather(*(crowd.aread(run_id) for run_id in runs))


def main() -> None:
    in_threads, in_tasks = int(sys.argv[1]), int(sys.argv[2])
    print("ready", flush=True)
    runs = sys.stdin.readline().split()
    crowd = Crowd(in_threads + in_tasks)
    with ThreadPoolExecutor(in_threads + 1) as threads:
        for run_id in islice(cycle(runs), in_threads):
            threads.submit(crowd.read, run_id)
        asyncio.run(_all(crowd, list(islice(cycle(runs), in_tasks))))
    print(json.dumps({"delays": crowd.delays(), "ends": crowd.ends}), flush=True)


if __name__ == "__main__":
    main()
