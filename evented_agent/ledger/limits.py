"""Limits over all runs: how many background calls run at a time.

A slot that is not renewed counts as free again, so a worker that died holds none for long.
"""

from collections.abc import Mapping, Sequence

from evented_agent.ledger.keys import Keys
from evented_agent.ledger.script import Command, command


def take_slot(keys: Keys, holder: str, limits: Mapping[str, int], *, ttl_ms: int) -> Command[bool]:
    """Take, or renew, a slot of each of *limits* for *ttl_ms*; False where one has none free.

    Then *holder* waits for one, in the order of the calls.
    """
    names = (keys.slots(), *map(keys.slots, limits))
    most = tuple(limits.values())
    return command("limits/take_slot", names, bool, holder=holder, ttl_ms=ttl_ms, rest=most)


def release_slot(
    keys: Keys, holder: str, limits: Sequence[str], *, most: int, gone: Sequence[str] = ()
) -> Command[Sequence[str]]:
    """Give the slots back, and forget who is *gone*.

    Returns the *most* who have waited longest.
    """
    names = (keys.slots(), *map(keys.slots, limits))
    return command(
        "limits/release_slot",
        names,
        lambda reply: [holder.decode() for holder in reply],
        holder=holder,
        most=most,
        rest=gone,
    )


def count_slots(keys: Keys, limits: Sequence[str]) -> Command[Sequence[int]]:
    """Return how many slots of each of *limits* are taken."""
    names = tuple(map(keys.slots, limits))
    return command("limits/slots", names, lambda reply: [int(count) for count in reply])
