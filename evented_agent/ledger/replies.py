"""How replies of scripts are read: statuses that are errors, messages to send."""

from collections.abc import Sequence
from typing import Any, NoReturn

import pydantic_core

from evented_agent.errors import RunDeleted, RunNotFound
from evented_agent.ledger.records import Due, Fenced

#: What reading something raises that was damaged, or is of a later version.
DAMAGED = (ValueError, TypeError, LookupError, AttributeError, OverflowError, OSError)


def text_of(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def check_exists(run_id: str, status: str) -> None:
    if status == "missing":
        raise RunNotFound(run_id)
    if status == "deleted":
        raise RunDeleted(run_id)


def owned(reply: Any) -> Any:
    if reply[0] not in (b"ok", b"already"):
        _fence(text_of(reply[0]))
    return reply


def _fence(reason: str) -> NoReturn:
    raise Fenced(reason)


def sends_of(run_id: str, stored: bytes) -> Sequence[Due]:
    return [
        Due(
            run_id,
            due["key"],
            int(due["gen"]),
            due["kind"],
            due.get("tool"),
            due["queue"],
            due["agent"],
        )
        for due in pydantic_core.from_json(stored) or ()
    ]
