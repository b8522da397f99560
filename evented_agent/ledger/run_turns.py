"""How long a run keeps its turn in a thread.  Does no I/O."""

from evented_agent.ledger.records import ENDED, Record

#: How long (ms) a run that has ended keeps its turn in its thread, for what follows its end.
TURN_MS = 60_000


def turn_ends_in(record: Record) -> int | None:
    """Milliseconds that a run keeps its turn in a thread at most; None while it goes on.

    0 where it has ended and told everybody. What should follow its end may never run, as when its
    agent has left the code: that holds the next run for a minute only.
    """
    if is_done(record):
        return 0
    ended = record.fields.get("ended")
    if record.fields["status"] not in ENDED or ended is None:
        return None
    return max(0, int(ended) + TURN_MS - record.now)


def is_done(record: Record) -> bool:
    """Whether the run has ended, and everybody has been told."""
    return record.fields["status"] in ENDED and not record.tasks
