"""Scripts of what is measured: counters of what workers have done, and how many runs there are."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evented_agent.ledger.keys import Keys
from evented_agent.ledger.replies import text_of
from evented_agent.ledger.script import Command, command

#: Everything that is counted, each by agent; ``_ms`` are sums of times.
COUNTERS = (
    "model_calls",
    "tool_calls",
    "steps",
    "retries",
    "crashes",
    "recoveries",
    "recovery_ms",
    "fenced_writes",
    "late_looks",
    "abandoned_calls",
    "queue_waits",
    "queue_wait_ms",
    "runs_finished",
    "runs_failed",
    "runs_aborted",
    "input_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cached_input_tokens",
    "nano_usd",
    "priced_calls",
    "unpriced_calls",
)
#: Milliseconds of one bucket, and how many of them are kept: the last hour, and what is under way.
_BUCKET_MS, BUCKETS = 300_000, 13
#: Milliseconds that counters stay after the last addition.
_KEPT_MS = 90 * 24 * 3600 * 1000
#: Counters that are kept, each for one agent; what comes beyond counts for no agent.
MOST_COUNTERS = 5_000
#: Ended runs of a status that are counted at a time.
MOST_ENDED = 500
#: What is so late (ms) says that no watchdog works.
_LATE_MS = 5_000
#: Comparisons of one look at how many runs are of which agent; about 20 ms.
_BUDGET = 100_000

_FIELD = re.compile(rf"({'|'.join(COUNTERS)}) ([A-Za-z0-9_.-]{{0,64}})")

#: Values by counter, then by agent; "" is for no agent in particular.
CounterValues = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class ShardGauges:
    """One shard's runs: how many of each status, ages of the oldest live ones (ms), what is late.

    *agents* has, for each agent that was asked about, how many runs are queued, running and
    suspended; it is empty where there are too many to look.
    """

    counts: Sequence[int]
    ages: Sequence[int]
    overdue: int
    agents: Sequence[Sequence[int]]


def add_counts(
    keys: Keys, sender: str, number: int, counts: Mapping[tuple[str, str], int], *, is_again: bool
) -> Command[str]:
    """Add what a process has done since its batch before; a batch is counted once at most."""
    pairs = ((f"{name} {agent}", by) for (name, agent), by in counts.items())
    return command(
        "counters/add_counts",
        (keys.counters(), keys.counters(f"by:{sender}"), *_buckets(keys)),
        lambda reply: text_of(reply[0]),
        number=number,
        is_again=int(is_again),
        bucket_ms=_BUCKET_MS,
        kept_ms=_KEPT_MS,
        most=MOST_COUNTERS,
        rest=[each for pair in pairs for each in pair],
    )


def read_counts(keys: Keys) -> Command[tuple[CounterValues, CounterValues]]:
    """All that was counted, and that of the last hour."""

    def parse(reply: Any) -> tuple[CounterValues, CounterValues]:
        total, buckets = reply
        return _summed([total]), _summed(buckets)

    where = (keys.counters(), *_buckets(keys))
    return command("counters/read_counts", where, parse, bucket_ms=_BUCKET_MS)


def take_ended(keys: Keys, shard: int) -> Command[Mapping[str, Sequence[str]]]:
    """Runs that have ended since this was asked last, by status; each is told once at most."""
    statuses = ("finished", "failed", "aborted")

    def parse(reply: Any) -> Mapping[str, Sequence[str]]:
        return {
            status: [text_of(run_id) for run_id in found]
            for status, found in zip(statuses, reply, strict=True)
        }

    where = [keys.index(shard, "status", status) for status in statuses]
    return command("counters/take_ended", (keys.ended(shard), *where), parse, most=MOST_ENDED)


def gauges(keys: Keys, shard: int, agents: Sequence[str]) -> Command[ShardGauges]:
    """How many runs a shard has, of each status and of each of *agents*."""

    def parse(reply: Any) -> ShardGauges:
        counts, ages, overdue, found = reply
        by_agent = [found[i : i + 3] for i in range(0, len(found), 3)]
        return ShardGauges(counts, [int(age) for age in ages], overdue, by_agent)

    where = (*keys.of_shard(shard), *(keys.index(shard, "agent", agent) for agent in agents))
    return command("counters/gauges", where, parse, late_ms=_LATE_MS, budget=_BUDGET)


def count_idle(keys: Keys, run_ids: Sequence[str]) -> Command[Mapping[str, int]]:
    """How many runs of a shard only wait for their calls in the background, by agent."""

    def parse(reply: Any) -> Mapping[str, int]:
        return {
            text_of(agent): int(count) for agent, count in zip(reply[::2], reply[1::2], strict=True)
        }

    return command("counters/count_idle", [keys.of(run_id).run for run_id in run_ids], parse)


def _buckets(keys: Keys) -> list[str]:
    return [keys.counters(str(number)) for number in range(BUCKETS)]


def _summed(hashes: Sequence[Any]) -> CounterValues:
    """What stands in hashes of counters, leaving out what this version does not count."""
    found: dict[str, dict[str, int]] = {}
    for stored in hashes:
        for field, value in zip(stored[::2], stored[1::2], strict=True):
            known = _FIELD.fullmatch(field.decode(errors="replace"))
            if known is not None and value.isdigit():
                by_agent = found.setdefault(known[1], {})
                by_agent[known[2]] = by_agent.get(known[2], 0) + int(value)
    return found
