"""A fast OpenAI-compatible model server for benchmarks: ``python -m benchmarks.mock PORT``.

The model's name encodes what it does: ``mock-s4-d1000-t20-g5`` asks for 4 tool calls, one a step,
takes 1000 ms to begin each answer, and at last says 20 words, 5 ms apart.  ``GET /counts`` tells
what was asked of it so far, as JSON.
"""

import asyncio
import json
import re
import sys
from dataclasses import asdict, dataclass
from typing import Any

_CODE = re.compile(r"([sdtg])(\d+)")


def behaviour(model: str) -> dict[str, int]:
    codes = {"s": 0, "d": 0, "t": 20, "g": 0}
    return codes | {key: int(n) for key, n in _CODE.findall(model.partition("-")[2])}


@dataclass(slots=True)
class Counts:
    """What a provider would charge for: calls, and words that went out."""

    calls: int = 0
    words: int = 0


class Exchange:
    """One request and its streamed answer; a subclass may say something else."""

    def __init__(
        self, request: dict[str, Any], writer: asyncio.StreamWriter, counts: Counts
    ) -> None:
        self.request = request
        self._writer = writer
        self._counts = counts
        self._head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1}

    async def answer(self) -> None:
        self._counts.calls += 1
        self._writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        await self.say()
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        self._send({**self._head, "model": "mock", "choices": [], "usage": usage})
        self._write(b"data: [DONE]\n\n")
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()

    async def say(self) -> None:
        how = behaviour(self.request["model"])
        await asyncio.sleep(how["d"] / 1000)
        step = sum(message["role"] == "tool" for message in self.request["messages"])
        if step < how["s"]:
            self.call(f"call_{step}", "work", {"n": step})
            return
        for n in range(how["t"]):
            self.delta({"content": f"w{n} "})
            self._counts.words += 1
            if how["g"]:
                await self._writer.drain()
                await asyncio.sleep(how["g"] / 1000)
            elif n % 64 == 63:
                await self._writer.drain()
        self.delta({}, "stop")

    def call(self, id_: str, name: str, arguments: dict[str, Any]) -> None:
        """Ask for one tool call and end the answer."""
        function = {"name": name, "arguments": json.dumps(arguments)}
        call = {"index": 0, "id": id_, "type": "function", "function": function}
        self.delta({"role": "assistant", "tool_calls": [call]})
        self.delta({}, "tool_calls")

    def delta(self, delta: dict[str, Any], reason: str | None = None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        self._send({**self._head, "model": "mock", "choices": [choice]})

    def _send(self, event: dict[str, Any]) -> None:
        self._write(b"data: " + json.dumps(event).encode() + b"\n\n")

    def _write(self, data: bytes) -> None:
        self._writer.write(b"%x\r\n%s\r\n" % (len(data), data))


async def converse(
    exchange: type[Exchange],
    counts: Counts,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    """Answer the requests of one connection."""
    try:
        while line := await reader.readline():
            length = 0
            while (header := await reader.readline()) not in (b"\r\n", b""):
                if header.lower().startswith(b"content-length:"):
                    length = int(header.split(b":")[1])
            body = await reader.readexactly(length)
            if line.startswith(b"GET "):
                told = json.dumps(asdict(counts)).encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(told) + told)
                await writer.drain()
            else:
                await exchange(json.loads(body), writer, counts).answer()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def serve(port: int, exchange: type[Exchange] = Exchange) -> None:
    """Serve on a loopback port until the process ends."""
    counts = Counts()
    server = await asyncio.start_server(
        lambda reader, writer: converse(exchange, counts, reader, writer),
        "127.0.0.1",
        port,
        backlog=1024,
        limit=2**22,
    )
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
