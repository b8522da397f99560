"""Plays dialogs through Celery and compares every run, and the simulators, with direct calls."""

import contextlib
import os
import pickle
import socket
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from evented_agent import LedgerUnavailable, RunFailed, RunNotFound, RunResult
from evented_agent.chunks import StepReset, Transcript
from tests.support.servers import RedisServer, free_port
from tests.support.workers import ROOT, wait_until
from tests.workload.chaos import Chaos
from tests.workload.dialogs import Dialog, dialogs, plain, played
from tests.workload.fleet import Fleet
from tests.workload.player import HEADING, closing_words
from tests.workload.topology import TopologyChaos

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
    restarted: int = 0
    hung: int = 0


@dataclass
class Report:
    """What all dialogs came to, and what was done to the workers meanwhile."""

    outcomes: list[Outcome]
    done: Counter[str]
    repeated: int = 0

    @property
    def wrong(self) -> list[str]:
        return [f"{each.dialog}: {what}" for each in self.outcomes for what in each.wrong]


def play(dialog_id: str, scope: str) -> Outcome:
    """Play one dialog, a run for each turn, and compare it with direct calls."""
    from tests.workload.app import state_key, states

    dialog, outcome = dialogs()[dialog_id], Outcome(dialog_id)
    messages: list[object] = []
    for turn, question in enumerate(dialog.questions):
        heading = HEADING.format(dialog=dialog_id, turn=turn)
        messages.append({"role": "user", "content": f"{heading} {question}"})
        try:
            result = _run(outcome, messages, {"dialog": dialog_id, "scope": scope})
        except RunFailed as failure:
            outcome.wrong.append(f"turn {turn}: {failure}")
            return outcome
        except TimeoutError as late:
            outcome.hung += 1
            outcome.wrong.append(f"turn {turn}: {late}")
            return outcome
        messages = list(result.messages)
        _compare(outcome, dialog, turn, result)
    stored = states().get(state_key(scope, dialog_id))
    instances = pickle.loads(stored) if stored else {}  # type: ignore[arg-type]
    if {name: plain(instance) for name, instance in instances.items()} != played(dialog):
        outcome.wrong.append("ends in another state than direct calls")
    return outcome


def _run(outcome: Outcome, messages: list[object], context: dict[str, str]) -> RunResult:
    """Run a turn; where Redis has lost its creation, again with the same id, as documented."""
    from tests.workload.app import evented

    run_id = uuid.uuid4().hex
    ends = time.monotonic() + 240
    while True:
        try:
            run = evented.stream(messages, context=context, run_id=run_id)  # type: ignore[arg-type]
            return run.result(timeout=ends - time.monotonic())
        except LedgerUnavailable as away:
            if time.monotonic() > ends:
                raise TimeoutError(str(away)) from None
        except RunNotFound:
            outcome.restarted += 1


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
def deployment(
    folder: Path, workers: int, *, pause: float = 0.0, ledger: str = "", shards: int = 1
) -> Iterator[Fleet]:
    """A server, the player and the workers; in their environment this process plays.

    The runs are at *ledger*, if that is another.
    """
    with contextlib.ExitStack() as stack:
        port = int(os.environ.get("WORKLOAD_REDIS_PORT") or free_port())
        # The application reads it once: later deployments of this process are at the same place.
        os.environ["WORKLOAD_REDIS_PORT"] = str(port)
        server = stack.enter_context(RedisServer(folder / "redis", port=port))
        player_port = free_port()
        env = {
            "WORKLOAD_REDIS_URL": server.url,
            "WORKLOAD_LEDGER_URL": ledger,
            "WORKLOAD_SHARDS": str(shards),
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


def play_all(ids: list[str], *, chaos: Chaos | TopologyChaos | None = None) -> Report:
    """Play dialogs all at the same time, while *chaos* disturbs whatever it does."""
    from tests.workload.app import repeated_key, states

    scope = uuid.uuid4().hex[:8]
    with contextlib.ExitStack() as stack:
        if chaos is not None:
            stack.enter_context(chaos)
        callers = stack.enter_context(ThreadPoolExecutor(len(ids)))
        outcomes = list(callers.map(lambda id_: play(id_, scope), ids))
    repeated = int(states().get(repeated_key(scope)) or 0)
    return Report(outcomes, chaos.done if chaos is not None else Counter(), repeated)


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
