"""What workers have done over time: in each minute of the last hour, in each half hour of a day."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

from evented_agent.client.deployment import Deployment
from evented_agent.ledger.counters import DAY, HOUR, PEAKS, CounterValues, Resolution, read_series
from evented_agent.ledger.plan import Plan, send

SeriesSpan = Literal["hour", "day"]

_RESOLUTIONS: dict[SeriesSpan, Resolution] = {"hour": HOUR, "day": DAY}


@dataclass(frozen=True, slots=True)
class MetricsSeries:
    """A deployment's counters over time.

    As those of `Metrics`: nothing is counted twice, and of a worker that is killed the last second
    is missing.

    Attributes:
        start: When the first stretch begins.
        step: How long each stretch is.
        read_at: When it was read; the last stretch goes on.
        stretches: What was counted in each, the oldest first: the counters of `Metrics`, and the
            largest of "queue_wait_peak_ms" (how long a task was queued that began then),
            "answer_peak_ms" (a call of a model) and "run_peak_ms" (a run that finished), by agent.
    """

    start: datetime
    step: timedelta
    read_at: datetime
    stretches: Sequence[CounterValues]

    def values(self, name: str, agent: str | None = None) -> Sequence[int]:
        """A counter in each stretch, of one agent or all; of a peak the largest."""
        join = max if name in PEAKS else sum
        return [
            join([0, *(n for id_, n in each.get(name, {}).items() if agent in (None, id_))])
            for each in self.stretches
        ]


def read_metrics_series(at: Deployment, span: SeriesSpan) -> Plan[MetricsSeries]:
    """Read one series: one script."""
    if span not in _RESOLUTIONS:
        raise ValueError(f"span={span!r}: use one of {', '.join(get_args(SeriesSpan))}.")
    kept = _RESOLUTIONS[span]
    found = yield from send(read_series(at.keys, kept))
    first = (found.now // kept.step_ms - kept.steps + 1) * kept.step_ms
    return MetricsSeries(
        start=_moment(first),
        step=timedelta(milliseconds=kept.step_ms),
        read_at=_moment(found.now),
        stretches=found.stretches,
    )


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
