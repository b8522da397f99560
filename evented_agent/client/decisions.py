"""From a person's decision to what the script stores.  Pure: does no I/O."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from evented_agent.agents.tools.approvals import Pending
from evented_agent.chunks import (
    Approval,
    ErrorInfo,
    ToolDecidedPayload,
    ToolDeniedPayload,
    ToolError,
    ToolErrorPayload,
    ToolOutputDenied,
    ToolResult,
    ToolResultPayload,
)
from evented_agent.chunks.base import dump_json, stored_payload
from evented_agent.chunks.codec import ChunkWith, PayloadT, encode_chunk
from evented_agent.chunks.json_values import NotJson, as_json, for_log
from evented_agent.client.answer_schema import UncheckableSchema, schema_problems
from evented_agent.errors import InvalidDecision, NotSuspended, TooLarge
from evented_agent.ledger.records import Decision, Record
from evented_agent.state.journal import Denied, Result, Resumed, dump_entry
from evented_agent.state.views import pending_of

_dumps = json.JSONEncoder(
    separators=(",", ":"), ensure_ascii=False, allow_nan=False, sort_keys=True
).encode

#: Most characters of a reason that are told with the decision; the model is shown all of it.
_MOST_REASON = 1000
#: What a person can say of a call whose worker is gone.
ACTIONS = (
    "{'action': 'rerun'}, {'action': 'fail', 'reason': …} or {'action': 'result', 'result': …}"
)


def approval_data(args: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"approved": True} if args is None else {"approved": True, "args": dict(args)}


def denial_data(reason: str | None) -> dict[str, Any]:
    return {"approved": False} if reason is None else {"approved": False, "reason": reason}


def chosen_suspension(record: Record, call: str | None, number: int | None) -> Pending | None:
    """The suspension that is meant; None where it is no longer, or not yet, pending.

    Raises `NotSuspended` where several are pending and nothing says which.
    """
    pending = pending_of(record)
    meant = [
        each
        for each in pending
        if call in (None, each.tool_call_id) and number in (None, each.number)
    ]
    if len(meant) > 1:
        raise NotSuspended(record.run_id, pending=[each.tool_call_id for each in meant])
    return meant[0] if meant else None


def decision_of(
    record: Record, pending: Pending | None, data: Any, *, by: str | None, most_bytes: int
) -> Decision:
    """Check *data* against what was asked, and say what follows.

    Raises `InvalidDecision`, `TooLarge`.
    """
    try:
        data, by = as_json(data), as_json(by)
    except NotJson as error:
        raise InvalidDecision(record.run_id, f"The decision is not JSON: {error}.") from None
    text = _dumps(data)
    if by is not None and not isinstance(by, str):
        raise InvalidDecision(record.run_id, f"by={for_log(repr(by))}: pass a text.")
    size = len(text.encode()) + len((by or "").encode())
    if size > most_bytes:
        raise TooLarge("decision", size, most_bytes)
    digest = hashlib.sha256(text.encode()).hexdigest()[:32]
    if pending is None:
        # Only to compare with what was decided before.
        return Decision(digest, "rerun", "")
    maker = {"approval": _approval, "suspension": _answer, "crash": _after_crash}[pending.kind]
    entry = Resumed(pending.tool_call_id, pending.number, pending.kind, data, by)
    return maker(_DecisionBuilder(record, pending, data, text, by, digest, dump_entry(entry)))


class _DecisionBuilder:
    """One decision, with all that its parts are made from."""

    def __init__(
        self,
        record: Record,
        pending: Pending,
        data: Any,
        text: str,
        by: str | None,
        digest: str,
        entry: str,
    ) -> None:
        self.data, self.text, self.by = data, text, by
        self.pending, self.digest, self.entry = pending, digest, entry
        # The hook that tells of the suspension has the call's id as well.
        [task] = [
            task
            for task in record.tasks
            if task.kind == "tool" and task.call == pending.tool_call_id
        ]
        self.key, self.step, self.run_id = task.key, task.step, record.run_id
        self.named: Any = {"tool_call_id": pending.tool_call_id, "tool_name": pending.tool_name}

    def invalid(self, problem: str) -> InvalidDecision:
        what = f"Call {self.pending.tool_call_id!r} ({self.pending.tool_name})"
        return InvalidDecision(self.run_id, f"{what} {problem}")

    def told(
        self, decision: str, *, approved: bool | None = None, reason: str | None = None
    ) -> str:
        """What readers see of it."""
        given: dict[str, Any] = {"by": self.by, "approved": approved, "reason": reason}
        shown: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        payload = ToolDecidedPayload(**self.named, decision=decision, **shown)
        return dump_json(stored_payload(payload))

    def goes_on(self, follows: Any, told: str) -> Decision:
        return Decision(self.digest, follows, self.entry, data=self.text, told=told)

    def result(self) -> Result:
        """What the call comes to, yet to be said."""
        return Result(self.step, self.pending.tool_call_id, self.pending.tool_name)

    def settles(
        self, told: str, chunk: type[ChunkWith[PayloadT]], payload: PayloadT, result: Result
    ) -> Decision:
        """The call ends with *result*, which readers see in a *chunk* with this *payload*."""
        return Decision(
            self.digest,
            "settle",
            self.entry,
            chunk=encode_chunk(chunk, self.key, payload),
            result=dump_entry(result),
            told=told,
        )


def _approval(builder: _DecisionBuilder) -> Decision:
    data = builder.data
    if not isinstance(data, dict) or not isinstance(data.get("approved"), bool):
        raise builder.invalid("waits for approval: pass {'approved': True} or {'approved': False}.")
    if not isinstance(data.get("args", {}), dict):
        raise builder.invalid("waits for approval: args is a JSON object.")
    reason = _reason(builder, data)
    short = None if reason is None else reason[:_MOST_REASON]
    if data["approved"]:
        return builder.goes_on("approved", builder.told("approved", approved=True, reason=short))
    told = builder.told("declined", approved=False, reason=short)
    given = {"reason": reason, "by": builder.by}
    shown = {name: value for name, value in given.items() if value is not None}
    payload = ToolDeniedPayload(
        **builder.named, approval=Approval.model_validate({"approved": False, **shown})
    )
    denied = replace(builder.result(), denied=Denied(reason, builder.by))
    return builder.settles(told, ToolOutputDenied, payload, denied)


def _answer(builder: _DecisionBuilder) -> Decision:
    schema = builder.pending.resume_schema
    if schema is not None:
        try:
            problems = schema_problems(schema, builder.data)
        except UncheckableSchema as error:
            raise builder.invalid(f"cannot be answered: {error}.") from None
        if problems:
            raise builder.invalid(f"asks for something else: {'; '.join(problems)}.")
    return builder.goes_on("data", builder.told("answered"))


def _after_crash(builder: _DecisionBuilder) -> Decision:
    match builder.data:
        case {"action": "rerun"}:
            return builder.goes_on("rerun", builder.told("rerun"))
        case {"action": "fail"}:
            reason = _reason(builder, builder.data) or "A person ended the interrupted call."
            error = ErrorInfo(name="ToolInterrupted", message=reason)
            payload = ToolErrorPayload(**builder.named, error=error)
            told = builder.told("failed", reason=reason[:_MOST_REASON])
            return builder.settles(told, ToolError, payload, replace(builder.result(), error=error))
        case {"action": "result", "result": result}:
            shown = ToolResultPayload(**builder.named, result=result)
            settled = replace(builder.result(), result=result)
            return builder.settles(builder.told("settled"), ToolResult, shown, settled)
    raise builder.invalid(f"lost its worker: pass {ACTIONS}.")


def _reason(builder: _DecisionBuilder, data: Mapping[str, Any]) -> str | None:
    reason = data.get("reason")
    if reason is not None and not isinstance(reason, str):
        raise builder.invalid("has a reason that is no text.")
    return reason
