"""The first page: is it healthy, from what lists and workers say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from evented_agent.agents.tools.approvals import Pending
from evented_agent.client.listing import RunPage
from evented_agent.client.metrics import Metrics
from evented_agent.client.metrics_series import MetricsSeries
from evented_agent.state.run_info import RunInfo
from evented_agent.web.console.asked import asked_for, scope_of
from evented_agent.web.console.charts import Charts, charts_of
from evented_agent.web.console.people import operator
from evented_agent.web.exchange import Exchange, PlainReply
from evented_agent.web.site import Site, Verb, WebSteps

#: Runs of a status that are looked at; more are told as "100+".
_MOST = 100
_LIVE = ("queued", "running", "suspended")


@dataclass(frozen=True, slots=True)
class Tally:
    """How many runs there are of a kind, as far as was counted."""

    number: int
    is_more: bool = False

    def __str__(self) -> str:
        return f"{self.number}+" if self.is_more else str(self.number)


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that somebody should look at.

    Attributes:
        level: "bad" or "warn".
        title: What is wrong.
        detail: More of it, or what to do.
        goes_to: The page that shows it: its parts below the console's, and its query.
    """

    level: str
    title: str
    detail: str
    goes_to: tuple[Sequence[str], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Health:
    """What was found.

    Attributes:
        live: How many runs there are of each status that is not the end.
        failed: How many have failed in the last 24 hours.
        recent: Those that have failed last.
        stuck: Queued runs that lack something.
        pending: Calls that wait for people.
        workers: Who works.
        metrics: The deployment in numbers; None for who sees one resource alone.
    """

    live: Mapping[str, Tally]
    failed: Tally
    recent: Sequence[RunInfo]
    stuck: Sequence[RunInfo]
    pending: Sequence[Pending]
    workers: Sequence[Any]
    metrics: Metrics | None = None

    @property
    def slots(self) -> int:
        return sum(each.slots for each in self.workers)

    @property
    def busy(self) -> int:
        return sum(each.busy for each in self.workers)

    def troubles(self) -> list[Trouble]:
        """What somebody should look at, the worst first."""
        found = [
            *self._of_workers(),
            *self._of_runs(),
            *self._of_metrics(),
            *self._of_people(),
        ]
        return sorted(found, key=lambda each: each.level != "bad")

    def _of_workers(self) -> list[Trouble]:
        fleet: tuple[Sequence[str], Mapping[str, str]] = (["fleet"], {})
        found = []
        if not self.workers:
            live = any(each.number for each in self.live.values())
            level = "bad" if live else "warn"
            said = "Runs stay where they are until one comes." if live else "Nothing waits for one."
            found.append(Trouble(level, "No worker is alive", said, fleet))
        if held := sum(each.abandoned for each in self.workers):
            said = "Tools that ignored their timeout still run; their stacks are in the log."
            found.append(Trouble("warn", f"{held} slots are held by abandoned tools", said, fleet))
        return found

    def _of_runs(self) -> list[Trouble]:
        found = []
        if self.stuck:
            said = str(self.stuck[0].waiting_for).partition(";")[0]
            title = f"{_things(len(self.stuck), 'run')} cannot go on"
            queued = (["runs"], {"status": "queued"})
            found.append(Trouble("bad", title, f"The newest waits for {said}.", queued))
        if self.failed.number:
            said = "In the last 24 hours. They can be retried where they failed."
            title = f"{_things(self.failed, 'run')} failed"
            where = (["runs"], {"status": "failed", "since": "24h"})
            found.append(Trouble("warn", title, said, where))
        return found

    def _of_metrics(self) -> list[Trouble]:
        if self.metrics is None:
            return []
        found = []
        fleet: tuple[Sequence[str], Mapping[str, str]] = (["fleet"], {})
        if late := self.metrics.overdue:
            title = f"Nobody has looked at {_things(late, 'run')} that should have been"
            found.append(Trouble("bad", title, "No watchdog works, or it has a backlog.", fleet))
        if self.slots and self.busy >= self.slots and self.live["queued"].number:
            said = "What is queued waits for one: more workers help, or more slots."
            found.append(Trouble("warn", "All slots are busy", said, fleet))
        if crashes := sum(self.metrics.last_hour.get("crashes", {}).values()):
            title = f"{_things(crashes, 'attempt')} lost their worker in the last hour"
            said = "They were taken over. Workers died, froze or were killed: their logs say more."
            found.append(Trouble("warn", title, said, fleet))
        return found

    def _of_people(self) -> list[Trouble]:
        soon = datetime.now(UTC) + timedelta(hours=1)
        ending = [each for each in self.pending if each.expires_at < soon]
        if not ending:
            return []
        title = f"{_things(len(ending), 'decision')} expire within the hour"
        return [Trouble("warn", title, "Then they count as declined.", (["inbox"], {}))]


def get_console_overview(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """The overview."""
    view = yield from operator(site, exchange, "list")
    scope = scope_of(view)
    live: dict[str, RunPage] = {}
    for status in _LIVE:
        live[status] = yield Verb("list", (), {"status": status, "limit": _MOST, **scope})
    latest = yield Verb("list", (), {"limit": 8, **scope})
    failed, is_more = yield from _failed(scope)
    pending = yield Verb("pending", (), {"limit": _MOST, **scope})
    workers = yield Verb("workers")
    metrics: Metrics | None = None
    over_time: Charts | None = None
    span = "day" if asked_for(exchange, "over") == "day" else "hour"
    if scope["resource_id"] is None:
        metrics = yield Verb("metrics")
        series: MetricsSeries = yield Verb("metrics_series", (span,))
        over_time = charts_of(series, scope["agent"])
    health = Health(
        live={status: _tally(page) for status, page in live.items()},
        failed=Tally(len(failed), is_more),
        recent=failed[:5],
        stuck=[info for page in live.values() for info in page if info.waiting_for],
        pending=pending,
        workers=sorted(workers, key=lambda each: each.node),
        metrics=metrics,
    )
    return view.reply(
        "overview",
        title="Overview",
        health=health,
        latest=latest,
        cost_now=metrics and metrics.last_hour_cost(scope["agent"]),
        over_time=over_time,
        span=span,
    )


def _failed(scope: Mapping[str, Any]) -> WebSteps[tuple[list[RunInfo], bool]]:
    """Those that have failed in the last 24 hours, and whether there are more.

    Of one resource, among its newest runs: to look for the failed ones would read all that it has.
    """
    wanted = {"since": datetime.now(UTC) - timedelta(hours=24), "limit": _MOST, **scope}
    if scope["resource_id"] is None:
        wanted["status"] = "failed"
    page: RunPage = yield Verb("list", (), wanted)
    failed = [info for info in page if info.status == "failed"]
    return failed, bool(failed) and page.next_page is not None


def _tally(page: RunPage) -> Tally:
    return Tally(len(page), page.next_page is not None)


def _things(number: int | Tally, noun: str) -> str:
    return f"{number} {noun}" + ("" if str(number) == "1" else "s")
