"""Plans of lists: runs page by page, and the calls that wait for people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from evented_agent.agents.agent import Agent
from evented_agent.agents.tools.approvals import Pending
from evented_agent.agents.tools.tool import InvalidArguments
from evented_agent.client.deployment import Deployment
from evented_agent.client.index_pages import IndexPages
from evented_agent.errors import DeclarationError, RunDeleted, RunNotFound
from evented_agent.given import check_optional_text, check_optional_time
from evented_agent.ledger.indexes import count_common, forget
from evented_agent.ledger.keys import STATUSES, Keys
from evented_agent.ledger.plan import Plan, send, send_all
from evented_agent.ledger.records import Record
from evented_agent.ledger.runs import read
from evented_agent.ledger.workers import LiveWorker, live_workers
from evented_agent.models.cost import RunsCost, total_cost
from evented_agent.state.run_info import (
    RunInfo,
    Status,
    info_of,
    is_waiting,
    number_in,
    run_cost,
    run_usage,
)

#: Where so few runs go on, those of a resource are looked for among them.
_FEW = 500
_LIVE: tuple[Status, ...] = ("queued", "running", "suspended")
#: The statuses of runs in which a call may wait for a person.
_MAY_WAIT: tuple[Status, ...] = ("suspended", "running")


class RunPage(list[RunInfo]):
    """The runs of one page; *next_page*, if there is one, is the ``page`` that follows."""

    def __init__(self, runs: Sequence[RunInfo] = (), next_page: str | None = None) -> None:
        super().__init__(runs)
        self.next_page = next_page


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs are wanted: those that match all that is not None.

    Attributes:
        status: One of "queued", "running", "suspended", "finished", "failed", "aborted".
        agent: The id of their agent.
        thread_id: The thread that they belong to.
        resource_id: Whose runs they are.
        since: Created at this time or later; for a status in which runs have ended, ended then.
        is_nobodys: Whether only runs that belong to no resource are wanted.
    """

    status: Status | None = None
    agent: str | None = None
    thread_id: str | None = None
    resource_id: str | None = None
    since: datetime | None = None
    is_nobodys: bool = False

    def __post_init__(self) -> None:
        if self.status is not None and self.status not in STATUSES:
            raise DeclarationError(f"status={self.status!r}: use one of {', '.join(STATUSES)}.")
        for name in ("agent", "thread_id", "resource_id"):
            check_optional_text(name, getattr(self, name))
        check_optional_time("since", self.since)

    @property
    def fields(self) -> Mapping[str, str]:
        """What the records have to hold, the narrowest index first."""
        fields = {
            "thread": self.thread_id,
            "resource": self.resource_id,
            "status": self.status,
            "agent": self.agent,
        }
        return {name: value for name, value in fields.items() if value is not None}

    def has(self, record: Record) -> bool:
        """Whether a run is one of those that are wanted."""
        if self.is_nobodys and "resource" in record.fields:
            return False
        # Only the index of a status has the time of the end.
        if self.is_of_ended and number_in(record.fields, "ended") < self.since_ms:
            return False
        return all(record.fields.get(name) == value for name, value in self.fields.items())

    @property
    def since_ms(self) -> int:
        return 0 if self.since is None else int(self.since.timestamp() * 1000)

    @property
    def is_of_ended(self) -> bool:
        """Whether only runs are wanted that have ended."""
        return self.status is not None and self.status not in _LIVE


def page_of_runs(
    at: Deployment, wanted: RunFilter, *, limit: int, page: str | None = None
) -> Plan[RunPage]:
    """The newest runs that match, at most *limit*; *page* is the `next_page` of the page before.

    Runs come by the time when they were created; those of a status in which they have ended, of all
    threads and resources, when they ended.
    """
    shown, next_page = yield from _page_of_records(at, wanted, limit, page)
    fleet: Sequence[LiveWorker] = ()
    if any(is_waiting(record) for record in shown):
        fleet = yield from send(live_workers(at.keys))
    return RunPage([info_of(record, fleet) for record in shown], next_page)


def cost_of_runs(
    at: Deployment, wanted: RunFilter, *, limit: int, page: str | None = None
) -> Plan[RunsCost]:
    """What the newest runs that match cost together, at most *limit* of them."""
    records, next_page = yield from _page_of_records(at, wanted, limit, page)
    costs = [run_cost(record.fields) for record in records]
    unpriced = sum(
        cost is None and run_usage(record.fields).total_tokens > 0
        for cost, record in zip(costs, records, strict=True)
    )
    return RunsCost(total_cost(costs), len(records), unpriced, next_page)


def _page_of_records(
    at: Deployment, wanted: RunFilter, limit: int, page: str | None
) -> Plan[tuple[list[Record], str | None]]:
    index = yield from _narrowest(at, wanted)
    pages = IndexPages(
        at.keys,
        index,
        None if wanted.is_of_ended and index[0] != "status" else wanted.since,
        read=lambda _, run_ids: read_records(at.keys, run_ids),
        matches=wanted.has,
        forget=lambda shard, gone: forget(at.keys, shard, index, gone),
    )
    return (yield from pages.page(limit, page))


def _narrowest(at: Deployment, wanted: RunFilter) -> Plan[tuple[str, str]]:
    """The index that is read: a resource may have many runs, of which few go on.

    Runs that go on have the time of their creation in all indexes, so pages stay the same.
    """
    index = next(iter(wanted.fields.items()), ("all", ""))
    if index[0] != "resource" or wanted.status not in _LIVE:
        return index
    live, by_status = 0, ("status", wanted.status)
    for shard in range(at.keys.shards):
        live += yield from send(count_common(at.keys, shard, by_status, [wanted.status], most=_FEW))
    return by_status if live < _FEW else index


def pending_calls(at: Deployment, wanted: RunFilter, *, limit: int) -> Plan[list[Pending]]:
    """What runs wait for people for, the oldest first; at most of *limit* runs a status."""
    pending: dict[tuple[str, int], Pending] = {}
    for status in _MAY_WAIT:
        # A run may change from one to the other meanwhile, and be in both.
        page = yield from page_of_runs(at, replace(wanted, status=status), limit=limit)
        pending |= {(each.run_id, each.number): each for info in page for each in info.pending}
    return sorted(pending.values(), key=lambda each: each.since)


def unfit_calls(at: Deployment, *, limit: int) -> Plan[list[tuple[Pending, str]]]:
    """The calls that wait for a person and cannot run with the agents of this process, and why."""
    pending = yield from pending_calls(at, RunFilter(), limit=limit)
    found = [(each, _misfit(at.agents.get(each.agent), each)) for each in pending]
    return [(each, why) for each, why in found if why is not None]


def _misfit(agent: Agent | None, pending: Pending) -> str | None:
    if agent is None:
        return None
    tool = agent.tool_named(pending.tool_name)
    if tool is None and agent.mcp_server_of(pending.tool_name) is not None:
        # Its server says what fits, when the call is made.
        return None
    if tool is None:
        return f"Agent {agent.id!r} has no tool {pending.tool_name!r} any more."
    if not pending.arguments:
        # None, or too many to be kept here.
        return None
    try:
        tool.validate(pending.arguments)
    except InvalidArguments as error:
        return str(error)
    return None


def read_records(keys: Keys, run_ids: Sequence[str]) -> Plan[dict[str, Record]]:
    """The records that there are."""
    if not run_ids:
        return {}
    found = yield from send_all([read(keys, run_id) for run_id in run_ids])
    for each in found:
        if isinstance(each, Exception) and not isinstance(each, RunNotFound | RunDeleted):
            raise each
    return {each.run_id: each for each in found if isinstance(each, Record)}
