"""What a deployment may choose, with the defaults and their reasons.  Knows no environment."""

from dataclasses import dataclass
from datetime import timedelta

from evented_agent.errors import ConfigurationError

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of one `Runs`; all processes of a deployment use the same *prefix* and *shards*.

    Attributes:
        prefix: Put before every Redis key.
        shards: Over how many cluster slots runs are spread; stored by the first process.
        queue: The Celery queue of agent tasks, unless a run names another.
        lease: How long an attempt lives without a sign of its worker. Recovery takes this long.
        shutdown_grace: How long attempts may go on after SIGTERM before they are handed back.
        abort_grace: How long an attempt may ignore an abort before it is cut off.
        topic_ttl: How long chunks are kept after a run ended.
        record_ttl: How long the record and the result are kept after a run ended.
        thread_ttl: How long a conversation is kept after its last run.
        background_concurrency: How many background calls run at a time, of all agents.
        max_bytes: The most that an input, a tool's result, a chunk or a model's turn may have.
        allow_eviction: Start although Redis may evict keys, which loses runs.
    """

    prefix: str = "ea"
    shards: int = 1
    queue: str = "agents"
    lease: timedelta = timedelta(seconds=3)
    shutdown_grace: timedelta = timedelta(seconds=10)
    abort_grace: timedelta = timedelta(seconds=5)
    topic_ttl: timedelta = timedelta(days=1)
    record_ttl: timedelta = timedelta(days=7)
    thread_ttl: timedelta = timedelta(days=90)
    background_concurrency: int = 10
    max_bytes: int = MIB
    allow_eviction: bool = False

    def __post_init__(self) -> None:
        if self.shards < 1:
            raise ConfigurationError(f"shards={self.shards!r}: there is at least one shard.")
        if self.lease < timedelta(seconds=1):
            raise ConfigurationError(
                f"lease={self.lease!r}: leases are renewed each third of it; take 1 s or more."
            )
        for name in ("prefix", "queue"):
            value = getattr(self, name)
            if not value or any(sign in value for sign in "{} \n"):
                raise ConfigurationError(f"{name}={value!r}: use letters, digits, '-', '_', ':'.")

    @property
    def lease_ms(self) -> int:
        return milliseconds(self.lease)


def milliseconds(span: timedelta) -> int:
    """Return *span* in whole milliseconds, as Redis wants it."""
    return int(span.total_seconds() * 1000)
