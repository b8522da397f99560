"""Workers of the workload that are disturbed, and replaced where they end."""

import threading
from pathlib import Path

from tests.support.workers import WorkerProcess


class Fleet:
    """A number of places, each with a worker; another one takes the place of one that ends."""

    def __init__(
        self, env: dict[str, str], folder: Path, size: int, *, app: str = "tests.workload.app"
    ) -> None:
        self.size = size
        self._app = app
        self._env, self._folder = env, folder
        self._started = 0
        self._leaving: list[WorkerProcess] = []
        self._places = [self._start() for _ in range(size)]
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until each place has a worker that takes messages."""
        for worker in self._places:
            worker.wait_ready()

    def _start(self) -> WorkerProcess:
        name = f"w{self._started}"
        self._started += 1
        worker = WorkerProcess(
            self._env,
            self._folder / f"{name}.log",
            app=self._app,
            name=name,
            concurrency=100,
        )
        return worker.start()

    def kill(self, at: int) -> None:
        self._places[at].kill()
        self._places[at] = self._start()

    def freeze(self, at: int, seconds: float, give_up: threading.Event) -> None:
        self._places[at].pause()
        give_up.wait(seconds)
        self._places[at].resume()

    def terminate(self, at: int) -> None:
        """Let a worker leave on its own, while the next one has begun already."""
        self._places[at].terminate()
        self._leaving.append(self._places[at])
        self._places[at] = self._start()

    def stop(self) -> None:
        for worker in self._places + self._leaving:
            worker.__exit__()
