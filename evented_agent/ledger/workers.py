"""Scripts of the workers: who is alive, and what a deployment must agree on."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pydantic_core

from evented_agent.ledger.keys import Keys
from evented_agent.ledger.records import FORMAT
from evented_agent.ledger.script import Command, command

#: A worker that has been silent for so long (ms) counts as gone.
SILENCE_MS = 10_000


@dataclass(frozen=True, slots=True)
class LiveWorker:
    """A worker process, as it announces itself once a second.

    Attributes:
        id: Names the process, also among those that had its pid before.
        node: The worker's name, as Celery has it.
        queues: The Celery queues that it takes messages of.
        agents: The ids of the agents that it serves.
        pool: How it runs attempts: "threads", "prefork", "local", …
        slots: How many attempts it can run at a time.
        busy: How many it runs.
        abandoned: How many of its slots are held by `def` tools that were given up and still run.
        format: The newest format of records that it can read.
        pulse: Counts its announcements.
    """

    id: str
    node: str
    queues: Sequence[str]
    agents: Sequence[str]
    pool: str
    slots: int
    busy: int = 0
    abandoned: int = 0
    format: int = FORMAT
    pulse: int = 0


@dataclass(frozen=True, slots=True)
class DeploymentInfo:
    """What Redis says about itself and about the processes that share it.

    The last three are "" and None where this user may not ask for them.
    """

    shards: int
    format: int
    eviction: str
    has_aof: bool | None
    version: str


def announce(keys: Keys, worker: LiveWorker) -> Command[int]:
    """Say that *worker* lives; returns how many do."""
    state = json.dumps(asdict(worker))
    return _announce(keys, worker.id, state)


def announce_leaving(keys: Keys, worker_id: str) -> Command[int]:
    """Say that a worker takes no more tasks."""
    return _announce(keys, worker_id, "")


def live_workers(keys: Keys) -> Command[Sequence[LiveWorker]]:
    """Return the workers that were heard of in the last 10 s."""
    return command("workers/workers", (keys.workers,), _workers, silence_ms=SILENCE_MS)


def deployment(keys: Keys) -> Command[DeploymentInfo]:
    """Store what this process assumes, unless another did before; return what is stored."""

    def parse(reply: Any) -> DeploymentInfo:
        shards, format_, eviction, aof, version = reply
        return DeploymentInfo(
            int(shards),
            int(format_),
            eviction.decode(),
            aof == b"1" if aof else None,
            version.decode(),
        )

    return command(
        "workers/deployment", (keys.deployment,), parse, shards=keys.shards, format=FORMAT
    )


def add_prefix(keys: Keys, prefix: str) -> Command[int]:
    """Say that an agent's runs are under *prefix* beside those of *keys*, for who looks for all."""
    return command("workers/add_prefix", (keys.prefixes,), int, prefix=prefix)


def prefixes(keys: Keys) -> Command[Sequence[str]]:
    """Under which prefixes engines keep runs, beside that of *keys*."""

    def parse(reply: Any) -> Sequence[str]:
        return sorted(each.decode() for each in reply)

    return command("workers/prefixes", (keys.prefixes,), parse)


def _announce(keys: Keys, worker_id: str, state: str) -> Command[int]:
    where = (keys.workers,)
    return command(
        "workers/announce", where, int, worker=worker_id, state=state, silence_ms=SILENCE_MS
    )


def _workers(reply: Any) -> Sequence[LiveWorker]:
    found = []
    for i in range(0, len(reply), 2):
        state = pydantic_core.from_json(reply[i + 1])
        # cjson writes an empty list as {}.
        state["queues"] = list(state["queues"] or ())
        state["agents"] = list(state["agents"] or ())
        known = {name: state[name] for name in LiveWorker.__slots__ if name in state}
        found.append(LiveWorker(**known))
    return found
