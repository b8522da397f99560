"""A model server that plays the ground truth: ``python -m tests.workload.player PORT PAUSE``.

It keeps no state: the last user message names the dialog and the turn, and the results since tell
how far the turn is.  So any attempt, on any worker, is answered alike.
"""

import asyncio
import re
import sys

from benchmarks.mock import Exchange, serve
from tests.workload.dialogs import dialogs

HEADING = "[{dialog} turn {turn}]"
_HEADING = re.compile(r"\[(\S+) turn (\d+)\]")


#: Seconds that a word takes.
_pause = 0.0


def closing_words(dialog: str, turn: int) -> str:
    """What the player says when all calls of a turn are made."""
    return f"Turn {turn} of {dialog} is done, and nothing is left to do but to wait. "


class Play(Exchange):
    """Answers with the next call of the turn, or with words when there is none left."""

    async def say(self) -> None:
        messages = self.request["messages"]
        last = max(n for n, message in enumerate(messages) if message["role"] == "user")
        found = _HEADING.match(messages[last]["content"])
        assert found is not None
        dialog, turn = found[1], int(found[2])
        done = sum(message["role"] == "tool" for message in messages[last:])
        calls = dialogs()[dialog].turns[turn]
        if done < len(calls):
            self.call(f"call_{turn}_{done}", calls[done].name, calls[done].arguments)
        else:
            for word in closing_words(dialog, turn).split():
                self.delta({"content": f"{word} "})
                if _pause:
                    await self._writer.drain()
                    await asyncio.sleep(_pause)
            self.delta({}, "stop")


if __name__ == "__main__":
    dialogs()
    _pause = float(sys.argv[2])
    asyncio.run(serve(int(sys.argv[1]), Play))
