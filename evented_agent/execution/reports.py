"""What is told of attempts beside the record: counters and spans."""

from evented_agent.execution.attempt import Attempt, Done, Spawned, Suspended
from evented_agent.execution.counts import Counts
from evented_agent.ledger.records import Claim, Committed
from evented_agent.models.cost import COST_COUNTS

#: The tokens that are counted; of one turn, no more than this is believed.
_TOKENS = ("input_tokens", "output_tokens", "reasoning_tokens", "cached_input_tokens")
_MOST_TOKENS = 10**9

#: What an attempt can come to.
AttemptResult = Done | Suspended | Spawned


def trace_commit(attempt: Attempt, result: AttemptResult, committed: Committed) -> None:
    """Say in the attempt's span what it has come to."""
    trace, task = attempt.trace, attempt.task
    if isinstance(result, Spawned):
        if committed.aborted:
            trace.failed("aborted", "The run is being aborted.")
        return
    if isinstance(result, Suspended):
        trace.asks_person(task.call or "", task.tool or "", result.kind)
        return
    if result.failure is not None:
        trace.failed(result.failure)
    for new in () if committed.aborted else result.work.next:
        if new.ask is not None:
            trace.asks_person(new.call or "", new.tool or "", "approval")
    if (finish := result.work.finish) is not None and not committed.aborted:
        trace.ended_run(finish.status, finish.reason, result.failure)


def count_claim(counts: Counts, claim: Claim) -> None:
    """Count how long the task was queued, and how long nobody worked on it after a crash."""
    task = claim.task
    if task.generation == 1:
        waited = max(0, task.started - task.queued_at)
        counts.add("queue_waits", claim.agent)
        counts.add("queue_wait_ms", claim.agent, waited)
        counts.peak("queue_wait_peak_ms", claim.agent, waited)
        if task.kind == "model" and task.step == 1 and not task.branch:
            counts.add("runs_started", claim.agent)
    elif task.lost_at is not None:
        counts.add("recoveries", claim.agent)
        counts.add("recovery_ms", claim.agent, max(0, task.started - task.lost_at))


def count_turn(attempt: Attempt, result: AttemptResult) -> None:
    """Count a step whose turn is committed, and its tokens."""
    if attempt.task.kind != "model" or not isinstance(result, Done) or not result.work.entries:
        return
    attempt.count("steps")
    for name in _TOKENS:
        if tokens := result.work.usage.get(name, 0):
            attempt.count(name, max(0, min(tokens, _MOST_TOKENS)))
    for name in COST_COUNTS:
        if count := result.work.usage.get(name, 0):
            attempt.count(name, count)
