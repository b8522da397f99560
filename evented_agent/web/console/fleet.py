"""Who works: workers, what their queues hold, and why runs wait."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from evented_agent.state.run_info import RunInfo
from evented_agent.web.console.asked import scope_of
from evented_agent.web.console.people import operator
from evented_agent.web.exchange import Exchange, PlainReply
from evented_agent.web.site import Site, Verb, WebSteps

_MOST = 100


@dataclass(slots=True)
class QueueRow:
    """A queue, and what is known of who consumes it.

    Attributes:
        name: The queue.
        nodes: The workers.
        agents: The agents that they serve.
        slots: How many attempts they can run at a time.
        busy: How many they run.
    """

    name: str
    nodes: list[str] = field(default_factory=list)
    agents: set[str] = field(default_factory=set)
    slots: int = 0
    busy: int = 0


def get_console_fleet(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """Workers, queues, and runs that wait for them."""
    view = yield from operator(site, exchange)
    workers: Sequence[Any] = yield Verb("workers")
    waiting: list[RunInfo] = []
    if view.may("list"):
        view = yield from operator(site, exchange, "list")
        for status in ("queued", "running"):
            scope = {"status": status, "limit": _MOST, **scope_of(view)}
            waiting += yield Verb("list", (), scope)
    return view.reply(
        "fleet",
        title="Fleet",
        workers=sorted(workers, key=lambda each: (each.node, each.id)),
        queues=_queues(workers),
        queued=[run for run in waiting if run.status == "queued" or run.waiting_for],
    )


def _queues(workers: Sequence[Any]) -> list[QueueRow]:
    found: dict[str, QueueRow] = {}
    for worker in workers:
        for name in worker.queues:
            row = found.setdefault(name, QueueRow(name))
            row.nodes.append(worker.node)
            row.agents.update(worker.agents)
            row.slots += worker.slots
            row.busy += worker.busy
    return sorted(found.values(), key=lambda each: each.name)
