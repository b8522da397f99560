"""Limits over all runs: how many background calls run at a time.

A place that is not renewed counts as free again, so a worker that died holds none for long.
"""

from collections.abc import Mapping, Sequence

from evented_agent.ledger.keys import Keys
from evented_agent.ledger.script import Call, script


def take(keys: Keys, holder: str, limits: Mapping[str, int], *, ttl_ms: int) -> Call[bool]:
    """Take, or renew, a place in each of *limits* for *ttl_ms*; False where one has none free.

    Then *holder* waits for one, in the order of the calls.
    """
    names = (keys.slots(), *map(keys.slots, limits))
    args: tuple[str | int, ...] = (holder, ttl_ms, *limits.values())
    return Call(script("limits/take_slot"), names, args, bool)


def give(
    keys: Keys, holder: str, limits: Sequence[str], *, most: int, gone: Sequence[str] = ()
) -> Call[Sequence[str]]:
    """Give the places back, and forget who is *gone*; the *most* who have waited longest."""
    names = (keys.slots(), *map(keys.slots, limits))
    args: tuple[str | int, ...] = (holder, most, *gone)
    return Call(
        script("limits/give_slot"), names, args, lambda reply: [holder.decode() for holder in reply]
    )


def held(keys: Keys, limits: Sequence[str]) -> Call[Sequence[int]]:
    """How many places of each of *limits* are taken."""
    names = tuple(map(keys.slots, limits))
    return Call(script("limits/slots"), names, (), lambda reply: [int(count) for count in reply])
