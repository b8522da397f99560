"""How chunks are gathered, and what closes the parts of an attempt that dies."""

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest

from evented_agent.chunks import (
    PartPayload,
    TextDelta,
    TextEnd,
    TextStart,
    ToolCallInputStart,
    ToolInputPayload,
    ToolOutput,
    ToolOutputPayload,
)
from evented_agent.errors import LedgerUnavailable, TooLarge
from evented_agent.execution.chunk_writer import ChunkWriter
from evented_agent.execution.lease import Lease, boottime
from evented_agent.execution.task_ledger import TaskLedger
from evented_agent.ledger.records import Fenced, Task

TEXT_START = '["text-start","1:model",{"id":"p"}]'
TEXT_END = '["text-end","1:model",{"id":"p"}]'
CALL_END = '["tool-call-input-streaming-end","1:model",{"toolCallId":"c"}]'

Append = tuple[list[str], int, list[str] | None]


class Appends:
    """Stands for the ledger, and keeps what is appended."""

    def __init__(self) -> None:
        self.calls: list[Append] = []

    async def append(
        self, chunks: Sequence[str], *, sent: int, closing: Sequence[str] | None
    ) -> bool:
        self.calls.append((list(chunks), sent, None if closing is None else list(closing)))
        return False


def writer(appends: Appends) -> ChunkWriter:
    task = Task("r", "1:model", "model", 1, "running", 1, "token")
    lease = Lease(task, seconds=3, since=boottime(), on_stop=lambda: None)
    ledger = cast("TaskLedger", appends)
    return ChunkWriter(ledger, lease, max_bytes=100, on_signal=lambda _: None)


async def until_idle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_part_is_registered_with_what_closes_it_until_it_ends() -> None:
    async def write() -> list[Append]:
        appends = Appends()
        output = writer(appends)
        output.put(TextStart, PartPayload(id="p"))
        await until_idle()
        output.put_delta(TextDelta, "p", "Hi")
        await until_idle()
        output.put(TextEnd, PartPayload(id="p"))
        await until_idle()
        return appends.calls

    assert asyncio.run(write()) == [
        ([TEXT_START], 0, [TEXT_END]),
        (['["text-delta","1:model",{"id":"p","text":"Hi"}]'], 1, None),
        ([TEXT_END], 2, []),
    ]


def test_open_parts_are_closed_in_the_order_in_which_they_were_opened() -> None:
    async def write() -> list[str]:
        output = writer(Appends())
        output.freeze()
        output.put(TextStart, PartPayload(id="p"))
        output.put(ToolCallInputStart, ToolInputPayload(tool_call_id="c", tool_name="t"))
        output.close_all()
        return await output.drain()

    assert asyncio.run(write())[2:] == [TEXT_END, CALL_END]


def test_a_chunk_over_the_limit_is_refused_by_its_name() -> None:
    async def write() -> None:
        payload = ToolOutputPayload(tool_call_id="c", tool_name="t", output="a" * 100)
        with pytest.raises(TooLarge, match="tool-output chunk"):
            writer(Appends()).put(ToolOutput, payload)

    asyncio.run(write())


def test_what_utf_8_cannot_encode_is_refused_before_it_is_gathered() -> None:
    async def write() -> list[Append]:
        appends = Appends()
        output = writer(appends)
        with pytest.raises(ValueError, match="surrogates"):
            output.put_delta(TextDelta, "p", "\ud800")
        output.put_delta(TextDelta, "p", "é")
        await until_idle()
        return appends.calls

    assert asyncio.run(write()) == [(['["text-delta","1:model",{"id":"p","text":"é"}]'], 0, None)]


class Refusing(Appends):
    """A ledger that takes the first append only."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    async def append(
        self, chunks: Sequence[str], *, sent: int, closing: Sequence[str] | None
    ) -> bool:
        if self.calls:
            raise self.error
        return await super().append(chunks, sent=sent, closing=closing)


async def refused(error: Exception) -> ChunkWriter:
    """A writer whose first part is in the topic, and the second is not."""
    output = writer(Refusing(error))
    output.put(TextStart, PartPayload(id="p"))
    await until_idle()
    output.put(ToolCallInputStart, ToolInputPayload(tool_call_id="c", tool_name="t"))
    await until_idle()
    return output


def test_an_output_that_failed_has_room_for_the_end_of_what_readers_saw() -> None:
    async def write() -> tuple[int, list[str]]:
        output = await refused(ValueError("odd"))
        with pytest.raises(ValueError, match="odd"):
            await output.drain()
        await output.recover()
        output.close_all()
        return output.sent, await output.drain()

    assert asyncio.run(write()) == (1, [TEXT_END])


def test_an_output_that_works_keeps_what_it_has() -> None:
    async def write() -> list[str]:
        output = writer(Appends())
        output.freeze()
        output.put(TextStart, PartPayload(id="p"))
        await output.recover()
        return await output.drain()

    assert asyncio.run(write()) == [TEXT_START]


@pytest.mark.parametrize("error", [Fenced("other"), LedgerUnavailable("away")])
def test_an_output_that_nothing_can_be_written_to_stays_failed(error: Exception) -> None:
    async def write() -> None:
        output = await refused(error)
        with pytest.raises(type(error)):
            await output.recover()

    asyncio.run(write())
