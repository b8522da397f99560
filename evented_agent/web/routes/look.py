"""What there is: runs, their results, calls that wait, workers."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from evented_agent.agents.tools.approvals import Pending
from evented_agent.client.exposition import CONTENT_TYPE, Family, Sample, exposition
from evented_agent.client.listing import RunPage
from evented_agent.client.metrics import METRICS, Metrics
from evented_agent.models.cost import RunsCost
from evented_agent.state.run_info import RunInfo
from evented_agent.state.run_result import RunResult
from evented_agent.state.task_attempt import AttemptList, TaskAttempt
from evented_agent.state.wire import (
    BACKGROUND_TASKS,
    LIVE_WORKERS,
    PENDING,
    RUN_INFO,
    RUN_INFOS,
    RUN_RESULT,
    RUNS_COST,
    TASK_ATTEMPTS,
)
from evented_agent.web.access import Allowed, allowed_run, somebody
from evented_agent.web.exchange import Exchange, PlainReply, json_reply, object_reply
from evented_agent.web.failures import RETRY_AFTER, HttpFailure
from evented_agent.web.principal import Principal
from evented_agent.web.site import Site, Verb, WebSteps

#: Most things of one page.
MOST_LISTED = 200


def get_run(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """The state of a run now."""
    allowed = yield from allowed_run(site, exchange, "read")
    return json_reply(RUN_INFO.dump_json(shown(allowed.who, allowed.info, allowed.name)))


def get_result(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """What a run came to, so far: its text, its messages, its output."""
    allowed = yield from allowed_run(site, exchange, "read")
    result: RunResult[Any] = yield Verb("result", (allowed.run_id,))
    pending = [_renamed(each, allowed) for each in result.pending]
    named = dataclasses.replace(result, run_id=allowed.name, pending=pending)
    return json_reply(RUN_RESULT.dump_json(named))


def get_runs(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """The newest runs that match, page by page."""
    who = yield from somebody(exchange, "list")
    limit, since = exchange.count("limit", 50, MOST_LISTED), exchange.time("since")
    page: RunPage = yield Verb(
        "list",
        (),
        {
            "status": exchange.query("status"),
            "thread_id": exchange.query("thread_id"),
            "since": since,
            "limit": limit,
            "page": exchange.query("page"),
            **narrowed(site, exchange, who),
        },
    )
    runs = RUN_INFOS.dump_python([shown(who, each, each.run_id) for each in page], mode="json")
    return object_reply({"runs": runs, "next_page": page.next_page})


def get_cost(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """What the newest runs that match cost together, page by page."""
    who = yield from somebody(exchange, "list")
    found: RunsCost = yield Verb(
        "cost",
        (),
        {
            "thread_id": exchange.query("thread_id"),
            "since": exchange.time("since"),
            "limit": exchange.count("limit", MOST_LISTED, MOST_LISTED),
            "page": exchange.query("page"),
            **narrowed(site, exchange, who),
        },
    )
    return json_reply(RUNS_COST.dump_json(found))


def get_pending(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """The calls that wait for a person, the oldest first."""
    who = yield from somebody(exchange, "list")
    found: Sequence[Pending] = yield Verb(
        "pending",
        (),
        {
            "thread_id": exchange.query("thread_id"),
            "since": exchange.time("since"),
            "limit": exchange.count("limit", 50, MOST_LISTED),
            **narrowed(site, exchange, who),
        },
    )
    return object_reply({"pending": PENDING.dump_python(list(found), mode="json")})


def get_background(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """The background calls of a run."""
    allowed = yield from allowed_run(site, exchange, "read")
    tasks = yield Verb("background_tasks", (allowed.run_id,))
    named = [
        dataclasses.replace(
            each, run_id=allowed.name, task_id=f"{allowed.name}:{each.tool_call_id}"
        )
        for each in tasks
    ]
    return object_reply({"tasks": BACKGROUND_TASKS.dump_python(named, mode="json")})


def get_attempts(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """The attempts of a run's tasks: what ran when, and how it ended."""
    allowed = yield from allowed_run(site, exchange, "read")
    found: AttemptList = yield Verb("attempts", (allowed.run_id,))
    named = [_shown_attempt(allowed, each) for each in found]
    return object_reply(
        {
            "attempts": TASK_ATTEMPTS.dump_python(named, mode="json"),
            "left_out": found.left_out,
            "read_at": found.read_at.isoformat(),
        }
    )


def get_workers(_: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """The workers that were heard of in the last 10 s."""
    yield from somebody(exchange, "operate")
    workers = yield Verb("workers")
    return object_reply({"workers": LIVE_WORKERS.dump_python(list(workers), mode="json")})


def get_metrics(site: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """Numbers to watch, in the text format of Prometheus; readers are those of this process."""
    yield from somebody(exchange, "operate")
    found: Metrics = yield Verb("metrics")
    headers = {"cache-control": "no-store", "content-type": CONTENT_TYPE}
    return PlainReply(200, f"{found.prometheus()}{_readers(site)}".encode(), headers)


def get_metrics_json(_: Site, exchange: Exchange) -> WebSteps[PlainReply]:
    """The same numbers as `Runs.metrics` has them, without what is of this process alone."""
    yield from somebody(exchange, "operate")
    found: Metrics = yield Verb("metrics")
    return json_reply(METRICS.dump_json(found))


def _readers(site: Site) -> str:
    readers = site.streams.readers().items()
    samples = [Sample(count, {"reading": reading}) for reading, count in readers]
    about = "Streams that are open in the process which answers."
    return exposition([Family("readers", "gauge", about, samples)])


def get_health(_: Site, __: Exchange) -> WebSteps[PlainReply]:
    """This process answers."""
    yield from ()
    return object_reply({"status": "ok"})


def get_ready(_: Site, __: Exchange) -> WebSteps[PlainReply]:
    """This process reaches Redis, so it can serve runs."""
    try:
        yield Verb("workers")
    except ConnectionError:
        raise HttpFailure(503, "unavailable", "Redis is away.", RETRY_AFTER) from None
    return object_reply({"status": "ok"})


def shown(who: Principal, info: RunInfo, name: str) -> RunInfo:
    """A run as *who* may see it: what our servers are called concerns operators alone."""
    if info.run_id != name:
        pending = [dataclasses.replace(each, run_id=name) for each in info.pending]
        children = [
            dataclasses.replace(each, run_id=f"{name}{each.run_id.removeprefix(info.run_id)}")
            for each in info.children
        ]
        parent = None if info.parent_id is None else name.rpartition("~")[0]
        info = dataclasses.replace(
            info, run_id=name, pending=pending, children=children, parent_id=parent
        )
    if "operate" in who.scopes:
        return info
    return dataclasses.replace(info, worker=None, waiting_for=None)


def _shown_attempt(allowed: Allowed, attempt: TaskAttempt) -> TaskAttempt:
    """An attempt as they may see it: where it ran, and what went wrong there, is for operators."""
    run_id = f"{allowed.name}{attempt.run_id.removeprefix(allowed.run_id)}"
    attempt = dataclasses.replace(attempt, run_id=run_id)
    if "operate" in allowed.who.scopes:
        return attempt
    return dataclasses.replace(attempt, worker=None, celery_id=None, reason=None)


def resource_of(exchange: Exchange, who: Principal) -> str | None:
    """Whose runs are meant: one's own; who sees all may say whose, or mean all."""
    return exchange.query("resource_id") if who.all_resources else who.resource_id


def narrowed(site: Site, exchange: Exchange, who: Principal) -> dict[str, Any]:
    """What a list or a conversation is narrowed to, whatever was asked for."""
    agent = exchange.query("agent")
    if site.agent is not None:
        agent = site.agent
    return {"agent": agent, "resource_id": resource_of(exchange, who)}


def _renamed(pending: Pending, allowed: Allowed) -> Pending:
    return dataclasses.replace(pending, run_id=allowed.name)
