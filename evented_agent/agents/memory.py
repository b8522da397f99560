"""What an agent remembers of a thread: the protocol, and the window of it that a model sees."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import pydantic_core

from evented_agent.errors import DeclarationError
from evented_agent.models.messages import Message, UserMessage, dump_messages

#: Characters of a token, roughly, in most languages and models.
TOKEN_CHARACTERS = 4


@dataclass(frozen=True, slots=True)
class Thread:
    """A conversation that an agent remembers from run to run.

    Attributes:
        id: The caller's own id for it: the ``thread_id`` of its runs.
        resource_id: Who owns it, mostly a user: the same *id* under another one is another thread.
    """

    id: str
    resource_id: str | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """How much of a conversation a model sees: its newest part.

    It begins with a user's message, so that no call is seen without its result.

    Attributes:
        messages: At most so many messages.
        tokens: At most about so many tokens, four characters each; None for no such limit.
    """

    messages: int = 100
    tokens: int | None = None

    def __post_init__(self) -> None:
        for name in ("messages", "tokens"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 0):
                raise DeclarationError(f"Window({name}={value!r}): pass a whole number from 0 up.")

    def of(self, messages: Sequence[Message]) -> list[Message]:
        """The newest part of *messages* that fits."""
        start = max(0, len(messages) - self.messages)
        if self.tokens is not None:
            left = self.tokens * TOKEN_CHARACTERS
            for at in range(len(messages) - 1, start - 1, -1):
                left -= len(pydantic_core.to_json(dump_messages([messages[at]])))
                if left < 0:
                    start = at + 1
                    break
        while start < len(messages) and not isinstance(messages[start], UserMessage):
            start += 1
        return list(messages[start:])


class Memory(Protocol):
    """Where an agent's threads are kept, instead of in the deployment's Redis.

    Its methods are called in workers, on their event loop, perhaps more than once for a run.
    """

    async def load(self, thread: Thread, window: Window) -> Sequence[Message]:
        """The newest messages of *thread*, oldest first; at least what *window* lets through."""
        ...

    async def save(self, thread: Thread, run_id: str, messages: Sequence[Message]) -> None:
        """Keep what *run_id* added to *thread*; called again, it takes the place of the first."""
        ...
