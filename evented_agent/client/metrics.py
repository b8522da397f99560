"""What is going on in a deployment, and what its workers have done: numbers to watch."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pydantic import TypeAdapter

from evented_agent.client.deployment import Deployment
from evented_agent.client.exposition import Family, Sample, exposition
from evented_agent.ledger.counters import (
    HOUR,
    CounterValues,
    ShardGauges,
    count_idle,
    gauges,
    read_counts,
    read_series,
    summed,
)
from evented_agent.ledger.indexes import list_index
from evented_agent.ledger.keys import STATUSES
from evented_agent.ledger.plan import Plan, send, send_all
from evented_agent.ledger.script import Command
from evented_agent.ledger.workers import LiveWorker, live_workers
from evented_agent.models.cost import COST_COUNTS, Cost, cost_in

_T = TypeVar("_T")

#: Agents that are told apart, by name the first; the runs of others are counted for no agent.
MOST_AGENTS = 100
#: Running runs that are looked at, all together, for whether they are idle; and by one script.
MOST_RUNNING, _LOOKED_AT = 5_000, 500

_LIVE = STATUSES[:3]
#: The metric of each counter, and what it means.
_COUNTED: Mapping[str, tuple[str, str]] = {
    "model_calls": ("model_calls_total", "Calls of models that were begun."),
    "tool_calls": ("tool_calls_total", "Calls of tools that were begun."),
    "runs_started": ("runs_started_total", "Runs whose first task a worker has begun."),
    "steps": ("steps_total", "Steps whose model call was completed."),
    "retries": ("retries_total", "Tasks that failed and were queued again."),
    "crashes": ("crashes_total", "Attempts whose worker died or froze."),
    "fenced_writes": (
        "fenced_writes_total",
        "Attempts that lost their task, whose writes were refused.",
    ),
    "late_looks": ("late_looks_total", "Looks of a watchdog that came too late to be acted on."),
    "abandoned_calls": (
        "abandoned_calls_total",
        "Tool calls that were given up and held on to their thread.",
    ),
    "input_tokens": ("input_tokens_total", "Tokens that models were given."),
    "output_tokens": (
        "output_tokens_total",
        "Tokens that models answered with, reasoning included.",
    ),
    "reasoning_tokens": ("reasoning_tokens_total", "Tokens of answers that were reasoning."),
    "cached_input_tokens": (
        "cached_input_tokens_total",
        "Tokens given to models that the provider had cached.",
    ),
}
#: The same of what calls cost; nowhere where nothing was priced.
_PRICED: Mapping[str, tuple[str, str]] = {
    "priced_calls": ("priced_model_calls_total", "Completed calls of models with a known price."),
    "unpriced_calls": (
        "unpriced_model_calls_total",
        "Completed calls of models without a known price.",
    ),
}
#: Times, each a sum and how many: counters, metric, meaning.
_TIMES = (
    (
        "queue_wait_ms",
        "queue_waits",
        "queue_wait_seconds",
        "How long tasks were queued before they first ran.",
    ),
    (
        "recovery_ms",
        "recoveries",
        "recovery_seconds",
        "How long after its lease a task of a dead worker ran again.",
    ),
    (
        "answer_ms",
        "answers",
        "answer_seconds",
        "How long calls of models took that came to their end.",
    ),
    (
        "run_ms",
        "runs_finished",
        "run_seconds",
        "How long runs that finished took since they were created, whatever they waited for.",
    ),
)


@dataclass(frozen=True, slots=True)
class Metrics:
    """A deployment in numbers, as of now.

    Counters go by agent; "" is for agents that no live worker has declared. They are what workers
    have added up, about a second behind; they never count anything twice, and of a worker that is
    killed the last second is missing. They begin anew where nothing was counted for 90 days.

    Attributes:
        runs: How many runs there are, by status, then by agent. Those that have ended, and all
            where there are too many to look, are counted for the agent "".
        idle: How many of the running ones have answered and only wait for their calls in the
            background, by agent; None where more than 5,000 runs are running.
        oldest: Seconds since the oldest queued, running or suspended run was created, by status;
            without those that have none.
        overdue: Runs that a watchdog should have looked at more than 5 s ago.
        workers: Live workers that execute agents.
        slots: How many attempts they can run at a time.
        busy: How many they run.
        abandoned: How many of their slots are held by `def` tools that were given up.
        serving: For each agent, how many live workers serve it.
        counters: What has been done, by counter, then by agent: "model_calls", "tool_calls",
            "steps", "retries", "crashes", "recoveries", "recovery_ms", "fenced_writes",
            "late_looks", "abandoned_calls", "queue_waits", "queue_wait_ms", "runs_finished",
            "runs_failed", "runs_aborted", "input_tokens", "output_tokens", "reasoning_tokens",
            "cached_input_tokens", "nano_usd" (billionths of a US dollar), "priced_calls",
            "unpriced_calls", "runs_started", "run_ms" (of those that finished), "answers" (calls of
            models that came to their end), "answer_ms". One that has not been needed is left out.
        last_hour: The same for the last hour, in whole minutes.
    """

    runs: Mapping[str, Mapping[str, int]]
    idle: Mapping[str, int] | None
    oldest: Mapping[str, float]
    overdue: int
    workers: int
    slots: int
    busy: int
    abandoned: int
    serving: Mapping[str, int]
    counters: CounterValues
    last_hour: CounterValues

    def last_hour_cost(self, agent: str | None = None) -> Cost | None:
        """What model calls of the last hour cost, of one agent or all; None: nothing was priced."""
        found = {
            name: sum(n for id_, n in self.last_hour.get(name, {}).items() if agent in (None, id_))
            for name in COST_COUNTS
        }
        return cost_in(found)

    def prometheus(self) -> str:
        """The text format of Prometheus, version 0.0.4."""
        return exposition([*self._gauges(), *self._counted()])

    def _gauges(self) -> Iterator[Family]:
        runs = [
            Sample(count, {"status": status, "agent": agent})
            for status, by_agent in self.runs.items()
            for agent, count in by_agent.items()
        ]
        yield Family("runs", "gauge", "Runs that there are.", runs)
        about = "Running runs that only wait for their calls in the background."
        idle = [Sample(count, {"agent": agent}) for agent, count in (self.idle or {}).items()]
        yield Family("idle_runs", "gauge", about, idle)
        ages = [Sample(age, {"status": status}) for status, age in self.oldest.items()]
        about = "Age of the oldest run of a status that has not ended."
        yield Family("oldest_run_seconds", "gauge", about, ages)
        about = "Runs that a watchdog should have looked at before."
        yield Family("overdue_runs", "gauge", about, [Sample(self.overdue)])
        about = "Live workers that execute agents."
        yield Family("workers", "gauge", about, [Sample(self.workers)])
        serving = [Sample(count, {"agent": agent}) for agent, count in self.serving.items()]
        yield Family("serving_workers", "gauge", "Live workers that serve an agent.", serving)
        yield Family("slots", "gauge", "Attempts that workers can run.", [Sample(self.slots)])
        about = "Attempts that workers run."
        yield Family("busy_slots", "gauge", about, [Sample(self.busy)])
        about = "Slots that tools hold which were given up."
        yield Family("abandoned_slots", "gauge", about, [Sample(self.abandoned)])

    def _counted(self) -> Iterator[Family]:
        ended = [
            Sample(count, {"status": status, "agent": agent})
            for status in STATUSES[3:]
            for agent, count in self._counter(f"runs_{status}").items()
        ]
        yield Family("runs_ended_total", "counter", "Runs that have ended.", ended)
        for name, (metric, about) in self._shown().items():
            samples = [Sample(n, {"agent": agent}) for agent, n in self._counter(name).items()]
            yield Family(metric, "counter", about, samples)
        if self._is_priced:
            cost = self._counter("nano_usd")
            dollars = [Sample(n / 10**9, {"agent": agent}) for agent, n in cost.items()]
            about = "US dollars that completed calls of models cost, as far as prices are known."
            yield Family("cost_usd_total", "counter", about, dollars)
        for ms, count, metric, about in _TIMES:
            sums = [
                Sample(n / 1000, {"agent": agent}, "_sum") for agent, n in self._counter(ms).items()
            ]
            counts = [
                Sample(n, {"agent": agent}, "_count") for agent, n in self._counter(count).items()
            ]
            yield Family(metric, "summary", about, [*sums, *counts])

    @property
    def _is_priced(self) -> bool:
        return any(name in self.counters for name in _PRICED)

    def _shown(self) -> Mapping[str, tuple[str, str]]:
        return {**_COUNTED, **_PRICED} if self._is_priced else _COUNTED

    def _counter(self, name: str) -> Mapping[str, int]:
        """A counter of each agent; those that are served have one from the beginning."""
        return {**dict.fromkeys(self.serving, 0), **self.counters.get(name, {})}


#: Metrics as JSON, for the server and the client of the HTTP API.
METRICS: TypeAdapter[Metrics] = TypeAdapter(Metrics)


def read_metrics(at: Deployment) -> Plan[Metrics]:
    """Ask for all of it: one script a shard, and three more; and of running runs who is idle."""
    fleet = yield from send(live_workers(at.keys))
    declared = {agent for worker in fleet for agent in worker.agents} | {*at.agents}
    agents = sorted(declared)[:MOST_AGENTS]
    shards = yield from _each(gauges(at.keys, shard, agents) for shard in range(at.keys.shards))
    idle = yield from _idle(at, shards, agents)
    counters = yield from send(read_counts(at.keys))
    series = yield from send(read_series(at.keys, HOUR))
    # Those that lack a queue, or agents, execute none.
    working = [worker for worker in fleet if worker.slots > 0]
    return Metrics(
        runs=_runs(shards, agents),
        idle=idle,
        oldest=_oldest(shards),
        overdue=sum(shard.overdue for shard in shards),
        workers=len(working),
        slots=sum(worker.slots for worker in working),
        busy=sum(worker.busy for worker in working),
        abandoned=sum(worker.abandoned for worker in working),
        serving={agent: _serving(working, agent) for agent in agents},
        counters=counters,
        last_hour=summed(series.stretches),
    )


def combined(found: Sequence[Metrics]) -> Metrics:
    """Several deployments as one."""
    oldest: dict[str, float] = {}
    for each in found:
        oldest |= {status: max(age, oldest.get(status, age)) for status, age in each.oldest.items()}
    return Metrics(
        runs=summed([each.runs for each in found]),
        idle=_all_idle(found),
        oldest=oldest,
        overdue=sum(each.overdue for each in found),
        workers=sum(each.workers for each in found),
        slots=sum(each.slots for each in found),
        busy=sum(each.busy for each in found),
        abandoned=sum(each.abandoned for each in found),
        serving=summed([{"": each.serving} for each in found])[""],
        counters=summed([each.counters for each in found]),
        last_hour=summed([each.last_hour for each in found]),
    )


def _all_idle(found: Sequence[Metrics]) -> Mapping[str, int] | None:
    known = [{"": each.idle} for each in found if each.idle is not None]
    return summed(known).get("", {}) if len(known) == len(found) else None


def _runs(shards: Sequence[ShardGauges], agents: Sequence[str]) -> dict[str, dict[str, int]]:
    found = {status: dict.fromkeys((*agents, ""), 0) for status in _LIVE}
    found |= {status: {"": 0} for status in STATUSES[3:]}
    for shard in shards:
        for status, count in zip(STATUSES, shard.counts, strict=True):
            found[status][""] += count
        for agent, counts in zip(agents, shard.agents, strict=False):
            for status, count in zip(_LIVE, counts, strict=True):
                found[status][agent] += count
                found[status][""] -= count
    return found


def _idle(
    at: Deployment, shards: Sequence[ShardGauges], agents: Sequence[str]
) -> Plan[dict[str, int] | None]:
    """Look at the records of running runs: no step writes anywhere that it begins to be idle."""
    running = {number: shard.counts[_LIVE.index("running")] for number, shard in enumerate(shards)}
    if sum(running.values()) > MOST_RUNNING:
        return None
    found = dict.fromkeys((*agents, ""), 0)
    listed = yield from _each(
        list_index(at.keys, shard, ("status", "running"), since=0, offset=0, limit=MOST_RUNNING)
        for shard, count in running.items()
        if count
    )
    counted = yield from _each(
        count_idle(at.keys, [run_id for _, run_id in runs[first : first + _LOOKED_AT]])
        for runs in listed
        for first in range(0, len(runs), _LOOKED_AT)
    )
    for by_agent in counted:
        for agent, count in by_agent.items():
            found[agent if agent in found else ""] += count
    return found


def _each(commands: Iterable[Command[_T]]) -> Plan[list[_T]]:
    """Send all commands in one round trip; the first error ends it."""
    values = list[_T]()
    for found in (yield from send_all(list(commands))):
        if isinstance(found, Exception):
            raise found
        values.append(found)
    return values


def _oldest(shards: Sequence[ShardGauges]) -> dict[str, float]:
    ages = zip(*(shard.ages for shard in shards), strict=True)
    oldest = {status: max(each) / 1000 for status, each in zip(_LIVE, ages, strict=True)}
    return {status: age for status, age in oldest.items() if age >= 0}


def _serving(workers: Sequence[LiveWorker], agent: str) -> int:
    return sum(agent in worker.agents for worker in workers)
