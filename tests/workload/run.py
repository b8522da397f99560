"""Plays dialogs through Celery and compares the simulators with direct calls."""

import os
import pickle
import random
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers import RedisServer, free_port
from tests.workers import ROOT, WorkerProcess, wait_until
from tests.workload.dialogs import dialogs, plain, played
from tests.workload.player import HEADING


@dataclass(frozen=True)
class Outcome:
    """What one dialog came to."""

    dialog: str
    is_equal: bool
    runs: int
    steps: int
    calls: int


class Fleet:
    """The workers; one may be killed at any time, and another takes its name."""

    def __init__(self, env: dict[str, str], folder: Path, count: int) -> None:
        self._env, self._folder = env, folder
        self._workers = [self._start(f"w{n}") for n in range(count)]
        for worker in self._workers:
            worker.wait_ready()
        self.kills = 0

    def _start(self, name: str) -> WorkerProcess:
        worker = WorkerProcess(
            self._env,
            self._folder / f"{name}.log",
            app="tests.workload.app",
            name=name,
            concurrency=20,
        )
        return worker.start()

    def kill_one(self) -> None:
        at = random.randrange(len(self._workers))
        self._workers[at].kill()
        self.kills += 1
        self._workers[at] = self._start(f"w{at}k{self.kills}")

    def stop(self) -> None:
        for worker in self._workers:
            worker.__exit__()


def play(dialog_id: str, scope: str) -> Outcome:
    """Play one dialog, a run for each turn, and compare the final state."""
    from tests.workload.app import evented, state_key, states

    dialog = dialogs()[dialog_id]
    messages: list[object] = []
    runs = steps = calls = 0
    for turn, question in enumerate(dialog.questions):
        heading = HEADING.format(dialog=dialog_id, turn=turn)
        messages.append({"role": "user", "content": f"{heading} {question}"})
        run = evented.stream(
            messages,  # type: ignore[arg-type]
            context={"dialog": dialog_id, "scope": scope},
        )
        result = run.result(timeout=120)
        messages = list(result.messages)
        runs += 1
        steps += len(result.steps)
        calls += sum(len(step.results) for step in result.steps)
    stored = states().get(state_key(scope, dialog_id))
    instances = pickle.loads(stored) if stored else {}  # type: ignore[arg-type]
    found = {name: plain(instance) for name, instance in instances.items()}
    return Outcome(dialog_id, found == played(dialog), runs, steps, calls)


@contextmanager
def deployment(folder: Path, workers: int) -> Iterator[Fleet]:
    """A server, the player and the workers; in their environment this process plays."""
    port = free_port()
    with RedisServer(folder / "redis") as server:
        env = {
            "WORKLOAD_REDIS_URL": server.url,
            "OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1",
            "OPENAI_API_KEY": "none",
        }
        os.environ |= env
        player = _player(port)
        try:
            fleet = Fleet(env, folder, workers)
            try:
                yield fleet
            finally:
                fleet.stop()
        finally:
            player.kill()
            player.wait()


def play_all(ids: list[str], fleet: Fleet, *, kill_every: float | None = None) -> list[Outcome]:
    """Play dialogs at the same time, perhaps while workers are killed."""
    scope = uuid.uuid4().hex[:8]
    over = threading.Event()

    def kill() -> None:
        while kill_every is not None and not over.wait(kill_every):
            fleet.kill_one()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with ThreadPoolExecutor(16) as callers:
            return list(callers.map(lambda id_: play(id_, scope), ids))
    finally:
        over.set()
        killer.join()


def _player(port: int) -> "subprocess.Popen[bytes]":
    player = subprocess.Popen([sys.executable, "-m", "tests.workload.player", str(port)], cwd=ROOT)

    def listens() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    wait_until(listens, "the player listens", 60)
    return player


def report(outcomes: list[Outcome], seconds: float, kills: int) -> bool:
    """Print what happened; whether every dialog ended in the right state."""
    equal = sum(outcome.is_equal for outcome in outcomes)
    runs, steps, calls = (
        sum(getattr(outcome, name) for outcome in outcomes) for name in ("runs", "steps", "calls")
    )
    print(f"{equal} of {len(outcomes)} dialogs end in the state of direct calls")
    print(f"{runs} runs, {steps} steps, {calls} tool calls, {kills} kills, {seconds:.1f} s")
    for outcome in outcomes:
        if not outcome.is_equal:
            print(f"differs: {outcome.dialog}")
    return equal == len(outcomes)
