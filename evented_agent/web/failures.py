"""What is answered when a request cannot be served: a status, a code, a sentence, no internals."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from evented_agent.errors import (
    ChildRun,
    DeclarationError,
    InboxFull,
    InvalidDecision,
    LedgerUnavailable,
    NotFailed,
    NotSuspended,
    RunConflict,
    RunDeleted,
    RunEnded,
    RunExpired,
    RunNotFound,
    SuspensionExpired,
    ThreadBusy,
    ThreadNotFound,
    TooLarge,
    UnknownAgent,
)
from evented_agent.logs import logger_of

logger = logger_of(__name__)

#: Seconds after which a request that met a Redis that is away, or a full inbox, may be tried again.
RETRY_AFTER = {"retry-after": "2"}


@dataclass
class HttpFailure(Exception):
    """A request that is refused.

    Attributes:
        status: The HTTP status.
        code: What programs compare: the error's name in snake case.
        message: What people read.
        headers: More headers of the reply.
    """

    status: int
    code: str
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def json(self) -> dict[str, dict[str, str]]:
        return {"error": {"code": self.code, "message": self.message}}


#: The status and the code of each error that is the caller's to know.
HTTP_STATUSES: Mapping[type[Exception], tuple[int, str]] = {
    RunNotFound: (404, "run_not_found"),
    UnknownAgent: (404, "unknown_agent"),
    ThreadNotFound: (404, "thread_not_found"),
    RunDeleted: (410, "run_deleted"),
    RunExpired: (410, "run_expired"),
    RunConflict: (409, "run_conflict"),
    ChildRun: (409, "child_run"),
    RunEnded: (409, "run_ended"),
    ThreadBusy: (409, "thread_busy"),
    NotSuspended: (409, "not_suspended"),
    NotFailed: (409, "not_failed"),
    SuspensionExpired: (409, "suspension_expired"),
    InvalidDecision: (422, "invalid_decision"),
    DeclarationError: (400, "invalid_request"),
    TooLarge: (413, "too_large"),
    InboxFull: (429, "inbox_full"),
}

#: Sentences of the library that are about the server: what the caller is told in their place.
_INSTEAD = {
    RunNotFound: "There is no such run.",
    UnknownAgent: "There is no such agent.",
    ThreadNotFound: "There is no such conversation.",
    RunExpired: "What the run said has expired; its result may still be there.",
    TooLarge: "This is too large.",
    InboxFull: "1,000 messages wait to be answered by this run. Send this one again later.",
}


def failure_of(error: Exception) -> HttpFailure:
    """What is answered for *error*; what is not the caller's to know is logged."""
    if isinstance(error, HttpFailure):
        return error
    if isinstance(error, LedgerUnavailable):
        logger.warning("A request could not be served: %s", error)
        message = "Not available at the moment. Try again soon."
        return HttpFailure(503, "unavailable", message, RETRY_AFTER)
    found = next((each for each in type(error).__mro__ if each in HTTP_STATUSES), None)
    if found is None:
        logger.error("A request failed", exc_info=error)
        return HttpFailure(500, "internal_error", "Something went wrong here. It was logged.")
    status, code = HTTP_STATUSES[found]
    headers = RETRY_AFTER if status == 429 else {}
    return HttpFailure(status, code, _INSTEAD.get(found, str(error)), headers)


def thread_not_found() -> HttpFailure:
    """What is answered for a conversation without a run, or not for this principal."""
    return HttpFailure(404, "thread_not_found", _INSTEAD[ThreadNotFound])


def not_found() -> HttpFailure:
    """What is answered for a run that does not exist, or not for this principal."""
    return HttpFailure(404, "run_not_found", _INSTEAD[RunNotFound])
