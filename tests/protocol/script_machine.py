"""What the state machines have in common: attempts as workers know them, and what Redis holds."""

import itertools
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from evented_agent.chunks import Chunk
from evented_agent.chunks.codec import decode, encode
from evented_agent.ledger import attempts, runs
from evented_agent.ledger.connection import Ledger
from evented_agent.ledger.keys import Keys
from evented_agent.ledger.records import Committed, Fenced, Task, Work
from tests.support.driver import Driver
from tests.support.servers import RedisServer
from tests.support.walks import TIMES

ENDS = ("finish", "error", "abort")
numbers = st.integers(0, 1000)


@dataclass
class Attempt:
    """An attempt as its worker knows it."""

    task: Task
    journal_length: int
    said: list[str] = field(default_factory=list)
    began: int = 0
    sent: int = 0
    last_append: tuple[int, list[str]] | None = None
    committed: Committed | None = None
    work: Work | None = None
    spawns: bool = False


class ScriptMachine(RuleBasedStateMachine):
    """One run, and the attempts of its tasks, also those that lost them."""

    run_ids = itertools.count()
    driver: Driver

    def __init__(self) -> None:
        super().__init__()
        self.run_id = f"machine-{next(self.run_ids)}"
        self.tokens = itertools.count()
        self.attempts: list[Attempt] = []

    def attempt(self, at: int) -> Attempt:
        return self.attempts[at % len(self.attempts)]

    def part(self, attempt: Attempt) -> str:
        return f"txt-{attempt.task.key}.{attempt.task.generation}"

    def chunks(self, attempt: Attempt, texts: list[str]) -> list[str]:
        part, key = self.part(attempt), attempt.task.key
        opening = [] if attempt.said else [encode("text-start", key, {"id": part})]
        return opening + [encode("text-delta", key, {"id": part, "text": t}) for t in texts]

    def append(self, attempt: Attempt, sent: int, chunks: list[str]) -> None:
        closing = encode("text-end", attempt.task.key, {"id": self.part(attempt)})
        call = attempts.append(
            self.driver.keys,
            self.run_id,
            attempt.task.key,
            token=attempt.task.token,
            sent=sent,
            chunks=chunks,
            closing=[closing],
        )
        self.driver.ledger.send(call)

    def heartbeat(self, attempt: Attempt, lease_ms: int) -> None:
        task = attempt.task
        call = attempts.heartbeat(
            self.driver.keys, self.run_id, task.key, token=task.token, lease_ms=lease_ms
        )
        self.driver.ledger.send(call)

    def expect_fenced(self, before: dict[str, Any], act: Any) -> None:
        with pytest.raises(Fenced):
            act()
        assert self.everything() == before

    # What Redis holds ---------------------------------------------------------------------------

    def record(self) -> Any:
        return self.driver.ledger.send(runs.read(self.driver.keys, self.run_id, journal=True))

    def stored_journal(self) -> list[str]:
        return [entry.decode() for entry in self.record().entries]

    def states(self) -> dict[str, str]:
        return {task.key: task.state for task in self.record().tasks}

    def topic(self) -> list[Chunk]:
        key = self.driver.keys.of(self.run_id).topic
        entries: Any = self.driver.ledger.client().xrange(key)
        return [
            decode(int(id_.split(b"-")[0]), id_.decode(), self.run_id, fields[b"d"])
            for id_, fields in entries
        ]

    def everything(self) -> dict[str, Any]:
        """All that Redis holds of the run, and when it rings."""
        keys, client = self.driver.keys.of(self.run_id), self.driver.ledger.client()
        tasks: Any = client.hgetall(keys.tasks)
        return {
            "record": client.hgetall(keys.run),
            "tasks": {k: json.loads(v) if v[:1] == b"{" else v for k, v in tasks.items()},
            "journal": client.lrange(keys.journal, 0, -1),
            "topic": client.xrange(keys.topic),
            "blobs": client.hgetall(keys.blobs),
            "alarm": client.zscore(keys.alarms, self.run_id),
            "bell": client.zscore(keys.bells, self.run_id),
        }


#: Walks on a cluster, which refuses keys that are not declared, or in another slot, at any call.
IN_A_CLUSTER = 15


def play(
    machine: type[ScriptMachine],
    server: RedisServer,
    keys: Keys,
    *,
    examples: int = 30,
    driver: type[Driver] = Driver,
) -> None:
    """Let Hypothesis play a machine against a server."""
    ledger = Ledger(server.url)
    playing = type("Machine", (machine,), {"driver": driver(ledger, keys)})
    how = settings(
        max_examples=examples * TIMES,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(playing, settings=how)
    ledger.close()
