"""``run``, ``worker``, ``live_workers``, ``demo``: starting runs, and what executes them."""

import os
import shlex
import sys
import uuid
from typing import Any, cast

import click

from evented_agent.agents.run_options import StreamOptions
from evented_agent.cli.choices import Choices, shared
from evented_agent.cli.follow import Follower, judge
from evented_agent.cli.output import json_value, to_json
from evented_agent.client.runs import Runs
from evented_agent.engines.celery import create_evented_agent
from evented_agent.engines.celery.json_logs import LOG_FORMAT_VARIABLE
from evented_agent.errors import UnknownAgent
from evented_agent.ledger.workers import LiveWorker

#: Attempts wait for models, not for processors.
_SLOTS = 100


@click.command("run")
@click.argument("agent")
@click.argument("message")
@click.option("--detach", is_flag=True, help="Print the run's id and leave.")
@click.option("--run-id", metavar="ID", help="The same id and message is the same run.")
@click.option("--thread", metavar="ID", help="The conversation that it belongs to.")
@click.option("--resource", metavar="ID", help="Whose run it is.")
@click.option("--context", callback=json_value, metavar="JSON", help="For tools, as ctx.context.")
@shared
def run(
    choices: Choices,
    agent: str,
    message: str,
    detach: bool,
    run_id: str | None,
    thread: str | None,
    resource: str | None,
    context: Any,
) -> None:
    """Start a run of AGENT and follow it.

    MESSAGE may be - for stdin. Ctrl-C leaves the run running.
    """
    app = choices.needed_app()
    client = choices.runs()
    if agent not in client.agents:
        raise UnknownAgent(agent, client.agents)
    text = sys.stdin.read() if message == "-" else message
    # Named here, so that whoever interrupts the next line knows what was started.
    run_id = run_id or uuid.uuid4().hex
    follower = Follower(choices, run_id)
    try:
        chosen = {"thread_id": thread, "resource_id": resource, "context": context}
        given = {name: value for name, value in chosen.items() if value is not None}
        options = cast(StreamOptions, {"run_id": run_id, **given})
        create_evented_agent(client.agents[agent], app=app).stream(text, **options)
        if detach:
            _print_id(choices, run_id)
            return
        choices.output.note(f"Run {run_id}")
        info = follower.follow(client)
    except KeyboardInterrupt:
        follower.detach()
    judge(choices, info)


@click.command("worker")
@click.option("-c", "--concurrency", type=click.IntRange(1), help=f"Slots; {_SLOTS} threads.")
@click.option("-P", "--pool", default="threads", show_default=True)
@click.option("-Q", "--queues", metavar="QUEUE", help="By default the queue of the app's agents.")
@click.option("-n", "--hostname", metavar="NAME", help="The worker's name; needed for a second.")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    help="json: one object a line, unless the app has a format of its own.",
)
@click.argument("extra", nargs=-1, metavar="[-- CELERY OPTIONS]")
@shared
def worker(
    choices: Choices,
    concurrency: int | None,
    pool: str,
    queues: str | None,
    hostname: str | None,
    log_format: str | None,
    extra: tuple[str, ...],
) -> None:
    """Become a Celery worker that serves the app's agents."""
    app = choices.needed_app()
    queue = queues or Runs.of(app).settings.queue
    if concurrency is None and pool == "threads":
        concurrency = app.conf.worker_concurrency or _SLOTS
    options = ["-P", pool, "-Q", queue, "-E", "--without-gossip", "--without-mingle"]
    # A message that waits in one worker's memory is of no use to the others.
    options += ["--prefetch-multiplier", "1", "--loglevel", "INFO"]
    if concurrency is not None:
        options += ["-c", str(concurrency)]
    if hostname is not None:
        options += ["-n", hostname]
    if log_format is not None:
        os.environ[LOG_FORMAT_VARIABLE] = log_format
    command = ["-m", "celery", "-A", str(choices.app), "worker", *options, *extra]
    choices.output.note(shlex.join(command[1:]))
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *command])  # noqa: S606 - no shell on purpose


@click.command("workers")
@shared
def workers(choices: Choices) -> None:
    """List the workers that were heard of in the last 10 s."""
    output = choices.output
    found = choices.places.merged(Runs.workers, lambda worker: worker.node)
    if output.is_json:
        for live in found:
            output.record(to_json(live))
    elif found:
        headers = ("WORKER", "POOL", "BUSY", "QUEUES", "AGENTS")
        rows = [(w.node, w.pool, _busy(w), " ".join(w.queues), " ".join(w.agents)) for w in found]
        output.table(headers, rows)
    else:
        output.note(f"No live worker. Start one with: {choices.start_worker}")


@click.command("demo")
@click.option("--kill/--no-kill", default=True, help="Kill the worker in mid-answer.")
@click.option("--console", "has_console", is_flag=True, help="Show it in a browser as well.")
@shared
def demo(_choices: Choices, kill: bool, has_console: bool) -> None:
    """Watch an agent survive the death of its worker."""
    from evented_agent.cli.demo import run_demo

    raise click.exceptions.Exit(run_demo(kill=kill, has_console=has_console))


def _busy(worker: LiveWorker) -> str:
    stuck = f" ({worker.abandoned} abandoned)" if worker.abandoned else ""
    return f"{worker.busy}/{worker.slots}{stuck}"


def _print_id(choices: Choices, run_id: str) -> None:
    if choices.output.is_json:
        choices.output.record({"run_id": run_id})
    else:
        choices.output.line(run_id)
