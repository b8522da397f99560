"""Tries every order of events of a small model, breadth first, and tells the shortest stories."""

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import TypeVar

World = TypeVar("World", bound=Hashable)


@dataclass(frozen=True)
class Found:
    """What exploring came to: counter-examples as lists of sentences, the shortest of each."""

    worlds: int
    counter_examples: dict[str, list[str]]


def search(
    first: World,
    look: Callable[[World], tuple[Iterable[str], Iterable[tuple[str, World]]]],
    *,
    until_broken: bool = False,
) -> Found:
    """Go through all worlds, or those up to the first that is broken.

    *look* says what is broken in a world, by name, and what may follow, each with its sentence.
    """
    came_from: dict[World, tuple[World, str] | None] = {first: None}
    found: dict[str, list[str]] = {}
    waiting = deque([first])
    while waiting and not (until_broken and found):
        world = waiting.popleft()
        problems, following = look(world)
        for broken in problems:
            found.setdefault(broken, _story(came_from, world))
        for sentence, after in following:
            if after not in came_from:
                came_from[after] = (world, sentence)
                waiting.append(after)
    return Found(len(came_from), found)


def _story(came_from: dict[World, tuple[World, str] | None], world: World) -> list[str]:
    sentences = []
    while (step := came_from[world]) is not None:
        world, sentence = step
        sentences.append(sentence)
    return sentences[::-1]


def tell(name: str, found: Found) -> None:
    """Print what was found under a name."""
    print(f"{name:<40}{found.worlds:>9,} worlds, {len(found.counter_examples)} broken")
    for broken, story in found.counter_examples.items():
        print(f"    {broken}:")
        print("\n".join(f"        {sentence}" for sentence in story))
