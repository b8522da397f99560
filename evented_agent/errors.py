"""Everything evented_agent raises on purpose.  Imports no other module.

EventedAgentError
├── DeclarationError     an agent, tool or option is declared wrongly (also a TypeError)
├── ConfigurationError   a setting of Celery, Redis or this library would break a guarantee
├── BlockingCall         a method would keep what it waits for from going on
├── UnknownAgent         this process does not serve that agent
├── TooLarge             an input, result or chunk is over its size limit
├── LedgerUnavailable    Redis could not be reached, nothing is known about the outcome
├── InvalidCursor        what should say where to go on reading does not (also a ValueError)
├── ThreadNotFound       there is no such conversation (any more)
├── AccessDenied         a server does not let this caller do that
├── LimitReached         a server asks this caller to wait; carries ``retry_after``
├── ModelError           a model call failed; says whether trying again can help
│   ├── AuthenticationFailed  the provider does not take the key, or not for this model
│   ├── ContentFiltered       the provider's filter refused the request
│   ├── ContextTooLong        the conversation is longer than the model takes
│   ├── HistoryRefused        the provider refused a message of the conversation, also repaired
│   ├── QuotaExceeded         the account is empty
│   └── RateLimited           the provider asks for a wait, perhaps a longer one than is waited
└── RunError             base of errors about one run; carries ``run_id``
    ├── RunNotFound      no run has that id
    ├── RunDeleted       the run existed and was deleted
    ├── RunExpired       the run ended so long ago that its chunks are gone
    ├── RunConflict      the id is taken by a run with another input, or another decision was taken
    ├── NotSuspended     nothing of the run waits for that decision (also a ValueError)
    ├── NotFailed        only a failed run is tried again (also a ValueError)
    ├── ThreadBusy       another run has its turn in the thread
    ├── InboxFull        1,000 messages wait to be answered by the run
    ├── SuspensionExpired  nobody decided in time
    ├── InvalidDecision  the decision does not fit what was asked (also a ValueError)
    └── RunEnded         too late for a message; base of the ways to end unfinished, with ``result``
        ├── RunFailed    the run ended with an error
        └── RunAborted   somebody aborted the run, or its deadline did
"""

from collections.abc import Iterable
from typing import Any

__all__ = [
    "AccessDenied",
    "AuthenticationFailed",
    "BlockingCall",
    "ConfigurationError",
    "ContentFiltered",
    "ContextTooLong",
    "DeclarationError",
    "EventedAgentError",
    "HistoryRefused",
    "InboxFull",
    "InvalidCursor",
    "InvalidDecision",
    "LedgerUnavailable",
    "LimitReached",
    "ModelError",
    "NotFailed",
    "NotSuspended",
    "QuotaExceeded",
    "RateLimited",
    "RunAborted",
    "RunConflict",
    "RunDeleted",
    "RunEnded",
    "RunError",
    "RunExpired",
    "RunFailed",
    "RunNotFound",
    "SuspensionExpired",
    "ThreadBusy",
    "ThreadNotFound",
    "TooLarge",
    "UnknownAgent",
]


class EventedAgentError(Exception):
    """Base of every error this library raises on purpose."""


class DeclarationError(EventedAgentError, TypeError):
    """Raised where an agent, a tool or an option is declared, before any run."""


class ConfigurationError(EventedAgentError):
    """Raised at start for a setting that would break a guarantee; names the line to change."""


class BlockingCall(EventedAgentError):
    """Raised by a method that would keep what it waits for from going on.

    So do synchronous methods on the thread of a running event loop, and those that wait for a run
    in a Celery task on the slots that runs need.
    """

    def __init__(self, method: str, twin: str, message: str | None = None) -> None:
        self.method = method
        self.twin = twin
        super().__init__(
            message
            or f"{method}() would block the running event loop. Await {twin}() instead, or pass "
            "allow_blocking=True to the agent's factory (in a notebook, for example)."
        )


class UnknownAgent(EventedAgentError):
    """Raised when this process does not serve the agent that was asked for."""

    def __init__(self, agent_id: str, known: Iterable[str]) -> None:
        self.agent_id = agent_id
        self.known: list[str] = sorted(known)
        names = ", ".join(self.known) or "none"
        super().__init__(
            f"No agent named {agent_id!r} (registered: {names}). Register it with "
            "create_evented_agent(agent, app=app) in the module that your worker loads."
        )


class ThreadNotFound(EventedAgentError):
    """Raised for a conversation in which nothing has been said, or that was deleted."""

    def __init__(self, thread_id: str, resource_id: str | None) -> None:
        self.thread_id = thread_id
        self.resource_id = resource_id
        whose = "" if resource_id is None else f" of resource {resource_id!r}"
        super().__init__(f"There is no thread {thread_id!r}{whose}, or it has expired.")


class TooLarge(EventedAgentError, ValueError):
    """Raised when a payload is over its size limit; nothing was written."""

    def __init__(self, what: str, size: int, limit: int) -> None:
        self.what = what
        self.size = size
        self.limit = limit
        super().__init__(
            f"The {what} has {size:,} bytes, over the limit of {limit:,}. Store it elsewhere and "
            "pass a reference, or raise the limit in Settings."
        )


class LedgerUnavailable(EventedAgentError, ConnectionError):
    """Raised when Redis could not be reached in time; the outcome of the call is unknown.

    *retryable* is False where Redis refused, and somebody has to act: the message says how.
    """

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        self.retryable = retryable
        super().__init__(message)


class AccessDenied(EventedAgentError, PermissionError):
    """Raised by `HttpRuns` when the server does not know the caller, or does not let them."""


class LimitReached(EventedAgentError):
    """Raised by `HttpRuns` when the caller has too much open; *retry_after* is in seconds."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class ModelError(EventedAgentError):
    """Raised when a model call failed.

    *retryable* says whether the same call may succeed later, *retry_after* how many seconds the
    provider asked to wait, *status* the HTTP status with which it refused, if it did.
    """

    def __init__(
        self,
        message: str,
        *,
        retryable: bool = False,
        retry_after: float | None = None,
        status: int | None = None,
    ) -> None:
        self.retryable = retryable
        self.retry_after = retry_after
        self.status = status
        super().__init__(message)


class InvalidCursor(EventedAgentError, ValueError):
    """Raised for what is no place in a run's chunks, such as a ``Last-Event-ID`` of elsewhere."""

    def __init__(self, cursor: object) -> None:
        super().__init__(
            f"{cursor!r} is no cursor. Pass chunk.cursor, a Last-Event-ID, or the last seq seen."
        )


class AuthenticationFailed(ModelError):
    """Raised when a provider does not take the key, or not for this model."""


class ContentFiltered(ModelError):
    """Raised when a provider's filter refused the request, before anything was answered."""


class ContextTooLong(ModelError):
    """Raised when the conversation is longer than the model takes; a `Window` bounds it."""


class HistoryRefused(ModelError):
    """Raised when a provider refused the conversation as it is, and also in a stricter form.

    *message_index* is the message that it named, counted from 0 in its own request; None for none.
    """

    def __init__(self, message: str, *, message_index: int | None = None, **more: Any) -> None:
        self.message_index = message_index
        super().__init__(message, **more)


class QuotaExceeded(ModelError):
    """Raised when the account at the provider is empty, or its budget used up."""


class RateLimited(ModelError):
    """Raised when a provider asks for a wait: *retry_after* seconds, where it says how long."""


class RunError(EventedAgentError):
    """Base of errors about one run."""

    def __init__(self, run_id: str, message: str) -> None:
        self.run_id = run_id
        super().__init__(message)


class RunNotFound(RunError):
    """Raised when no run has that id; *where* says where it was looked for."""

    def __init__(self, run_id: str, where: str | None = None) -> None:
        self.where = where
        looked = f"Looked at {where}. " if where else ""
        super().__init__(
            run_id,
            f"No run {run_id!r}. {looked}Check the id, the Redis URL and the prefix; "
            "a record is kept for 7 days after its run ended, unless configured otherwise.",
        )


class ChildRun(RunError):
    """Raised where a child run was named for what can be done to a whole tree of runs alone."""

    def __init__(self, run_id: str, root: str) -> None:
        self.root = root
        super().__init__(
            run_id,
            f"Run {run_id!r} is a child of run {root!r}: it is aborted, retried, sent messages and "
            f"deleted with that one. Name {root!r}.",
        )


class RunDeleted(RunError):
    """Raised when the run existed and was deleted."""

    def __init__(self, run_id: str) -> None:
        super().__init__(run_id, f"Run {run_id!r} was deleted.")


class RunExpired(RunError):
    """Raised when the run ended so long ago that its chunks are gone; `result` still works."""

    def __init__(self, run_id: str) -> None:
        super().__init__(
            run_id,
            f"The chunks of run {run_id!r} have expired; Runs.result({run_id!r}) still has what "
            "it came to.",
        )


class RunConflict(RunError):
    """Raised when the run id is taken by another run, or a call was decided otherwise before."""

    def __init__(self, run_id: str, message: str | None = None) -> None:
        super().__init__(
            run_id,
            message
            or f"Run {run_id!r} exists with another agent, input or options. Choose a new run_id, "
            f"or observe({run_id!r}) to follow the run that exists.",
        )


class NotSuspended(RunError, ValueError):
    """Raised when no suspended call fits: none is, several are, or the run is over."""

    def __init__(
        self, run_id: str, call: str = "", *, is_over: bool = False, pending: Iterable[str] = ()
    ) -> None:
        named = f"Call {call!r} of run {run_id!r}" if call else f"Run {run_id!r}"
        choices = ", ".join(pending)
        if choices:
            problem = f"has several suspended calls. Pass tool_call_id, one of: {choices}."
        elif is_over:
            problem = "has ended; there is nothing to decide."
        else:
            problem = "is not suspended. get() shows what is pending."
        super().__init__(run_id, f"{named} {problem}")


class NotFailed(RunError, ValueError):
    """Raised when a run that should be tried again has not failed."""

    def __init__(self, run_id: str, status: str) -> None:
        super().__init__(
            run_id,
            f"Run {run_id!r} is {status}; only a failed run is tried again, where it failed.",
        )


class ThreadBusy(RunError):
    """Raised when another run has its turn in the thread, and the caller will not wait."""

    def __init__(self, run_id: str, thread_id: str) -> None:
        self.thread_id = thread_id
        super().__init__(
            run_id,
            f"Thread {thread_id!r} is busy with run {run_id!r}. Wait for it, or choose another "
            "when_busy: 'queue', 'steer', 'interrupt' or 'parallel'.",
        )


class InboxFull(RunError):
    """Raised when so many messages wait for a run that it takes no more for now."""

    def __init__(self, run_id: str) -> None:
        super().__init__(
            run_id,
            f"1,000 messages wait to be answered by run {run_id!r}, and it takes no more for now. "
            "Send this one again later.",
        )


class SuspensionExpired(RunError):
    """Raised when nobody decided in time; the call was declined, or the run has failed."""

    def __init__(self, run_id: str, call: str) -> None:
        super().__init__(run_id, f"The time to decide about call {call!r} of {run_id!r} is over.")


class InvalidDecision(RunError, ValueError):
    """Raised when the data of a decision does not fit what was asked; nothing was written."""


class RunEnded(RunError):
    """Raised when a message comes too late; also the base of the ways to end without finishing.

    Attributes:
        result: The partial result of a run that failed or was aborted; None for a message.
    """

    def __init__(self, run_id: str, message: str, result: Any = None) -> None:
        self.result = result
        super().__init__(run_id, message)


class RunFailed(RunEnded):
    """Raised by `result()` and `generate()` when the run ended with an error."""


class RunAborted(RunEnded):
    """Raised by `result()` and `generate()` when the run was aborted."""
