"""Limits over all runs: how many background calls run at a time.

A place that is not renewed counts as free again, so a worker that died holds none for long.
"""

from collections.abc import Mapping, Sequence

from evented_agent.ledger.keys import Keys
from evented_agent.ledger.script import Command, script


def take_slot(keys: Keys, holder: str, limits: Mapping[str, int], *, ttl_ms: int) -> Command[bool]:
    """Take, or renew, a place in each of *limits* for *ttl_ms*; False where one has none free.

    Then *holder* waits for one, in the order of the calls.
    """
    names = (keys.slots(), *map(keys.slots, limits))
    args: tuple[str | int, ...] = (holder, ttl_ms, *limits.values())
    return Command(script("limits/take_slot"), names, args, bool)


def release_slot(
    keys: Keys, holder: str, limits: Sequence[str], *, most: int, gone: Sequence[str] = ()
) -> Command[Sequence[str]]:
    """Give the places back, and forget who is *gone*; the *most* who have waited longest."""
    names = (keys.slots(), *map(keys.slots, limits))
    args: tuple[str | int, ...] = (holder, most, *gone)
    return Command(
        script("limits/release_slot"),
        names,
        args,
        lambda reply: [holder.decode() for holder in reply],
    )


def count_slots(keys: Keys, limits: Sequence[str]) -> Command[Sequence[int]]:
    """How many places of each of *limits* are taken."""
    names = tuple(map(keys.slots, limits))
    return Command(script("limits/slots"), names, (), lambda reply: [int(count) for count in reply])
