"""Each request of the HTTP API, once, for the method and for its twin."""

import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any, Unpack

import pydantic_core

from evented_agent.agents.run_options import StreamOptions
from evented_agent.agents.tools.approvals import Pending
from evented_agent.chunks.json_values import NotJson, as_json
from evented_agent.client.commands import DecisionOptions
from evented_agent.client.follow import Cursor
from evented_agent.client.inbox import check_target
from evented_agent.client.listing import RunPage
from evented_agent.client.metrics import METRICS, Metrics
from evented_agent.client.sending import SendOptions
from evented_agent.client.start import Started
from evented_agent.errors import InvalidDecision, ThreadNotFound
from evented_agent.given import check_names
from evented_agent.ledger.workers import LiveWorker
from evented_agent.models.cost import RunsCost
from evented_agent.models.messages import Input, dump_messages, parse_messages
from evented_agent.remote.http_requests import Outgoing, nothing_in, quoted_id
from evented_agent.state.receipt import Receipt
from evented_agent.state.run_info import RunInfo
from evented_agent.state.run_result import BackgroundTask, RunResult
from evented_agent.state.task_attempt import AttemptList
from evented_agent.state.wire import (
    BACKGROUND_TASKS,
    LIVE_WORKERS,
    PENDING,
    RECEIPT,
    RUN_INFO,
    RUN_INFOS,
    RUN_RESULT,
    RUNS_COST,
    TASK_ATTEMPTS,
)


def run_path(run_id: str, rest: str = "") -> str:
    return f"/runs/{quoted_id(run_id)}{rest}"


def thread_path(thread_id: str, rest: str = "") -> str:
    return f"/threads/{quoted_id(thread_id)}{rest}"


def info_request(run_id: str, resource_id: str | None = None) -> Outgoing[RunInfo]:
    query = {"resource_id": resource_id}
    return Outgoing("GET", run_path(run_id), RUN_INFO.validate_json, query, run_id=run_id)


def result_request(run_id: str, resource_id: str | None = None) -> Outgoing[RunResult[Any]]:
    path, query = run_path(run_id, "/result"), {"resource_id": resource_id}
    return Outgoing("GET", path, RUN_RESULT.validate_json, query, run_id=run_id)


def decision_request(run_id: str, data: Any, **which: Unpack[DecisionOptions]) -> Outgoing[Cursor]:
    """Answer a suspended call; the cursor after which to read. Who decided, the server knows."""
    chosen = {name: which.get(name) for name in ("tool_call_id", "number")}
    try:
        data = as_json(data)
    except NotJson as error:
        raise InvalidDecision(run_id, f"The decision is not JSON: {error}.") from None
    body = {**{name: each for name, each in chosen.items() if each is not None}, "data": data}
    query = {"resource_id": which.get("resource_id")}

    def parse(reply: bytes) -> Cursor:
        return str(pydantic_core.from_json(reply)["cursor"])

    return Outgoing("POST", run_path(run_id, "/resume"), parse, query, body, run_id)


def abort_request(
    run_id: str, reason: str | None, resource_id: str | None = None
) -> Outgoing[bool]:
    body = {} if reason is None else {"reason": reason}
    query = {"resource_id": resource_id}

    def parse(reply: bytes) -> bool:
        return bool(pydantic_core.from_json(reply)["aborted"])

    return Outgoing("POST", run_path(run_id, "/abort"), parse, query, body, run_id)


def start_request(agent_id: str, given: Input, chosen: StreamOptions) -> Outgoing[Started]:
    """Start a run; a repetition of the request, after a lost answer, finds the same run."""
    body: dict[str, Any] = {name: each for name, each in chosen.items() if each is not None}
    body.pop("close_on_suspend", None)
    for name in ("deadline", "until_idle"):
        if hasattr(body.get(name), "total_seconds"):
            body[name] = body[name].total_seconds()
    body |= {"agent": agent_id, "input": dump_messages(parse_messages(given))}

    def parse(reply: bytes) -> Started:
        found = pydantic_core.from_json(reply)
        # Servers of an earlier version say no cursor: there no run takes another's input.
        return Started(str(found["run_id"]), int(str(found.get("cursor", 0)).partition("-")[0]))

    run_id = str(chosen.get("run_id") or "")
    key = {} if run_id else {"idempotency-key": uuid.uuid4().hex}
    return Outgoing("POST", "/runs", parse, body=body, run_id=run_id, headers=key)


def send_request(
    run_id: str | None, thread_id: str | None, given: Input, options: SendOptions
) -> Outgoing[Receipt]:
    """Send a message; a repetition of the request, after a lost answer, is the same message.

    Who sends it, the server knows.
    """
    check_target(run_id, thread_id, given, options)
    check_names("send()", options, SendOptions.__annotations__)
    chosen = {name: each for name, each in options.items() if each is not None}
    query = {"resource_id": chosen.pop("resource_id", None)}
    chosen.pop("by", None)
    chosen.setdefault("message_id", uuid.uuid4().hex)
    body = {**chosen, "input": dump_messages(parse_messages(given))}

    def missing() -> ThreadNotFound:
        return ThreadNotFound(str(thread_id), options.get("resource_id"))

    return Outgoing(
        "POST",
        thread_path(thread_id or "", "/messages")
        if run_id is None
        else run_path(run_id, "/messages"),
        RECEIPT.validate_json,
        query,
        body,
        run_id or "",
        failures={"thread_not_found": missing},
    )


def list_request(
    status: str | None,
    agent: str | None,
    thread_id: str | None,
    resource_id: str | None,
    since: datetime | None,
    limit: int,
    page: str | None,
) -> Outgoing[RunPage]:
    query = {
        "status": status,
        "agent": agent,
        "thread_id": thread_id,
        "resource_id": resource_id,
        "since": since and since.isoformat(),
        "limit": limit,
        "page": page,
    }

    def parse(reply: bytes) -> RunPage:
        found = pydantic_core.from_json(reply)
        return RunPage(RUN_INFOS.validate_python(found["runs"]), found["next_page"])

    return Outgoing("GET", "/runs", parse, query)


def cost_request(
    agent: str | None,
    thread_id: str | None,
    resource_id: str | None,
    since: datetime | None,
    limit: int,
    page: str | None,
) -> Outgoing[RunsCost]:
    query = {
        "agent": agent,
        "thread_id": thread_id,
        "resource_id": resource_id,
        "since": since and since.isoformat(),
        "limit": limit,
        "page": page,
    }
    return Outgoing("GET", "/cost", RUNS_COST.validate_json, query)


def pending_request(
    agent: str | None,
    thread_id: str | None,
    resource_id: str | None,
    since: datetime | None,
    limit: int,
) -> Outgoing[list[Pending]]:
    query = {
        "agent": agent,
        "thread_id": thread_id,
        "resource_id": resource_id,
        "since": since and since.isoformat(),
        "limit": limit,
    }
    return Outgoing("GET", "/pending", _list_of(PENDING, "pending"), query)


def background_request(run_id: str, resource_id: str | None) -> Outgoing[list[BackgroundTask]]:
    path, query = run_path(run_id, "/background"), {"resource_id": resource_id}
    return Outgoing("GET", path, _list_of(BACKGROUND_TASKS, "tasks"), query, run_id=run_id)


def attempts_request(run_id: str, resource_id: str | None) -> Outgoing[AttemptList]:
    path, query = run_path(run_id, "/attempts"), {"resource_id": resource_id}

    def parse(reply: bytes) -> AttemptList:
        told = pydantic_core.from_json(reply)
        return AttemptList(
            TASK_ATTEMPTS.validate_python(told["attempts"]),
            left_out=int(told["left_out"]),
            read_at=datetime.fromisoformat(told["read_at"]),
        )

    return Outgoing("GET", path, parse, query, run_id=run_id)


def cancel_request(task_id: str, reason: str, resource_id: str | None) -> Outgoing[bool]:
    run_id, _, call = task_id.partition(":")
    path = run_path(run_id, f"/background/{quoted_id(call)}/cancel")
    query, body = {"resource_id": resource_id}, {"reason": reason}

    def parse(reply: bytes) -> bool:
        return bool(pydantic_core.from_json(reply)["cancelled"])

    return Outgoing("POST", path, parse, query, body, run_id)


def retry_request(run_id: str, resource_id: str | None) -> Outgoing[None]:
    path, query = run_path(run_id, "/retry"), {"resource_id": resource_id}
    # A repetition would find a run that has not failed.
    return Outgoing("POST", path, nothing_in, query, {}, run_id, is_repeatable=False)


def delete_request(run_id: str, resource_id: str | None) -> Outgoing[None]:
    # A repetition would find no run.
    return Outgoing(
        "DELETE",
        run_path(run_id),
        nothing_in,
        {"resource_id": resource_id},
        run_id=run_id,
        is_repeatable=False,
    )


def workers_request() -> Outgoing[list[LiveWorker]]:
    return Outgoing("GET", "/workers", _list_of(LIVE_WORKERS, "workers"))


def metrics_request() -> Outgoing[Metrics]:
    return Outgoing("GET", "/metrics.json", METRICS.validate_json)


def _list_of(adapter: Any, name: str) -> Callable[[bytes], Any]:
    return lambda reply: adapter.validate_python(pydantic_core.from_json(reply)[name])
