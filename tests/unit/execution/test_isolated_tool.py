"""Tools in child processes: what comes back, and that nothing outlives the call."""

import asyncio
import fcntl
import importlib
import pickle
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from evented_agent.agents.tools.context import ToolContext
from evented_agent.agents.tools.tool import Tool, ToolResultUnusable, tool
from evented_agent.errors import DeclarationError
from evented_agent.execution.isolated_tool import IsolatedCrash, IsolatedFailure, run_isolated

pytestmark = pytest.mark.timeout(60)

# A module of its own: a child process imports it by name, from the parent's sys.path.
MODULE = '''
import ctypes, datetime, fcntl, os, re, subprocess, sys, threading, time
from evented_agent import ToolContext, tool


@tool(isolate=True)
def describe(ctx: ToolContext, day: datetime.date, count: int = 2) -> dict:
    """Say what arrived."""
    return {
        "types": [type(day).__name__, type(count).__name__], "day": day, "count": count,
        "key": ctx.idempotency_key, "tool": ctx.tool_name, "step": ctx.step,
        "attempt": ctx.attempt, "context": ctx.context, "aborted": ctx.aborted, "pid": os.getpid(),
    }


@tool(isolate=True)
def shout(ctx: ToolContext) -> str:
    """Print around emitting."""
    for n in range(3):
        print('{"result": "a lie"}', flush=True)
        os.write(2, b"error\\n")
        ctx.emit({"n": n, "at": datetime.date(2030, 1, 1)})
    os.close(0), os.close(1), os.close(2)
    return "done"


@tool(isolate=True)
def repeat(size: int) -> str:
    """Return much."""
    return "é" * size


@tool(isolate=True)
def fail(how: str) -> object:
    """Fail in one way or another."""
    if how == "exit":
        os._exit(3)
    if how == "quit":
        sys.exit(0)
    if how == "segfault":
        ctypes.string_at(0)
    if how == "fork" and os.fork():
        os._exit(4)
    if how == "fork":
        # The child that is left behind: it has to outlive the tool's process.
        time.sleep(1000)
    if how == "nan":
        return float("nan")
    raise LookupError("no ünicorn\\nhere")


@tool(isolate=True)
def linger() -> str:
    """Return, and keep the process busy."""
    threading.Thread(target=time.sleep, args=(1000,)).start()
    return "returned"


@tool(isolate=True)
def hang(ctx: ToolContext, lock: str) -> None:
    """Hold the lock, in a child too, and the GIL for ever."""
    held = open(lock, "w")
    fcntl.flock(held, fcntl.LOCK_EX)
    subprocess.Popen(["sleep", "1000"], pass_fds=[held.fileno()])
    ctx.emit("locked")
    re.match(r"(a+)+$", "a" * 60 + "b")


def double(n: int) -> int:
    return 2 * n


doubled = tool(isolate=True, description="Double it.")(double)
'''

PARENT = """
import asyncio, sys
sys.path[:] = {path!r}
import isolated_tools
from evented_agent.execution.isolated_tool import run_isolated
from evented_agent import ToolContext

context = ToolContext("r", "c", "hang", emit=lambda data: print(data, flush=True))
asyncio.run(run_isolated(isolated_tools.hang, {{"lock": {lock!r}}}, context))
"""


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    folder = tmp_path_factory.mktemp("isolated")
    (folder / "isolated_tools.py").write_text(MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield importlib.import_module("isolated_tools")
        del sys.modules["isolated_tools"]


def call(tool: Tool, emit: Callable[[Any], None] | None = None, **arguments: Any) -> Any:
    context = ToolContext("run", "call", tool.name, 2, 3, {"user": 7}, emit or print)
    return asyncio.run(run_isolated(tool, arguments, context))


def await_release(lock: Path) -> None:
    """Return when nobody holds *lock*, that is when all processes that held it are dead."""
    with lock.open("w") as mine:
        fcntl.flock(mine, fcntl.LOCK_EX)


def test_a_tool_gets_its_arguments_and_context_and_returns_json(tools: ModuleType) -> None:
    result = call(tools.describe, day="2030-01-02")

    pid = result.pop("pid")
    assert pid > 0
    assert result == {
        "types": ["date", "int"],
        "day": "2030-01-02",
        "count": 2,
        "key": "run:call",
        "tool": "describe",
        "step": 2,
        "attempt": 3,
        "context": {"user": 7},
        "aborted": False,
    }
    assert call(tools.describe, day="2030-01-02")["pid"] != pid


def test_what_a_tool_emits_arrives_in_order_and_prints_disturb_nothing(
    tools: ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    emitted: list[Any] = []

    assert call(tools.shout, emitted.append) == "done"

    assert emitted == [{"n": n, "at": "2030-01-01"} for n in range(3)]
    assert capfd.readouterr() == ('{"result": "a lie"}\n' * 3, "error\n" * 3)


def test_a_long_result_comes_whole(tools: ModuleType) -> None:
    assert call(tools.repeat, size=1_000_000) == "é" * 1_000_000
    assert call(tools.repeat, size=0) == ""


def test_an_exception_keeps_its_name_and_text_and_tells_where_it_was_raised(
    tools: ModuleType,
) -> None:
    with pytest.raises(IsolatedFailure) as caught:
        call(tools.fail, how="raise")

    error = caught.value
    assert (type(error).__name__, str(error)) == ("LookupError", "no ünicorn\nhere")
    assert "isolated_tools.py" in error.__notes__[0]
    copied = pickle.loads(pickle.dumps(error))
    assert (type(copied).__name__, str(copied)) == ("LookupError", "no ünicorn\nhere")


def test_a_result_that_is_not_json_and_wrong_arguments_are_exceptions(tools: ModuleType) -> None:
    with pytest.raises(ToolResultUnusable, match=r"ran to its end.*cannot become JSON"):
        call(tools.fail, how="nan")
    with pytest.raises(IsolatedFailure, match="how: Field required"):
        call(tools.fail)


@pytest.mark.parametrize(
    ("how", "returncode", "expected"),
    [
        ("exit", 3, "The tool's process ended with exit code 3 before"),
        ("quit", 0, "exit code 0"),
        ("segfault", -11, "signal 11 (Segmentation fault)"),
        ("fork", 4, "exit code 4"),
    ],
)
def test_a_process_that_dies_is_a_crash(
    tools: ModuleType, how: str, returncode: int, expected: str
) -> None:
    with pytest.raises(IsolatedCrash) as caught:
        call(tools.fail, how=how)

    assert caught.value.returncode == returncode
    assert expected in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_process_that_stays_after_its_result_is_ended(tools: ModuleType) -> None:
    assert call(tools.linger) == "returned"


def test_an_undecorated_name_in_the_module_is_found_too(tools: ModuleType) -> None:
    assert call(tools.doubled, n=4) == 8


def test_a_tool_that_its_name_does_not_lead_to_is_refused() -> None:
    @tool(description="Hidden.")
    def hidden() -> None: ...

    with pytest.raises(DeclarationError, match=r"hidden' is not what .* stands for"):
        call(hidden)


def test_what_emitting_raises_ends_the_call_and_the_process(
    tools: ModuleType, tmp_path: Path
) -> None:
    def refuse(data: Any) -> None:
        raise OverflowError(data)

    with pytest.raises(OverflowError, match="locked"):
        call(tools.hang, refuse, lock=str(tmp_path / "lock"))
    await_release(tmp_path / "lock")


async def _cancelled(run: Callable[[Callable[[Any], None]], Awaitable[Any]]) -> None:
    loop, started = asyncio.get_running_loop(), asyncio.Event()

    def emit(_: Any) -> None:
        loop.call_soon_threadsafe(started.set)

    task = asyncio.ensure_future(run(emit))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_cancelled_call_kills_the_process_and_what_it_started(
    tools: ModuleType, tmp_path: Path
) -> None:
    lock = tmp_path / "lock"

    def run(emit: Callable[[Any], None]) -> Awaitable[Any]:
        context = ToolContext("r", "c", "hang", emit=emit)
        return run_isolated(tools.hang, {"lock": str(lock)}, context)

    # Workers have their event loop in a thread that is not the main one.
    thread = threading.Thread(target=lambda: asyncio.run(_cancelled(run)))
    thread.start()
    thread.join()

    await_release(lock)


def test_a_process_dies_with_its_killed_parent(tools: ModuleType, tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    program = PARENT.format(path=sys.path, lock=str(lock))
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"locked\n"
        parent.kill()

    await_release(lock)


def test_nothing_is_left_open(tools: ModuleType) -> None:
    def descriptors() -> int:
        return len(list(Path("/dev/fd").iterdir()))

    call(tools.doubled, n=1)
    before = descriptors()
    call(tools.doubled, n=1)
    with pytest.raises(IsolatedCrash):
        call(tools.fail, how="exit")

    assert descriptors() == before
