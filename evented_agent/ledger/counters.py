"""Scripts of what is measured: counters of what workers have done, and how many runs there are."""

import re
from collections.abc import Iterable, Mapping, Sequence
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
    "runs_started",
    "run_ms",
    "answers",
    "answer_ms",
)
#: The largest of a stretch of time, each by agent; in series alone.
PEAKS = ("queue_wait_peak_ms", "run_peak_ms", "answer_peak_ms")
#: Milliseconds that counters stay after the last addition.
_KEPT_MS = 90 * 24 * 3600 * 1000
#: Counters that are kept, each for one agent; what comes beyond counts for no agent.
MOST_COUNTERS = 5_000
#: The same of half a series: each counter once for each stretch in which something was counted.
MOST_IN_SERIES = 20_000
#: Ended runs of a status that are counted at a time.
MOST_ENDED = 500
#: What is so late (ms) says that no watchdog works.
_LATE_MS = 5_000
#: Comparisons of one look at how many runs are of which agent; about 20 ms.
_BUDGET = 100_000

_FIELD = re.compile(rf"({'|'.join(COUNTERS)}) ([A-Za-z0-9_.-]{{0,64}})")
_IN_SERIES = re.compile(rf"(\d{{1,3}}) ({'|'.join(COUNTERS + PEAKS)}) ([A-Za-z0-9_.-]{{0,64}})")

#: Values by counter, then by agent; "" is for no agent in particular.
CounterValues = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Resolution:
    """A series that is kept: two hashes in turn, each for as long as the whole series.

    Attributes:
        name: What its keys are called by.
        step_ms: Milliseconds of one stretch.
        steps: How many stretches it has.
    """

    name: str
    step_ms: int
    steps: int

    @property
    def span_ms(self) -> int:
        return self.step_ms * self.steps


HOUR = Resolution("hour", 60_000, 60)
DAY = Resolution("day", 1_800_000, 48)


@dataclass(frozen=True, slots=True)
class CounterSeries:
    """What was counted in each stretch of a series, the oldest first; the last is under way.

    Attributes:
        now: The time (ms) of the Redis clock.
        stretches: What was counted in each.
    """

    now: int
    stretches: Sequence[CounterValues]


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
        (keys.counters(), keys.counters(f"by:{sender}"), *_halves(keys, HOUR), *_halves(keys, DAY)),
        lambda reply: text_of(reply[0]),
        number=number,
        is_again=int(is_again),
        hour_ms=HOUR.span_ms,
        minute_ms=HOUR.step_ms,
        day_ms=DAY.span_ms,
        half_hour_ms=DAY.step_ms,
        kept_ms=_KEPT_MS,
        most=MOST_COUNTERS,
        most_in_series=MOST_IN_SERIES,
        rest=[each for pair in pairs for each in pair],
    )


def read_counts(keys: Keys) -> Command[CounterValues]:
    """All that was counted."""
    return command("counters/read_counts", (keys.counters(),), _summed)


def read_series(keys: Keys, of: Resolution) -> Command[CounterSeries]:
    """What was counted in each stretch of the last hour, or day."""

    def parse(reply: Any) -> CounterSeries:
        now = int(reply[0])
        period, at = divmod(now, of.span_ms)
        # Stretches are numbered from the beginning of the half before.
        last = of.steps + at // of.step_ms
        found: list[dict[str, dict[str, int]]] = [{} for _ in range(2 * of.steps)]
        for half, stored in ((0, reply[1]), (1, reply[2])):
            _sort_in(found[half * of.steps :][: of.steps], stored, period - 1 + half)
        return CounterSeries(now, found[last - of.steps + 1 : last + 1])

    return command("counters/read_series", _halves(keys, of), parse, span_ms=of.span_ms)


def about_ended(keys: Keys, run_ids: Sequence[str]) -> Command[Sequence[tuple[str, int]]]:
    """The agent of ended runs of one shard, and how long each took from its creation (ms)."""

    def parse(reply: Any) -> Sequence[tuple[str, int]]:
        return [(text_of(agent), int(ms)) for agent, ms in reply]

    return command("counters/about_ended", [keys.of(run_id).run for run_id in run_ids], parse)


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


def _halves(keys: Keys, of: Resolution) -> list[str]:
    return [keys.counters(f"{of.name}:{half}") for half in range(2)]


def summed(found: Iterable[CounterValues]) -> dict[str, dict[str, int]]:
    """Counters of several times, or places, added up; without peaks."""
    total: dict[str, dict[str, int]] = {}
    for values in found:
        for name, by_agent in values.items():
            if name in PEAKS:
                continue
            sums = total.setdefault(name, {})
            for agent, value in by_agent.items():
                sums[agent] = sums.get(agent, 0) + value
    return total


def _summed(stored: Sequence[Any]) -> CounterValues:
    """What stands in a hash of counters, leaving out what this version does not count."""
    found: dict[str, dict[str, int]] = {}
    for field, value in zip(stored[::2], stored[1::2], strict=True):
        known = _FIELD.fullmatch(field.decode(errors="replace"))
        if known is not None and value.isdigit():
            found.setdefault(known[1], {})[known[2]] = int(value)
    return found


def _sort_in(
    stretches: Sequence[dict[str, dict[str, int]]], stored: Sequence[Any], period: int
) -> None:
    """Put what stands in half a series where it belongs; nothing where that is of another time."""
    values = dict(zip(stored[::2], stored[1::2], strict=True))
    if values.get(b"period") != str(period).encode():
        return
    for field, value in values.items():
        known = _IN_SERIES.fullmatch(field.decode(errors="replace"))
        if known is not None and value.isdigit() and int(known[1]) < len(stretches):
            stretches[int(known[1])].setdefault(known[2], {})[known[3]] = int(value)
