"""Milliseconds: a step, the first token, and the call of `stream()`."""

import os
import signal
import socket
import statistics
import time

from celery import Celery

from benchmarks import raw
from benchmarks.harness import Bench, free_port, milliseconds
from evented_agent import Agent, create_evented_agent
from evented_agent.testing import ScriptedModel

STEPS = 10


def steps(bench: Bench) -> None:
    """10 tool steps and an answer, on an idle worker, against the raw client."""
    from benchmarks.app import agents

    count = 3 if bench.is_quick else 30
    for pool in ("threads", "prefork"):
        with bench.workers(pool=pool, slots=10 if pool == "threads" else 2):
            for _ in range(3):
                list(agents["steps"].stream("Go."))
            ours = []
            for _ in range(count):
                started = time.perf_counter()
                list(agents["steps"].stream("Go."))
                ours.append(time.perf_counter() - started)
        base = raw.times("mock-s10-t20", count)
        extra = (statistics.median(ours) - statistics.median(base)) / (STEPS + 1)
        name = f"step, {pool}"
        bench.report.add(f"{name}: 10 tool steps and an answer", milliseconds(ours))
        bench.report.add(f"{name}: raw client", milliseconds(base))
        bench.report.add(f"{name}: over the raw client", f"{extra * 1e3:.1f} ms", "at most 10 ms")


def first_token(bench: Bench) -> None:
    """From the call of `stream()` to the first token at its reader."""
    from benchmarks.app import agents

    count = 5 if bench.is_quick else 60
    for pool in ("threads", "prefork"):
        with bench.workers(pool=pool, slots=10 if pool == "threads" else 2):
            for _ in range(3):
                list(agents["answer"].stream("Go."))
            ours = []
            for _ in range(count):
                started = time.perf_counter()
                for chunk in agents["answer"].stream("Go."):
                    if chunk.type == "text-delta":
                        ours.append(time.perf_counter() - started)
                        break
                time.sleep(0.02)
        base = raw.times("mock-t20", count, first_only=True)
        extra = statistics.median(ours) - statistics.median(base)
        bench.report.add(f"first token, {pool}", milliseconds(ours))
        bench.report.add(f"first token, {pool}: raw client", milliseconds(base))
        bench.report.add(
            f"first token, {pool}: over the raw client", f"{extra * 1e3:.1f} ms", "at most 15 ms"
        )


def stream_call(bench: Bench) -> None:
    """How long a caller waits for `stream()`, with a broker that works and without."""
    from benchmarks.app import agents

    count = 20 if bench.is_quick else 500
    agents["answer"].stream("Go.")
    bench.report.add("stream()", milliseconds(_calls(agents["answer"], count)), "at most 3 ms")
    ledger = os.environ["BENCH_REDIS_URL"]
    refused = _agent(f"redis://127.0.0.1:{free_port()}/0", ledger)
    wanted = "at most 1.5 s"
    bench.report.add("stream(), broker refused", milliseconds(_calls(refused, 3)), wanted)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        unreachable = _agent(f"redis://127.0.0.1:{silent.getsockname()[1]}/0", ledger)
        bench.report.add(
            "stream(), broker unreachable", milliseconds(_calls(unreachable, 2)), wanted
        )
    bench.broker.signal(signal.SIGSTOP)
    bench.report.add("stream(), broker frozen", milliseconds(_calls(agents["answer"], 2)), wanted)
    run = agents["answer"].stream("Go.")
    bench.broker.signal(signal.SIGCONT)
    with bench.workers(slots=100):
        started = time.perf_counter()
        run.result(timeout=90)
        bench.report.add(
            "the run completes once the broker is back", f"{time.perf_counter() - started:.1f} s"
        )


def _calls(evented: "object", count: int) -> list[float]:
    found = []
    for _ in range(count):
        started = time.perf_counter()
        evented.stream("Go.")  # type: ignore[attr-defined]
        found.append(time.perf_counter() - started)
    return found


def _agent(broker: str, ledger: str) -> object:
    app = Celery("apart", broker=broker, set_as_current=False)
    agent = Agent(id="apart", model=ScriptedModel(["Hi."]))
    return create_evented_agent(agent, app=app, redis_url=ledger)
