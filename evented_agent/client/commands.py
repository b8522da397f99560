"""Plans of what a caller changes: decisions of people, cancellations, aborts, retries."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from evented_agent.agents.tools.approvals import CallDecision, Pending
from evented_agent.agents.tools.tool import InvalidArguments
from evented_agent.chunks.json_values import for_log, without_surrogates
from evented_agent.client.decisions import chosen_suspension, decision_of
from evented_agent.client.deployment import Deployment
from evented_agent.client.follow import Cursor
from evented_agent.client.owner import read_owned
from evented_agent.client.turns import leave_turn
from evented_agent.errors import DeclarationError, EventedAgentError, InvalidDecision, TooLarge
from evented_agent.given import check_count, check_names, check_optional_text
from evented_agent.ledger import runs
from evented_agent.ledger.keys import split_child
from evented_agent.ledger.plan import Plan, notify, send
from evented_agent.ledger.records import Decision, Record
from evented_agent.ledger.run_turns import is_done
from evented_agent.logs import logger_of
from evented_agent.state.journal import edited_arguments
from evented_agent.state.views import decision_in
from evented_agent.telemetry.conventions import DECISIONS
from evented_agent.telemetry.tracing import deciding

logger = logger_of(__name__)

#: What the model is told of a background call that was cancelled without a reason.
CANCELLED = "Cancelled by a user."


class DecisionOptions(TypedDict, total=False):
    """Which suspended call a decision is about, and who decided.

    Attributes:
        tool_call_id: The call's id; needed, unless *number* is given, where several are pending.
        number: `Pending.number`: this very suspension of the call, and no later one.
        by: Who decided: any text, kept in the run's journal.
        resource_id: Whose run it must be; another's is `RunNotFound`.
    """

    tool_call_id: str | None
    number: int | None
    by: str | None
    resource_id: str | None


@dataclass(frozen=True, slots=True)
class TakenDecision:
    """A decision that stands: taken just now (*is_new*), or before.

    The *decision* is None where an older version has taken it.
    """

    cursor: Cursor
    is_new: bool
    decision: CallDecision | None


def decide_call(at: Deployment, run_id: str, data: Any, which: DecisionOptions) -> Plan[Cursor]:
    """Answer a suspended call; the cursor after which to read what follows."""
    check_names("resume()", which, DecisionOptions.__annotations__)
    return (yield from take_decision(at, run_id, data, which)).cursor


def take_decision(
    at: Deployment, run_id: str, data: Any, which: DecisionOptions
) -> Plan[TakenDecision]:
    """Answer a suspended call, and say whether it had been answered so before."""
    [taken] = yield from take_decisions(at, run_id, [(data, which)])
    return taken


def take_decisions(
    at: Deployment, run_id: str, decisions: Sequence[tuple[Any, DecisionOptions]]
) -> Plan[Sequence[TakenDecision]]:
    """Answer several suspended calls of a run at once: all of them, or none.

    Raises as `Runs.resume` does for the first that cannot be taken.
    """
    for _, which in decisions:
        check_optional_text("tool_call_id", which.get("tool_call_id"))
        if which.get("number") is not None:
            check_count("number", which["number"])
    [(_, first), *_] = decisions
    record = yield from read_owned(at, run_id, first.get("resource_id"))
    calls = {which.get("tool_call_id") for _, which in decisions}
    with deciding(at.settings, record, calls) as span:
        chosen = [_decision(at, record, data, which) for data, which in decisions]
        root, _ = split_child(record.run_id)
        command = runs.resume_all(at.keys, root, chosen, notifies=at.notifies)
        written = yield from send(command)
        span.about(DECISIONS, sum(recorded.is_new for recorded in written))
        for recorded in written:
            yield from notify(at.notifier, recorded.sends)
    return [
        TakenDecision(
            record.last_cursor or 0,
            recorded.is_new,
            decision_in(recorded.stored) if recorded.stored else None,
        )
        for recorded in written
    ]


def _decision(
    at: Deployment, record: Record, data: Any, which: DecisionOptions
) -> tuple[str, int, Decision]:
    """Which call and suspension is meant, and what is decided about it."""
    call, number = which.get("tool_call_id"), which.get("number")
    pending = chosen_suspension(record, call, number)
    if pending is not None:
        _check_arguments(at, pending, data)
        call, number = call or pending.tool_call_id, number or pending.number
    most = at.settings.max_bytes
    decided = decision_of(record, pending, data, by=which.get("by"), most_bytes=most)
    return call or "", number or 0, decided


def _check_arguments(at: Deployment, pending: Pending, data: Any) -> None:
    """Refuse edited arguments that do not fit, where this process has the agent's code."""
    agent = at.agents.get(pending.agent)
    tool = agent.tool_named(pending.tool_name) if agent else None
    edited = edited_arguments(data) if pending.kind == "approval" else None
    if tool is None or edited is None:
        return
    try:
        tool.validate(edited)
    except InvalidArguments as error:
        raise InvalidDecision(pending.run_id, str(error)) from None


def _checked_reason(at: Deployment, reason: Any) -> str:
    """What people and models are told; raises `DeclarationError`, `TooLarge`."""
    if not isinstance(reason, str) or without_surrogates(reason) != reason:
        raise DeclarationError(f"reason={for_log(repr(reason))}: pass a text, or leave it out.")
    if len(reason.encode()) > at.settings.max_bytes:
        raise TooLarge("reason", len(reason.encode()), at.settings.max_bytes)
    return reason


def cancel_call(at: Deployment, task_id: str, *, reason: str) -> Plan[bool]:
    reason = _checked_reason(at, reason)
    run_id, _, call = str(task_id).partition(":")
    return (yield from send(runs.cancel(at.keys, run_id, call=call, reason=reason)))


def retry_from_failure(at: Deployment, run_id: str) -> Plan[None]:
    command = runs.retry_failed(at.keys, run_id, notifies=at.notifies)
    yield from notify(at.notifier, (yield from send(command)))


def request_abort(at: Deployment, run_id: str, *, reason: str | None) -> Plan[bool]:
    reason = None if reason is None else _checked_reason(at, reason)
    aborted = yield from send(runs.abort(at.keys, run_id, reason=reason))
    if aborted:
        logger.info(
            "An abort of run %s was asked for: %s",
            run_id,
            for_log(reason or "no reason given"),
            extra={"run_id": run_id},
        )
    try:
        record = yield from send(runs.read(at.keys, run_id))
        # One that never began has nothing to keep; the others leave when they have.
        if is_done(record) or (record.fields["status"] == "aborted" and not _has_begun(record)):
            yield from leave_turn(at, record)
    except EventedAgentError as error:
        logger.info("Run %s is aborted; its thread goes on later: %s", run_id, error)
    return aborted


def _has_begun(record: Record) -> bool:
    return "started" in record.fields
