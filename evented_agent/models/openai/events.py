"""The events of a stream as the SDK reads them, and as servers send them."""

import asyncio
import codecs
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import openai

#: A complete answer is not held up for long by a server that does not end its stream, in seconds.
TAIL_SECONDS = 1.0


class _Decoder:
    """The SDK's decoder, given a stream as most servers send it."""

    def __init__(self, decoder: Any) -> None:
        self._decoder = decoder

    def aiter_bytes(self, pieces: AsyncIterator[bytes]) -> Any:
        return self._decoder.aiter_bytes(_tidied(pieces))


async def _tidied(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """A body without a byte order mark, which hides its first event; its last one is ended."""
    head: bytes | None = b""
    async for piece in pieces:
        if head is None:
            yield piece
            continue
        head += piece
        if len(head) >= len(codecs.BOM_UTF8):
            yield head.removeprefix(codecs.BOM_UTF8)
            head = None
    yield (head or b"") + b"\n\n"


class Events(openai.AsyncStream[Any]):
    """The events of a stream as JSON: empty ones are passed over, and its last word is heard."""

    said_done = False

    async def __stream__(self) -> AsyncIterator[Any]:
        self._decoder: Any = _Decoder(self._decoder)
        events = self._iter_events()
        try:
            async for event in events:
                if event.data.startswith("[DONE]"):
                    self.said_done = True
                    # To its end, so that the connection can be used again.
                    with contextlib.suppress(TimeoutError, openai.APIError):
                        async with asyncio.timeout(TAIL_SECONDS):
                            async for _ in events:
                                pass
                    break
                if not event.data.strip():
                    continue
                yield _failure_in(event.data) if event.event == "error" else event.json()
        finally:
            await self.response.aclose()


def object_in(text: str) -> dict[str, Any]:
    """The object that a text is as JSON; an empty one for all else."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {}


def _failure_in(data: str) -> dict[str, Any]:
    """What an event of the type "error" says, whatever its form, under that name."""
    said = object_in(data)
    return said if said.get("error") else {"error": said or data}
