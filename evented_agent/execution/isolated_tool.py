"""One tool call in a child process that can be killed.  Does not import the ledger.

Two extra pipes connect this process and the child, so that a tool may print as it likes.  Down
goes one line of JSON, the request; the pipe then stays open, and its end shows that this process
is gone.  Up come lines of JSON: ``{"emit": …}`` any number of times, then ``{"result": …}``,
``{"unusable": …}`` for a result that cannot be kept, ``{"suspend": {"payload": …, "schema": …}}``
or ``{"error": {"name": …, "message": …}}``, and last ``{"ended": <exit code>}``.

The child process is two: a guard, and the tool's process that it forks.  The guard is never in user
code, so it can act however the tool ends and whatever the tool holds, the GIL included.
"""

import asyncio
import contextlib
import importlib
import inspect
import operator
import os
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Awaitable, Mapping
from typing import Any, BinaryIO

import pydantic_core

from evented_agent.agents.tools import tool as declared
from evented_agent.agents.tools.context import Suspend, ToolContext
from evented_agent.agents.tools.tool import Tool, ToolResultUnusable, dump_result
from evented_agent.chunks.json_values import error_text, without_surrogates
from evented_agent.errors import DeclarationError

#: Seconds that a child may take to exit after its answer, or to be killed by its guard.
EXIT_GRACE = 2.0
#: Milliseconds between two checks of the guard's parent; the end of a pipe is noticed at once.
PARENT_CHECK_MS = 1000
#: Most characters of a tool's error text, and of the end of its traceback, that are passed on.
_MOST_TEXT, MOST_TRACE = 64_000, 4_000

# -c and not -m: the package imports this module, so -m would load it a second time.
_BOOT = """
import json, os, sys
down = os.fdopen(int(sys.argv[1]), "rb")
request = json.loads(down.readline())
sys.path[:] = request["path"]
from evented_agent.execution.isolated_tool import serve_isolated
serve_isolated(request, down, int(sys.argv[2]))
"""


class IsolatedCrash(RuntimeError):
    """Raised when the tool's process ended without an answer; *returncode* as in `subprocess`."""

    def __init__(self, returncode: int) -> None:
        self.returncode = returncode
        if returncode < 0:
            how = f"signal {-returncode} ({signal.strsignal(-returncode)})"
        else:
            how = f"exit code {returncode}"
        super().__init__(f"The tool's process ended with {how} before it gave a result.")

    def __reduce__(self) -> tuple[Any, ...]:
        return IsolatedCrash, (self.returncode,)


class IsolatedFailure(Exception):
    """Base of what a tool raised in its process; the class has the name of the original's."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _failure, (type(self).__name__, *self.args)


def _failure(name: str, message: str) -> IsolatedFailure:
    made: IsolatedFailure = type(name, (IsolatedFailure,), {})(message)
    return made


async def run_isolated(tool: Tool, kwargs_json: Mapping[str, Any], ctx: ToolContext) -> Any:
    """Call *tool* in a child process and return its result as JSON data.

    *kwargs_json* are the model's arguments as JSON, already validated.  The child imports the
    tool's module anew.  It is killed, with what it started and left in its process group, when
    this coroutine is cancelled or this process dies; so ``ctx.aborted`` is never true in there.

    Raises an `IsolatedFailure` with the class name and text of what the tool raised, `Suspend` when
    it asked for a person, `ToolResultUnusable` when it returned what cannot be kept, and
    `IsolatedCrash` when its process ended otherwise.
    """
    request = _request(tool, kwargs_json, ctx)
    async with _pipes() as (child_ends, requests, answers):
        process = await _spawn(child_ends)
        ended = asyncio.create_task(_reap(process))
        try:
            requests.write(request)
            result = await _answer(answers, ctx)
            # Its exit handlers may run; whatever keeps it alive after that is killed.
            await asyncio.wait((ended,), timeout=EXIT_GRACE)
        except asyncio.IncompleteReadError:
            raise IsolatedCrash(await process.wait()) from None
        finally:
            await _end(process, ended)
    return result


def _request(tool: Tool, kwargs_json: Mapping[str, Any], ctx: ToolContext) -> bytes:
    module, name = tool.function.__module__, tool.function.__qualname__
    try:
        found = operator.attrgetter(name)(sys.modules[module])
    except (KeyError, AttributeError):
        found = None
    if found is not tool and found is not tool.function:
        raise DeclarationError(
            f"The isolated tool {tool.name!r} is not what {module}.{name} stands for, so a child "
            "process cannot import it. Give the function a name of its own in its module."
        )
    context = {
        "run_id": ctx.run_id,
        "tool_call_id": ctx.tool_call_id,
        "tool_name": ctx.tool_name,
        "step": ctx.step,
        "attempt": ctx.attempt,
        "context": ctx.context,
        "agent": ctx.agent,
        "thread_id": ctx.thread_id,
        "resource_id": ctx.resource_id,
        "resumed": list(ctx.resumed),
        "approval": ctx.approval,
    }
    request = {
        "parent": os.getpid(),
        "path": sys.path,
        "module": module,
        "name": name,
        "arguments": kwargs_json,
        "context": context,
    }
    return pydantic_core.to_json(request) + b"\n"


@contextlib.asynccontextmanager
async def _pipes() -> AsyncIterator[
    tuple[tuple[BinaryIO, BinaryIO], asyncio.WriteTransport, asyncio.StreamReader]
]:
    """The child's ends of two pipes, and ours on the event loop."""
    loop = asyncio.get_running_loop()
    answers = asyncio.StreamReader()
    child_in, down = _pipe()
    up, child_out = _pipe()
    with child_in, child_out:
        requests, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, down)
        source, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(answers), up)
        try:
            yield (child_in, child_out), requests, answers
        finally:
            # It closes itself when the child has ended, and fails if it is then aborted.
            if not requests.is_closing():
                requests.abort()
            source.close()


def _pipe() -> tuple[BinaryIO, BinaryIO]:
    reader, writer = os.pipe()
    return os.fdopen(reader, "rb", 0), os.fdopen(writer, "wb", 0)


async def _spawn(child_ends: tuple[BinaryIO, BinaryIO]) -> asyncio.subprocess.Process:
    ends = [end.fileno() for end in child_ends]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-c", _BOOT, *map(str, ends)),
        stdin=asyncio.subprocess.DEVNULL,
        pass_fds=ends,
        # A group of its own: killed as a whole, and out of reach of the terminal's Ctrl-C.
        start_new_session=True,
    )
    # Held open here as well, they would never come to their end.
    for end in child_ends:
        end.close()
    return process


async def _reap(process: asyncio.subprocess.Process) -> None:
    """Wait for the guard's end; only where somebody killed it is a group left to end."""
    await process.wait()
    _kill_group(process.pid)


async def _end(process: asyncio.subprocess.Process, ended: "asyncio.Task[None]") -> None:
    if not ended.done():
        # The guard kills the tool's process and reaps it, which nobody else could.
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await asyncio.wait((ended,), timeout=EXIT_GRACE)
    if not ended.done():
        _kill_group(process.pid)
        await asyncio.wait((ended,))


def _kill_group(pid: int) -> None:
    # macOS answers with a permission error where only zombies are left.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


async def _answer(answers: asyncio.StreamReader, ctx: ToolContext) -> Any:
    """Pass on what the tool emits until it answers; `IncompleteReadError` if it never does."""
    while True:
        match _parse(await _line(answers)):
            case {"emit": data}:
                # Not on the event loop: emitting waits where readers' storage has no room.
                await asyncio.to_thread(ctx.emit, data)
            case {"result": result}:
                return result
            case {"unusable": why}:
                raise ToolResultUnusable(why)
            case {"suspend": {"payload": payload, "schema": schema}}:
                raise Suspend(payload, schema)
            case {"error": {"name": name, "message": message, "trace": trace}}:
                failure = _failure(name, message)
                failure.add_note(trace)
                raise failure
            case {"ended": returncode}:
                raise IsolatedCrash(returncode)


def _parse(line: bytes) -> Any:
    try:
        return pydantic_core.from_json(line)
    except ValueError:
        # A process that was killed while it wrote; its guard's line follows.
        return None


async def _line(answers: asyncio.StreamReader) -> bytes:
    """The next line, however long."""
    pieces: list[bytes] = []
    while True:
        try:
            return b"".join([*pieces, await answers.readuntil(b"\n")])
        except asyncio.LimitOverrunError as over:
            pieces.append(await answers.readexactly(over.consumed))


def serve_isolated(request: Mapping[str, Any], down: BinaryIO, up: int) -> None:
    """Answer one request: what the child process does."""
    os.set_inheritable(down.fileno(), False)
    os.set_inheritable(up, False)
    # A mask of the thread that started us would be inherited.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    wakeup, alarm = socket.socketpair()
    alarm.setblocking(False)
    signal.set_wakeup_fd(alarm.fileno())
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    pid = os.fork()
    if pid:
        _guard(pid, request["parent"], down, wakeup, up)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    for unused in (wakeup, alarm, down):
        unused.close()
    _work(request, up)


def _guard(pid: int, parent: int, down: BinaryIO, wakeup: socket.socket, up: int) -> None:
    """Wait for the tool's process; kill it on SIGTERM or when the parent is gone."""
    poll = select.poll()
    poll.register(down, select.POLLIN)
    poll.register(wakeup, select.POLLIN)
    returncode = None
    try:
        while returncode is None:
            ready = dict(poll.poll(PARENT_CHECK_MS))
            signals = wakeup.recv(64) if wakeup.fileno() in ready else b""
            # A process that our parent forked may hold the pipe open after it.
            is_orphan = down.fileno() in ready or os.getppid() != parent
            if is_orphan or signal.SIGTERM in signals:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return
            ended, status = os.waitpid(pid, os.WNOHANG)
            returncode = os.waitstatus_to_exitcode(status) if ended else None
        os.write(up, b'\n{"ended":%d}\n' % returncode)
    finally:
        # The guard itself and whatever the tool started.
        os.killpg(0, signal.SIGKILL)


def _work(request: Mapping[str, Any], up: int) -> None:
    lock = threading.Lock()
    answers = os.fdopen(up, "wb")

    def send(line: Mapping[str, Any]) -> None:
        with lock:
            answers.write(pydantic_core.to_json(line) + b"\n")
            answers.flush()

    context = ToolContext(**request["context"], emit=lambda data: send({"emit": dump_result(data)}))
    try:
        returned = _call(request, context)
    except Suspend as suspend:
        answer = _suspension(suspend)
    except Exception as error:  # noqa: BLE001 - user code: whatever it raises is its answer
        answer = _error(error)
    else:
        answer = _result(returned)
    send(answer)


def _result(returned: Any) -> dict[str, Any]:
    try:
        return {"result": dump_result(returned)}
    except ValueError as error:
        return {"unusable": f"{type(error).__name__}: {error}"}


def _suspension(suspend: Suspend) -> dict[str, Any]:
    try:
        payload, schema = dump_result(suspend.payload), dump_result(suspend.resume_schema)
    except ValueError as error:
        return _error(error)
    return {"suspend": {"payload": payload, "schema": schema}}


def _error(error: Exception) -> dict[str, Any]:
    trace = without_surrogates("".join(traceback.format_exception(error))[-MOST_TRACE:])
    name = without_surrogates(type(error).__name__)
    info = {"name": name, "message": error_text(error)[:_MOST_TEXT]}
    return {"error": {**info, "trace": f"In the tool's process:\n{trace}"}}


def _call(request: Mapping[str, Any], context: ToolContext) -> Any:
    found = operator.attrgetter(request["name"])(importlib.import_module(request["module"]))
    # The name stands for the function where the tool was made by tool(…)(function).
    tool = found if isinstance(found, Tool) else declared.tool(description="isolated")(found)
    arguments = tool.validate(request["arguments"])
    returned = tool.function(*((context,) if tool.takes_context else ()), **arguments)
    return asyncio.run(_awaited(returned)) if inspect.isawaitable(returned) else returned


async def _awaited(returned: Awaitable[Any]) -> Any:
    return await returned
