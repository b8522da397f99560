"""What a deployment may choose, with the defaults and their reasons.  Reads no environment."""

from dataclasses import dataclass
from datetime import timedelta

from evented_agent.durations import Duration, as_seconds, in_seconds
from evented_agent.errors import ConfigurationError

MIB = 1024 * 1024
_LEAST = {"shards": 1, "background_concurrency": 0, "max_bytes": 1}
_SPANS = (
    *("lease", "shutdown_grace", "abort_grace", "topic_ttl", "record_ttl", "thread_ttl"),
    "retry_for",
)


@dataclass(frozen=True, slots=True)
class Settings:
    """What all processes of a deployment agree on: where runs are kept, and for how long.

    Give the same to callers and to workers, `retry_for` excepted. Spans of time are seconds, or a
    `timedelta`.

    Attributes:
        prefix: Put before every Redis key: letters, digits, ``-``, ``_`` and ``:``.
        shards: Over how many slots of a Redis cluster runs are spread, 1 or more; stored by the
            first process, and the same ever after.
        queue: The Celery queue of agent tasks, unless a run names another.
        lease: How long an attempt lives without a sign of its worker, 1 s or more. A run whose
            worker dies goes on after this long.
        shutdown_grace: How long attempts may go on after SIGTERM before they are handed back.
        abort_grace: How long an attempt may ignore an abort before it is cut off.
        topic_ttl: How long chunks are kept after a run ended.
        record_ttl: How long the record and the result are kept after a run ended.
        thread_ttl: How long a conversation is kept after its last run.
        retry_for: How long a call such as `stream()` or `get()` keeps trying while Redis cannot be
            reached, or answers "not now"; then it raises `LedgerUnavailable`. What workers write
            for a run waits longer by itself.
        background_concurrency: How many background calls run at a time, of all agents.
        max_bytes: The most bytes that an input, a tool's result, a chunk or a model's turn may
            have; 1 MiB.
        allow_eviction: Start although Redis may evict keys, which loses runs.
        tracing: Whether runs are traced and measured in processes where OpenTelemetry is
            configured; elsewhere it changes nothing.
        pricing: Whether model calls are priced in workers where the extra ``cost`` is installed;
            elsewhere it changes nothing.
    """

    prefix: str = "ea"
    shards: int = 1
    queue: str = "agents"
    lease: Duration = timedelta(seconds=3)
    shutdown_grace: Duration = timedelta(seconds=10)
    abort_grace: Duration = timedelta(seconds=5)
    topic_ttl: Duration = timedelta(days=1)
    record_ttl: Duration = timedelta(days=7)
    thread_ttl: Duration = timedelta(days=90)
    retry_for: Duration = timedelta(seconds=2)
    background_concurrency: int = 10
    max_bytes: int = MIB
    allow_eviction: bool = False
    tracing: bool = True
    pricing: bool = True

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            count = getattr(self, name)
            if type(count) is not int or count < least:
                raise ConfigurationError(f"{name}={count!r}: pass a whole number, {least} or more.")
        for name in _SPANS:
            span = as_seconds(given := getattr(self, name))
            if span is None:
                raise ConfigurationError(
                    f"{name}={given!r}: pass seconds from 0 up, or a timedelta of such length."
                )
            # One form, so that equal settings are equal however they were written.
            object.__setattr__(self, name, timedelta(seconds=span))
        if in_seconds(self.lease) < 1:
            raise ConfigurationError(
                f"lease={self.lease!r}: leases are renewed each third of it; take 1 s or more."
            )
        for name in ("prefix", "queue"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value or any(sign in value for sign in "{} \n"):
                raise ConfigurationError(f"{name}={value!r}: use letters, digits, '-', '_', ':'.")

    @property
    def lease_ms(self) -> int:
        """The lease in milliseconds, as the scripts want it."""
        return milliseconds(self.lease)


def milliseconds(span: Duration) -> int:
    """Return *span* in whole milliseconds, as Redis wants it."""
    return int(in_seconds(span) * 1000)
