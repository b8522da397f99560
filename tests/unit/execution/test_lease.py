"""Leases: who may still work, and what can stop it."""

from evented_agent.execution.lease import Lease, Stop, boottime
from evented_agent.ledger.records import Task


def lease(since: float = 0.0) -> tuple[Lease, list[str]]:
    """A fresh lease of 3 s, taken *since* seconds ago, and what stopped it."""
    stops: list[str] = []
    task = Task("r", "1:model", "model", 1, "running", 1, "token")
    held = Lease(task, seconds=3, since=boottime() - since, on_stop=lambda: stops.append("stopped"))
    return held, stops


def test_a_lease_is_valid_until_somebody_else_may_have_taken_the_task() -> None:
    assert lease()[0].is_valid
    assert not lease(since=3.1)[0].is_valid


def test_renewing_counts_from_when_it_was_asked_for() -> None:
    held, _ = lease(since=10)
    held.renewed(boottime())

    assert held.is_valid


def test_an_attempt_is_stopped_once() -> None:
    held, stops = lease()
    held.stop("aborted")
    held.stop("aborted")

    assert (held.stopped, len(stops)) == ("aborted", 1)


def test_a_fenced_attempt_is_over_whatever_comes_later() -> None:
    held, stops = lease()
    held.stop("fenced")
    held.stop("released")

    assert (held.stopped, held.is_valid, len(stops)) == ("fenced", False, 1)


def test_a_heartbeat_that_crosses_the_commit_stops_nothing() -> None:
    late: tuple[Stop, ...] = ("fenced", "aborted")
    for reason in late:
        held, stops = lease()
        held.seal()
        held.stop(reason)
        assert stops == []


def test_a_worker_that_stops_takes_sealed_attempts_along() -> None:
    held, stops = lease()
    held.seal()
    held.stop("released")

    assert stops == ["stopped"]


def test_a_lease_is_not_renewed_past_the_tasks_own_time() -> None:
    held, _ = lease()
    held.due = boottime() - 1

    assert not held.is_renewable
