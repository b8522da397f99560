"""What a reader has understood so far: folds chunks into text.  Does not import Redis.

A `step-reset` drops exactly what the named task wrote from the named number on, a `topic-reset`
everything; so whoever follows a run, from whenever, ends up with the same text.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from evented_agent.chunks.base import Chunk
from evented_agent.chunks.run import StepReset, TopicReset
from evented_agent.chunks.text import TextDelta, TextStart

#: Between two parts of the text (an announcement and, steps later, the answer).
PARAGRAPH = "\n\n"


class TextUpdate(NamedTuple):
    """A change of the text: what was added, the whole of it, and whether it began anew.

    Attributes:
        delta: What was added at the end; empty where text was withdrawn.
        snapshot: The whole text as it is now.
        reset: Whether *snapshot* is not the old text plus *delta*: show it instead of the old one.
    """

    delta: str
    snapshot: str
    reset: bool


@dataclass(slots=True)
class _Part:
    task: str | None
    seq: int
    pieces: list[str] = field(default_factory=list)


class Transcript:
    """The text of a run, as far as it was read: feed it all chunks of a run, in their order."""

    def __init__(self) -> None:
        self._parts: dict[str, _Part] = {}
        self._text = ""

    @property
    def text(self) -> str:
        """What the agent has said so far, paragraphs kept apart."""
        return self._text

    def feed(self, chunk: Chunk) -> TextUpdate | None:
        """Take one chunk in; the change of the text, or None."""
        match chunk:
            case TextDelta():
                return self._add(chunk)
            case TextStart():
                self._parts[chunk.payload.id] = _Part(chunk.task, chunk.seq)
            case StepReset():
                return self._drop(
                    lambda part: part.task == chunk.task and part.seq >= chunk.payload.from_seq
                )
            case TopicReset():
                return self._drop(lambda _: True)
        return None

    def _add(self, chunk: TextDelta) -> TextUpdate | None:
        part = self._parts.setdefault(chunk.payload.id, _Part(chunk.task, chunk.seq))
        delta = chunk.payload.text
        if not delta:
            return None
        if not part.pieces and self._text:
            delta = PARAGRAPH + delta
        part.pieces.append(chunk.payload.text)
        self._text += delta
        return TextUpdate(delta, self._text, reset=False)

    def _drop(self, is_dropped: Callable[[_Part], bool]) -> TextUpdate | None:
        self._parts = {id_: part for id_, part in self._parts.items() if not is_dropped(part)}
        texts = ["".join(part.pieces) for part in self._parts.values()]
        text = PARAGRAPH.join(text for text in texts if text)
        if text == self._text:
            return None
        self._text = text
        return TextUpdate("", text, reset=True)
