"""How long a caller waits for `stream()`, with a broker that works and without."""

import contextlib
import logging
import signal
import socket
import time
from collections.abc import Iterator

from celery import Celery

from benchmarks.figures import ms
from benchmarks.harness import Bench, free_port
from evented_agent import Agent, create_evented_agent
from evented_agent.engines.celery import EventedAgent
from evented_agent.testing import ScriptedModel

WANTED = "at most 1.5 s"


def stream_call(bench: Bench) -> None:
    """The call with a broker that works, refuses, hangs, is away, or is frozen."""
    # Each call without a broker is logged, as it should be.
    logging.getLogger("evented_agent.engines.celery.notifier").setLevel(logging.ERROR)
    answer = bench.agents["answer"]
    answer.stream("Go.")
    bench.report.samples(
        "stream()", ms(_calls(answer, bench.size(500, 20))), "ms", wanted="at most 3 ms"
    )
    _broken(bench, "broker refuses", f"redis://127.0.0.1:{free_port()}/0")
    with _silent() as url:
        _broken(bench, "broker accepts, never answers", url)
    with _away() as url:
        _broken(bench, "broker unreachable", url)
    _frozen(bench)


def _broken(bench: Bench, name: str, broker_url: str) -> None:
    app = Celery("apart", broker=broker_url, set_as_current=False)
    agent = Agent(id="apart", model=ScriptedModel(["Hi."]))
    evented = create_evented_agent(agent, app=app, redis_url=bench.ledger.url)
    times = _calls(evented, bench.size(5, 1))
    bench.report.samples(f"stream(), {name}", times, "s", wanted=WANTED)


def _frozen(bench: Bench) -> None:
    """Freeze the broker under a live worker; the runs it did not hear of must complete."""
    answer = bench.agents["answer"]
    with bench.workers():
        bench.broker.signal(signal.SIGSTOP)
        calls, runs = [], []
        try:
            for _ in range(bench.size(5, 1)):
                started = time.perf_counter()
                runs.append(answer.stream("Go."))
                calls.append(time.perf_counter() - started)
        finally:
            bench.broker.signal(signal.SIGCONT)
        thawed = time.perf_counter()
        waits = []
        for run in runs:
            run.result(timeout=90)
            waits.append(time.perf_counter() - thawed)
    bench.report.samples("stream(), broker frozen", calls, "s", wanted=WANTED)
    bench.report.samples("broker thawed: until the run is complete", waits, "s", wanted="completes")


def _calls(evented: EventedAgent, count: int) -> list[float]:
    found = []
    for _ in range(count):
        started = time.perf_counter()
        evented.stream("Go.")
        found.append(time.perf_counter() - started)
    return found


@contextlib.contextmanager
def _silent() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"


@contextlib.contextmanager
def _away() -> Iterator[str]:
    """An address where connecting hangs: the listener's queue is full, so more is dropped."""
    with contextlib.ExitStack() as sockets:
        listener = sockets.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        for _ in range(4):
            waiting = sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        yield f"redis://127.0.0.1:{address[1]}/0"
