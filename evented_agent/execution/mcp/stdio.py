"""A server's program and the messages over its standard input and output, bounded."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCMessage, jsonrpc_message_adapter

from evented_agent.agents.tools.mcp_server import PLAIN_ENVIRONMENT, MCPServer
from evented_agent.chunks.json_values import without_surrogates
from evented_agent.execution.mcp import guard
from evented_agent.logs import logger_of

logger = logger_of(__name__)

#: Most bytes of one message, and lines in a row that are none.
MOST_MESSAGE, _MOST_NOISE = 16 * 1024 * 1024, 1_000
#: Seconds that a program may take to end after its input has, and that its guard may take to kill.
_EXIT_GRACE = 2.0

_Incoming = MemoryObjectSendStream[SessionMessage | Exception]
_Streams = tuple[
    MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]
]


def server_environment(added: Mapping[str, str]) -> dict[str, str]:
    """The environment of a server's program: what any program needs, and what was *added*."""
    plain = {name: os.environ[name] for name in PLAIN_ENVIRONMENT if name in os.environ}
    return {**plain, **added}


@contextlib.asynccontextmanager
async def stdio_streams(
    server: MCPServer, added: Mapping[str, str], on_end: Callable[[], None]
) -> AsyncIterator[_Streams]:
    """Start the program under its guard; it is killed, with what it started, when this is left.

    *on_end* is called as soon as it says nothing more.
    """
    process = await _spawn(server, added)
    incoming, received = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    sending, outgoing = anyio.create_memory_object_stream[SessionMessage](0)
    reading = asyncio.create_task(_read(process, incoming, server.name))
    reading.add_done_callback(lambda _: on_end())
    tasks = [reading, asyncio.create_task(_write(process, outgoing, incoming))]
    try:
        yield received, sending
    finally:
        for task in tasks:
            task.cancel()
        for stream in (incoming, received, sending, outgoing):
            stream.close()
        await asyncio.shield(_end(process))


async def _spawn(server: MCPServer, added: Mapping[str, str]) -> asyncio.subprocess.Process:
    assert server.command is not None
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", str(Path(guard.__file__))),
        *(str(os.getpid()), *server.command),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # Not the worker's by default: what programs write there may be secret.
        stderr=None if server.show_stderr else subprocess.DEVNULL,
        env=server_environment(added),
        cwd=server.cwd,
        limit=MOST_MESSAGE,
        # A group of its own: killed as a whole, and out of reach of the terminal's Ctrl-C.
        start_new_session=True,
    )


async def _read(process: asyncio.subprocess.Process, incoming: _Incoming, name: str) -> None:
    """Pass on messages until the output ends, or is none of the protocol's."""
    assert process.stdout is not None
    noise, is_told = 0, False
    with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        async with incoming:
            while noise < _MOST_NOISE:
                try:
                    line = await process.stdout.readline()
                except ValueError:
                    # Longer than a message may be.
                    return
                if not line:
                    return
                try:
                    message = _message(line)
                except (ValueError, RecursionError):
                    if _may_be_an_answer(line):
                        # Somebody would wait for it without an end.
                        return
                    # Programs print what they should not; it is not shown, as it may be secret.
                    noise += 1
                    if not is_told and _is_braced(line):
                        is_told = True
                        logger.warning("MCP server %s prints lines that are no messages", name)
                    continue
                noise = 0
                await incoming.send(SessionMessage(message))


def _message(line: bytes) -> JSONRPCMessage:
    """The message in *line*.  Raises `ValueError` or `RecursionError` for what is none."""
    try:
        return jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValueError:
        if not _is_braced(line):
            raise
        # Who cuts a text may cut a character in two, which JSON can write and no other reader can
        # read: the rest of the answer is as good as any.
        text = json.dumps(json.loads(line.decode(errors="replace")), ensure_ascii=False)
        return jsonrpc_message_adapter.validate_json(without_surrogates(text), by_name=False)


def _is_braced(line: bytes) -> bool:
    return line.lstrip().startswith(b"{")


def _may_be_an_answer(line: bytes) -> bool:
    """Whether what is no message is meant as one, to a request."""
    if not _is_braced(line):
        return False
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        # Cut off, or too deep.
        return b'"jsonrpc"' in line
    return "jsonrpc" in found and "id" in found


async def _write(
    process: asyncio.subprocess.Process,
    outgoing: MemoryObjectReceiveStream[SessionMessage],
    incoming: _Incoming,
) -> None:
    assert process.stdin is not None
    try:
        async with outgoing:
            async for each in outgoing:
                text = each.message.model_dump_json(by_alias=True, exclude_unset=True)
                process.stdin.write(text.encode() + b"\n")
                await process.stdin.drain()
    except (OSError, anyio.ClosedResourceError, anyio.BrokenResourceError):
        # Nobody reads any more: the session has to see the end.
        incoming.close()


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the program: its input first, as the protocol has it, then by its guard."""
    assert process.stdin is not None
    process.stdin.close()
    for number in (0, signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _EXIT_GRACE)
            break
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
