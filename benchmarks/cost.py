"""What runs, idle workers and a backlog cost Redis and the broker."""

import time

from benchmarks.harness import Bench


def cost(bench: Bench) -> None:
    """Redis bytes per token, and commands per run of 10 tool steps and an answer."""
    agents, ledger, broker = bench.agents, bench.ledger, bench.broker
    with bench.workers(slots=10):
        run = agents["small-flood" if bench.is_quick else "flood"].stream("Go.")
        run.result(timeout=60)
        topic = agents["flood"].client.keys.of(run.run_id).topic
        size = int(ledger.client.memory_usage(topic, samples=0) or 0)
        chunks = int(ledger.client.xlen(topic))
        bench.report.value("Redis bytes per token", size / chunks, "bytes", wanted="at most 100")
        agents["steps"].generate("Go.", timeout=30)
        before, celery_before = ledger.commands(), broker.commands()
        runs = bench.size(20, 3)
        for _ in range(runs):
            list(agents["steps"].stream("Go."))
        ours, celerys = ledger.commands() - before, broker.commands() - celery_before
    # Redis counts what scripts do as commands, too.
    inside = ours.total() - ours["evalsha"] - ours["xread"]
    note = f"{inside / runs:.0f} commands inside scripts"
    bench.report.value("EVALSHA per run of 11 steps", ours["evalsha"] / runs, "", note=note)
    bench.report.value("XREAD per run of 11 steps, one reader", ours["xread"] / runs, "")
    names = ", ".join(f"{name.upper()} {n / runs:.1f}" for name, n in celerys.most_common(3))
    bench.report.value(
        "Celery's commands per run of 11 steps", celerys.total() / runs, "", note=names
    )


def idle(bench: Bench) -> None:
    """Redis commands per second of workers that have nothing to do."""
    seconds = bench.size(20, 5)
    for count in (1, 3):
        with bench.workers(count):
            # The leases and announcements of the warm-up are over.
            time.sleep(3)
            before, celery_before = bench.ledger.commands(), bench.broker.commands()
            time.sleep(seconds)
            ours = bench.ledger.commands() - before
            celerys = bench.broker.commands() - celery_before
        name = f"idle, {count} worker{'s' if count > 1 else ''}"
        inside = (ours.total() - ours["evalsha"]) / seconds
        bench.report.value(
            f"{name}: requests/s to Redis",
            ours["evalsha"] / seconds,
            "/s",
            note=f"{inside:.1f}/s commands inside scripts",
        )
        names = ", ".join(f"{key.upper()} {n / seconds:.1f}" for key, n in celerys.most_common(3))
        bench.report.value(
            f"{name}: Celery's commands/s", celerys.total() / seconds, "/s", note=names
        )


def backlog(bench: Bench) -> None:
    """Many queued runs on 100 slots: how many messages are sent for each task executed."""
    count = bench.size(5_000, 200)
    with bench.workers():
        calls, sent = bench.paid().calls, bench.broker.commands()["lpush"]
        started = time.perf_counter()
        runs = [bench.agents["half-second"].stream("Go.") for _ in range(count)]
        for run in runs:
            run.result(timeout=600)
        seconds = time.perf_counter() - started
        # Each of these runs is one task, which makes one model call.
        executed = bench.paid().calls - calls
        sent = bench.broker.commands()["lpush"] - sent
    bench.report.value(
        f"{count:,} queued runs on 100 slots: messages per task",
        sent / executed,
        "",
        wanted="at most 1.2",
        note=f"{sent:,} messages, {executed:,} tasks, {seconds:.0f} s",
    )
