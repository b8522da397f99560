"""A fast OpenAI-compatible model server for benchmarks: ``python -m benchmarks.mock PORT``.

The model's name encodes what it does: ``mock-s4-d1000-t20-g5`` asks for 4 tool calls, one a step,
takes 1000 ms to begin each answer, and at last says 20 words, 5 ms apart.
"""

import asyncio
import json
import re
import sys
from typing import Any

_CODE = re.compile(r"([sdtg])(\d+)")


def behaviour(model: str) -> dict[str, int]:
    codes = {"s": 0, "d": 0, "t": 20, "g": 0}
    return codes | {key: int(n) for key, n in _CODE.findall(model.partition("-")[2])}


class Exchange:
    """One request and its streamed answer."""

    def __init__(self, request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        self._request = request
        self._writer = writer
        self._how = behaviour(request["model"])
        self._head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1}

    async def answer(self) -> None:
        await asyncio.sleep(self._how["d"] / 1000)
        self._writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        step = sum(message["role"] == "tool" for message in self._request["messages"])
        if step < self._how["s"]:
            self._call(step)
        else:
            await self._say()
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        self._send({**self._head, "model": "mock", "choices": [], "usage": usage})
        self._write(b"data: [DONE]\n\n")
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()

    def _call(self, step: int) -> None:
        function = {"name": "work", "arguments": json.dumps({"n": step})}
        call = {"index": 0, "id": f"call_{step}", "type": "function", "function": function}
        self._delta({"role": "assistant", "tool_calls": [call]})
        self._delta({}, "tool_calls")

    async def _say(self) -> None:
        for n in range(self._how["t"]):
            self._delta({"content": f"w{n} "})
            if self._how["g"]:
                await self._writer.drain()
                await asyncio.sleep(self._how["g"] / 1000)
            elif n % 64 == 63:
                await self._writer.drain()
        self._delta({}, "stop")

    def _delta(self, delta: dict[str, Any], reason: str | None = None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        self._send({**self._head, "model": "mock", "choices": [choice]})

    def _send(self, event: dict[str, Any]) -> None:
        self._write(b"data: " + json.dumps(event).encode() + b"\n\n")

    def _write(self, data: bytes) -> None:
        self._writer.write(b"%x\r\n%s\r\n" % (len(data), data))


calls = 0


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    global calls  # noqa: PLW0603 - one counter for the whole process
    try:
        while line := await reader.readline():
            length = 0
            while (header := await reader.readline()) not in (b"\r\n", b""):
                if header.lower().startswith(b"content-length:"):
                    length = int(header.split(b":")[1])
            body = await reader.readexactly(length)
            if line.startswith(b"GET"):
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%d" % (len(str(calls)), calls)
                )
                continue
            calls += 1
            await Exchange(json.loads(body), writer).answer()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(
        serve, "127.0.0.1", int(sys.argv[1]), backlog=1024, limit=2**22
    )
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
