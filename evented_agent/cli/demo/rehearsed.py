"""A model server for the demo: streams the Chat Completions API over real HTTP, on loopback.

``python -m evented_agent.cli.demo.rehearsed PORTFILE`` writes its port into that file
once it listens.  Speaks HTTP and the API's form; the answers come from the rehearsal.
"""

import asyncio
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from evented_agent.cli.demo.processes import end_with_parent
from evented_agent.cli.demo.rehearsal import RehearsedReply, reply_to

#: Seconds between two words.
PAUSE = 0.025
PATH = "/v1/chat/completions"


class _Request(NamedTuple):
    method: str
    path: str
    body: bytes


async def serve_rehearsed(port_file: Path) -> None:
    """Serve until cancelled; the port is in *port_file* once there is an answer."""
    server = await asyncio.start_server(_converse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    # Whole or not at all: the demo waits for this file.
    draft = port_file.with_suffix(".draft")
    draft.write_text(str(port))
    draft.rename(port_file)
    async with server:
        await server.serve_forever()


async def _converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while (request := await _read(reader)) is not None:
            await _answer(writer, request)
    except (ConnectionError, asyncio.IncompleteReadError):
        pass  # A killed worker hangs up in the middle of a sentence.
    finally:
        writer.close()


async def _read(reader: asyncio.StreamReader) -> _Request | None:
    line = (await reader.readline()).decode("latin-1").split()
    if len(line) < 2:
        return None
    length = 0
    while header := (await reader.readline()).decode("latin-1").strip():
        name, _, value = header.partition(":")
        if name.lower() == "content-length":
            length = int(value)
    return _Request(line[0], line[1], await reader.readexactly(length))


async def _answer(writer: asyncio.StreamWriter, request: _Request) -> None:
    if (request.method, request.path) != ("POST", PATH):
        return await _refuse(writer, "404 Not Found", f"There is only POST {PATH}.")
    try:
        asked = json.loads(request.body)
        reply = reply_to(asked["messages"])
    except (KeyError, TypeError, ValueError) as error:
        return await _refuse(writer, "400 Bad Request", f"The request cannot be read: {error!r}")
    if not asked.get("stream"):
        return await _refuse(writer, "400 Bad Request", "Only streams are rehearsed.")
    await _stream(writer, reply, asked)
    return None


async def _stream(
    writer: asyncio.StreamWriter, reply: RehearsedReply, asked: dict[str, Any]
) -> None:
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    taken = sum(len(str(message.get("content")).split()) for message in asked["messages"])
    turn = sum(message.get("role") == "assistant" for message in asked["messages"])
    for event in _events(reply, turn):
        _send(writer, {**_FRAME, "choices": [{"index": 0, "finish_reason": None, **event}]})
        await writer.drain()
        await asyncio.sleep(PAUSE)
    given = len(reply.text.split())
    usage = {"prompt_tokens": taken, "completion_tokens": given, "total_tokens": taken + given}
    _send(writer, {**_FRAME, "choices": [], "usage": usage})
    _send(writer, "[DONE]")
    writer.write(b"0\r\n\r\n")
    await writer.drain()


_FRAME = {"id": "chatcmpl-rehearsed", "object": "chat.completion.chunk", "model": "rehearsed"}


def _events(reply: RehearsedReply, turn: int) -> Iterator[dict[str, Any]]:
    yield {"delta": {"role": "assistant", "content": ""}}
    for word in re.findall(r"\S+\s*", reply.text):
        yield {"delta": {"content": word}}
    for index, (name, arguments) in enumerate(reply.calls):
        function = {"name": name, "arguments": ""}
        begun = {"index": index, "id": f"call_{turn}_{index}", "type": "function"}
        yield {"delta": {"tool_calls": [{**begun, "function": function}]}}
        text = {"arguments": json.dumps(arguments)}
        yield {"delta": {"tool_calls": [{"index": index, "function": text}]}}
    yield {"delta": {}, "finish_reason": "tool_calls" if reply.calls else "stop"}


def _send(writer: asyncio.StreamWriter, event: object) -> None:
    text = event if isinstance(event, str) else json.dumps(event)
    data = f"data: {text}\n\n".encode()
    writer.write(b"%x\r\n%s\r\n" % (len(data), data))


async def _refuse(writer: asyncio.StreamWriter, status: str, message: str) -> None:
    body = json.dumps({"error": {"message": message, "type": "invalid_request_error"}}).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    writer.write(f"{head}\r\n\r\n".encode() + body)
    await writer.drain()


if __name__ == "__main__":
    end_with_parent()
    asyncio.run(serve_rehearsed(Path(sys.argv[1])))
