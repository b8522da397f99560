"""The Celery application of the tests: callers and real workers import it, as users' do."""

import asyncio
import ctypes
import json
import os
import signal
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from celery import Celery

from evented_agent import Agent, RunEvent, Settings, ToolContext, tool
from evented_agent.engines.celery import create_evented_agent
from evented_agent.errors import ModelError
from evented_agent.models.messages import SystemMessage, ToolCall, ToolMessage
from evented_agent.models.protocol import ModelRequest
from evented_agent.testing import Say, ScriptedModel, tool_call
from tests.support.words import TEXT

BROKER = os.environ.get("TEST_BROKER_URL", "redis://127.0.0.1:1/0")
LEDGER = os.environ.get("TEST_REDIS_URL", BROKER)
PREFIX = os.environ.get("TEST_PREFIX", "test")
QUEUE = os.environ.get("TEST_QUEUE", "agents")
GRACE = float(os.environ.get("TEST_GRACE", "10"))
#: What a deploy may change: the agents' words, and which agents there are.
VERSION = os.environ.get("TEST_VERSION", "")
WITHOUT = os.environ.get("TEST_WITHOUT", "")
#: Where tools leave marks that tests count.
MARKS = Path(os.environ.get("TEST_MARKS", "/nonexistent"))


def broker_options(url: str) -> dict[str, str]:
    """Names apart for deployments that share a Redis."""
    return {"global_keyprefix": f"{PREFIX}-broker:"} if url.startswith("redis") else {}


app = Celery("tests.support.app")
app.conf.update(
    broker_url=BROKER,
    broker_write_url=os.environ.get("TEST_BROKER_WRITE_URL"),
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=1,
    result_backend=os.environ.get("TEST_RESULT_BACKEND"),
    broker_transport_options=broker_options(BROKER),
)
if queues := os.environ.get("TEST_QUEUES"):
    app.conf.evented_agent_queues = [queues]
if os.environ.get("TEST_HOSTILE"):
    app.conf.update(
        task_annotations={"*": {"rate_limit": "1/h", "acks_late": True, "max_retries": 9}},
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_time_limit=2,
        task_soft_time_limit=1,
        task_serializer="pickle",
        task_default_rate_limit="1/h",
        task_store_errors_even_if_ignored=True,
        result_backend="redis://127.0.0.1:1/0",
        accept_content=["pickle", "json"],
    )
settings = Settings(prefix=PREFIX, queue=QUEUE, shutdown_grace=timedelta(seconds=GRACE))


def mark(name: str, line: str) -> None:
    """Append a line to a file of marks; appends of one line are atomic."""
    with (MARKS / name).open("a") as file:
        file.write(f"{line}\n")


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
async def wait(ctx: ToolContext, seconds: float) -> str:
    """Wait, and leave a mark at the start and at the end."""
    mark("wait", f"start {ctx.idempotency_key} {ctx.attempt}")
    await asyncio.sleep(seconds)
    mark("wait", f"end {ctx.idempotency_key} {ctx.attempt}")
    return f"waited in attempt {ctx.attempt}"


@tool
def block(ctx: ToolContext, seconds: float) -> str:
    """Wait in the thread, and leave marks."""
    mark("block", f"start {ctx.idempotency_key} {ctx.attempt}")
    time.sleep(seconds)
    mark("block", f"end {ctx.idempotency_key} {ctx.attempt}")
    return f"blocked in attempt {ctx.attempt}"


@tool(on_crash="fail")
async def pay(ctx: ToolContext, seconds: float) -> str:
    """Must not be repeated after a crash."""
    mark("pay", ctx.idempotency_key)
    await asyncio.sleep(seconds)
    return "paid"


@tool(requires_approval=True)
def erase(ctx: ToolContext, name: str) -> str:
    """Erase something, once somebody has agreed."""
    mark("erase", f"{name} {ctx.idempotency_key} {ctx.attempt}")
    return f"erased {name}"


@tool(requires_approval=True, expiry=1)
def hurried(what: str) -> str:
    """Be declined, unless somebody agrees at once."""
    mark("hurried", what)
    return what


@tool(requires_approval=True, expiry=1, on_expiry="fail")
def urgent(what: str) -> str:
    """Be the end of the run, unless somebody agrees at once."""
    mark("hurried", what)
    return what


@tool
def ask(ctx: ToolContext, question: str) -> str:
    """Ask a person."""
    if ctx.resume_data is None:
        ctx.suspend({"question": question})
    mark("ask", f"{ctx.resume_data} {ctx.attempt}")
    return f"They say {ctx.resume_data}."


@tool(on_crash="ask")
async def transfer(ctx: ToolContext, seconds: float) -> str:
    """Nobody knows what an interrupted transfer has done."""
    mark("transfer", f"{ctx.idempotency_key} {ctx.attempt}")
    await asyncio.sleep(seconds)
    return f"transferred in attempt {ctx.attempt}"


@tool(background=True)
async def report(ctx: ToolContext, seconds: float) -> str:
    """Write a report beside the chat."""
    mark("report", str(ctx.attempt))
    await asyncio.sleep(seconds)
    return f"written in attempt {ctx.attempt}"


@tool(background=True)
def block_apart(ctx: ToolContext, seconds: float) -> str:
    """Work on in a thread, whatever becomes of the run."""
    mark("block_apart", "begun")
    time.sleep(seconds)
    mark("block_apart", "ended")
    return "blocked"


@tool(background=True)
async def crowd(n: int) -> int:
    """Be one of many."""
    mark("crowd", f"in {n}")
    await asyncio.sleep(0.05)
    mark("crowd", f"out {n}")
    return n


@tool(retries=2)
def flaky(ctx: ToolContext) -> str:
    """Fails at its first try."""
    mark("flaky", str(ctx.attempt))
    if ctx.attempt < 2:
        raise OSError("the line is busy")
    return f"worked in attempt {ctx.attempt}"


@tool(timeout=0.3)
def sleepy() -> str:
    """Takes longer than its timeout."""
    time.sleep(2)
    return "late"


@tool
async def progress(ctx: ToolContext) -> str:
    """Tell how far it is."""
    for percent in (0, 50, 100):
        ctx.emit({"percent": percent})
    return "done"


@tool
def large(size: int) -> str:
    """Return a text of that many bytes."""
    return "x" * size


@tool
def broken() -> str:
    """Raise."""
    raise RuntimeError("no such luck")


@tool
async def look(ctx: ToolContext, place: str) -> str:
    """Look at a place for longer than two heartbeats take."""
    mark("careful", f"{ctx.idempotency_key} {ctx.attempt} {time.time()}")
    ctx.emit({"at": place})
    await asyncio.sleep(2.2)
    return f"There is nothing at {place}."


@tool(retries=1)
def knock(ctx: ToolContext) -> str:
    """Be heard at the second time only."""
    mark("careful", f"{ctx.idempotency_key} {ctx.attempt} {time.time()}")
    if ctx.attempt == 1:
        raise OSError("nobody heard it")
    return "somebody answered"


@tool
def fall(ctx: ToolContext) -> str:
    """Always fail."""
    mark("careful", f"{ctx.idempotency_key} {ctx.attempt} {time.time()}")
    raise RuntimeError("it fell")


@tool
def die(ctx: ToolContext) -> None:
    """Take the worker's process down, each time."""
    mark("die", str(ctx.attempt))
    os._exit(1)


@tool
async def hang(ctx: ToolContext, seconds: float) -> str:
    """Block the event loop."""
    mark("hang", str(ctx.attempt))
    time.sleep(seconds)
    return f"hung in attempt {ctx.attempt}"


def _hold_gil(seconds: float) -> None:
    """Sleep in C code that keeps the GIL, as a careless extension does."""
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))


@tool
def hold(ctx: ToolContext, seconds: float) -> str:
    """Hold the GIL, at the first time."""
    mark("hold", str(ctx.attempt))
    if ctx.attempt == 1:
        _hold_gil(seconds)
    return f"held in attempt {ctx.attempt}"


@tool(isolate=True)
def hold_apart(ctx: ToolContext, seconds: float) -> str:
    """Hold the GIL of a process of its own."""
    _hold_gil(seconds)
    return f"held apart in attempt {ctx.attempt}"


@tool(isolate=True)
def die_apart() -> None:
    """Take down a process of its own."""
    os.kill(os.getpid(), signal.SIGKILL)


@tool
def hog() -> int:
    """Ask for more memory than there is."""
    return len(bytearray(1 << 50))


class Unprintable(Exception):
    """An exception that cannot even be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def _endless() -> list[Any]:
    endless: list[Any] = []
    endless.append(endless)
    return endless


RAISED = {
    "unprintable": Unprintable,
    "system-exit": SystemExit,
    "interrupt": KeyboardInterrupt,
    "cancelled": asyncio.CancelledError,
}
RETURNED = {
    "not-json": object(),
    "recursive": _endless(),
    "nan": float("nan"),
    "surrogate": "\ud800",
}


def _misbehave(how: str) -> Any:
    if how in RAISED:
        raise RAISED[how]
    return RETURNED[how]


@tool
def misbehave(how: str) -> Any:
    """Do what no tool should, in a thread."""
    return _misbehave(how)


@tool
async def amisbehave(how: str) -> Any:
    """Do what no tool should, on the event loop."""
    return _misbehave(how)


def _results(request: ModelRequest) -> list[ToolMessage]:
    return [message for message in request.messages if isinstance(message, ToolMessage)]


def _sums(request: ModelRequest) -> str:
    return f"The sums are {[message.result for message in _results(request)]}."


calculator = Agent(
    id="calculator",
    model=ScriptedModel(
        [
            Say("Let me add.", [tool_call("add", a=1, b=2), tool_call("add", a=3, b=4)]),
            _sums,
        ]
    ),
    tools=[add],
)
speaker = Agent(id="speaker", model=ScriptedModel([TEXT], pause=0.05))
hello = Agent(id="hello", model=ScriptedModel(["Hello, world."]))


def _each_tool(request: ModelRequest) -> list[ToolCall]:
    """Call the tools that the user's message names, one a line, with their JSON arguments."""
    asked = str(request.messages[-1].content).splitlines()  # type: ignore[union-attr]
    calls = [line.partition(" ") for line in asked]
    return [tool_call(name, **json.loads(arguments or "{}")) for name, _, arguments in calls]


def _tell(request: ModelRequest) -> str:
    last = _results(request)[-1]
    return f"{'error ' if last.is_error else ''}{str(last.result)[:200]}"


toolbox = Agent(
    id="toolbox",
    model=ScriptedModel([_each_tool, _tell]),
    tools=[
        *(add, wait, block, pay, flaky, sleepy, progress, large, broken),
        *(erase, hurried, urgent, ask, transfer),
        *(die, hang, hold, hold_apart, die_apart, hog, misbehave, amisbehave),
    ],
)


def _chat(request: ModelRequest) -> str:
    if isinstance(request.messages[-1], SystemMessage):
        return f"The report: {_results(request)[0].result}."
    return "It is being written."


writer = Agent(id="writer", model=ScriptedModel([_each_tool, _chat]), tools=[report, block_apart])
crowded = Agent(
    id="crowd",
    model=ScriptedModel([_each_tool, _chat]),
    tools=[crowd],
    background_concurrency=100,
)
fallback = Agent(
    id="fallback",
    model=[
        ScriptedModel([ModelError("the first model is away")], name="scripted/first"),
        ScriptedModel(["The second model answers."], name="scripted/second"),
    ],
)
failing = Agent(id="failing", model=ScriptedModel([ModelError("out of credit")]))

loop10 = Agent(
    id="loop10", model=ScriptedModel([*[[tool_call("add", a=1, b=2)]] * 10, "Done."]), tools=[add]
)


def _explore(request: ModelRequest) -> Say:
    mark("careful-model", str(time.time()))
    calls = [tool_call("look", place="home"), tool_call("knock"), tool_call("fall")]
    return Say("I look around first.", calls)


def _conclude(request: ModelRequest) -> Say:
    mark("careful-model", str(time.time()))
    told = " ".join(str(message.result) for message in _results(request))
    return Say(f"That is all{VERSION}: {told}")


def _note(event: RunEvent) -> None:
    mark("careful-hooks", event.key)


careful = Agent(
    id="careful",
    model=ScriptedModel([_explore, _conclude], pause=0.03),
    tools=[look, knock, fall],
    on_start=_note,
    on_step=_note,
    on_finish=_note,
)


def _kill(_: ModelRequest) -> str:
    mark("deadly", "called")
    os._exit(1)


surrogates = Agent(id="surrogates", model=ScriptedModel(["before \ud800 after"]))
nul = Agent(id="nul", model=ScriptedModel(["before \x00 after"]))
deadly = Agent(id="deadly", model=ScriptedModel([_kill]))


def _unique(_: ModelRequest) -> str:
    nonce = os.urandom(4).hex()
    return "".join(f"{nonce}.{n} " for n in range(60))


unique = Agent(id="unique", model=ScriptedModel([_unique], pause=0.05))

evented = {
    agent.id: create_evented_agent(agent, app=app, redis_url=LEDGER, settings=settings)
    for agent in (
        calculator,
        speaker,
        hello,
        toolbox,
        fallback,
        writer,
        crowded,
        failing,
        loop10,
        careful,
        unique,
        deadly,
        surrogates,
        nul,
    )
    if agent.id != WITHOUT
}
