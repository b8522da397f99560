"""What many runs and idle workers cost, and how soon a dead worker's runs go on."""

import signal
import statistics
import time

from benchmarks.harness import Bench, worker_process


def idle(bench: Bench) -> None:
    """Redis commands per second of workers that have nothing to do."""
    seconds = 5 if bench.is_quick else 20
    for count in (1, 3):
        with bench.workers(count, slots=100):
            time.sleep(3)
            ledger, broker = (_commands(bench, port) for port in _ports(bench))
            time.sleep(seconds)
            more_ledger, more_broker = (_commands(bench, port) for port in _ports(bench))
        scripts = (more_ledger["evalsha"] - ledger["evalsha"]) / seconds
        inside = (more_ledger["all"] - ledger["all"]) / seconds
        celerys = (more_broker["all"] - broker["all"]) / seconds
        bench.report.add(
            f"idle, {count} worker(s): requests/s to Redis",
            f"{scripts:.1f} ({inside:.0f} commands) + {celerys:.1f} Celery",
        )


def backlog(bench: Bench) -> None:
    """Many queued runs on 100 slots: how many messages are sent for each task executed."""
    from benchmarks.app import agents

    count = 200 if bench.is_quick else 5_000
    broker = bench.client(f"redis://127.0.0.1:{bench.broker.port}/0")
    before = _calls(broker.info("commandstats"), "lpush")
    with bench.workers(slots=100):
        started = time.perf_counter()
        runs = [agents["half-second"].stream("Go.") for _ in range(count)]
        for run in runs:
            run.result(timeout=600)
        seconds = time.perf_counter() - started
    sent = _calls(broker.info("commandstats"), "lpush") - before
    bench.report.add(
        f"{count:,} runs on 100 slots ({seconds:.0f} s): messages per task",
        f"{sent / count:.2f}",
        "at most 1.2",
    )


def recovery(bench: Bench) -> None:
    """SIGKILL of the speaking one of two workers: seconds until the other one speaks."""
    kills = 1 if bench.is_quick else 5
    for pool in ("threads", "prefork"):
        found = [_kill(bench, pool) for _ in range(kills)]
        times = [seconds for seconds, _ in found]
        bench.report.add(
            f"recovery from SIGKILL, {pool}, {kills} kills",
            f"{statistics.median(times):.1f} s (worst {max(times):.1f})",
            "at most 4 s",
        )
        lost = statistics.median(tokens for _, tokens in found)
        bench.report.add(f"tokens retracted and paid twice, {pool}", f"{lost:.0f} of 400")


def _kill(bench: Bench, pool: str) -> tuple[float, int]:
    from benchmarks.app import agents

    workers = {
        name: worker_process(bench.folder, name, pool=pool, slots=4) for name in ("k0", "k1")
    }
    try:
        bench.wait_for_workers(2)
        killed, tokens = 0.0, 0
        run = agents["speaker"].stream("Go.")
        for chunk in run:
            if chunk.type != "text-delta":
                continue
            if killed and chunk.payload.id != "txt-1.1":
                seconds = time.perf_counter() - killed
                # The next kill is to find idle slots.
                run.abort()
                agents["speaker"].observe(run.run_id).listen()
                return seconds, tokens
            tokens += 1
            if tokens == 50 and not killed:
                owner = agents["speaker"].get(run.run_id).worker or ""
                workers[owner.partition("@")[0]].signal(signal.SIGKILL)
                killed = time.perf_counter()
        raise RuntimeError("The run ended without the other worker.")
    finally:
        for worker in workers.values():
            worker.kill()
        bench.client().delete("ea:workers")


def _ports(bench: Bench) -> tuple[int, int]:
    return bench.ledger.port, bench.broker.port


def _commands(bench: Bench, port: int) -> dict[str, int]:
    client = bench.client(f"redis://127.0.0.1:{port}/0")
    return {
        "all": int(client.info("stats")["total_commands_processed"]),
        "evalsha": _calls(client.info("commandstats"), "evalsha"),
    }


def _calls(stats: dict[str, dict[str, int]], name: str) -> int:
    return stats.get(f"cmdstat_{name}", {}).get("calls", 0)
