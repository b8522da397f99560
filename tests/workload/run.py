"""Plays dialogs through Celery and compares every run, and the simulators, with direct calls."""

import contextlib
import os
import pickle
import socket
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from evented_agent import RunFailed, RunResult
from evented_agent.chunks import StepReset, Transcript
from tests.support.servers import RedisServer, free_port
from tests.support.workers import ROOT, wait_until
from tests.workload.chaos import Chaos
from tests.workload.dialogs import Dialog, dialogs, plain, played
from tests.workload.fleet import Fleet
from tests.workload.player import HEADING, closing_words

ENDS = {"finish", "error", "abort"}


@dataclass
class Outcome:
    """What one dialog came to; *wrong* has a sentence for whatever differs."""

    dialog: str
    wrong: list[str] = field(default_factory=list)
    runs: int = 0
    steps: int = 0
    calls: int = 0
    withdrawn: int = 0


@dataclass
class Report:
    """What all dialogs came to, and what was done to the workers meanwhile."""

    outcomes: list[Outcome]
    done: Counter[str]

    @property
    def wrong(self) -> list[str]:
        return [f"{each.dialog}: {what}" for each in self.outcomes for what in each.wrong]


def play(dialog_id: str, scope: str) -> Outcome:
    """Play one dialog, a run for each turn, and compare it with direct calls."""
    from tests.workload.app import evented, state_key, states

    dialog, outcome = dialogs()[dialog_id], Outcome(dialog_id)
    messages: list[object] = []
    for turn, question in enumerate(dialog.questions):
        heading = HEADING.format(dialog=dialog_id, turn=turn)
        messages.append({"role": "user", "content": f"{heading} {question}"})
        run = evented.stream(
            messages,  # type: ignore[arg-type]
            context={"dialog": dialog_id, "scope": scope},
        )
        try:
            result = run.result(timeout=240)
        except RunFailed as failure:
            outcome.wrong.append(f"turn {turn}: {failure}")
            return outcome
        messages = list(result.messages)
        _compare(outcome, dialog, turn, result)
    stored = states().get(state_key(scope, dialog_id))
    instances = pickle.loads(stored) if stored else {}  # type: ignore[arg-type]
    if {name: plain(instance) for name, instance in instances.items()} != played(dialog):
        outcome.wrong.append("ends in another state than direct calls")
    return outcome


def _compare(outcome: Outcome, dialog: Dialog, turn: int, result: RunResult) -> None:
    from tests.workload.app import evented

    chunks = list(evented.observe(result.run_id))
    transcript = Transcript()
    for chunk in chunks:
        transcript.feed(chunk)
    made = [(call.name, call.arguments) for step in result.steps for call in step.tool_calls]
    results = [found for step in result.steps for found in step.results]
    failed = [str(found.result) for found in results if found.is_error]
    checks = {
        "has not finished": result.status == "finished",
        "says something else": result.text == closing_words(dialog.id, turn),
        "is read differently": transcript.text == result.text,
        "made other calls": made == [tuple(call) for call in dialog.turns[turn]],
        "lacks a result": all(
            set(s.results_by_call) == {c.id for c in s.tool_calls} for s in result.steps
        ),
        f"has failed tools: {failed}": not failed,
        "has gaps in its chunks": [c.seq for c in chunks] == list(range(1, len(chunks) + 1)),
        "has not one end": [c.type for c in chunks if c.type in ENDS] == ["finish"],
    }
    wrong = [what for what, holds in checks.items() if not holds]
    outcome.wrong += [f"turn {turn} (run {result.run_id}) {what}" for what in wrong]
    outcome.runs += 1
    outcome.steps += len(result.steps)
    outcome.calls += len(made)
    outcome.withdrawn += sum(isinstance(chunk, StepReset) for chunk in chunks)


@contextmanager
def deployment(folder: Path, workers: int, *, pause: float = 0.0) -> Iterator[Fleet]:
    """A server, the player and the workers; in their environment this process plays."""
    with contextlib.ExitStack() as stack:
        port = int(os.environ.get("WORKLOAD_REDIS_PORT") or free_port())
        # The application reads it once: later deployments of this process are at the same place.
        os.environ["WORKLOAD_REDIS_PORT"] = str(port)
        server = stack.enter_context(RedisServer(folder / "redis", port=port))
        player_port = free_port()
        env = {
            "WORKLOAD_REDIS_URL": server.url,
            "OPENAI_BASE_URL": f"http://127.0.0.1:{player_port}/v1",
            "OPENAI_API_KEY": "none",
        }
        os.environ |= env
        player = _player(player_port, pause)
        stack.callback(player.wait)
        stack.callback(player.kill)
        fleet = Fleet(env, folder, workers)
        stack.callback(fleet.stop)
        yield fleet


def play_all(ids: list[str], fleet: Fleet, *, seed: int | None = None) -> Report:
    """Play dialogs all at the same time; with a *seed*, while workers are disturbed."""
    scope = uuid.uuid4().hex[:8]
    with contextlib.ExitStack() as stack:
        chaos = None if seed is None else stack.enter_context(Chaos(fleet, seed))
        callers = stack.enter_context(ThreadPoolExecutor(len(ids)))
        outcomes = list(callers.map(lambda id_: play(id_, scope), ids))
    return Report(outcomes, chaos.done if chaos is not None else Counter())


def _player(port: int, pause: float) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "tests.workload.player", str(port), str(pause)]
    player = subprocess.Popen(command, cwd=ROOT)

    def listens() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    wait_until(listens, "the player listens", 60)
    return player
