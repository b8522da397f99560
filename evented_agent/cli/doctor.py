"""``doctor``: finds what keeps runs from running or being kept, and says how to fix it."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from evented_agent.cli.choices import Choices, shared
from evented_agent.cli.output import ago, on_one_line
from evented_agent.cli.places import stored_shards
from evented_agent.client.listing import unfit_calls
from evented_agent.client.runs import Runs
from evented_agent.engines.celery.app_checks import Problem, problems_of
from evented_agent.engines.celery.bystander import BYSTANDER
from evented_agent.engines.celery.fleet_checks import (
    place_problems,
    version_problems,
    worker_problems,
)
from evented_agent.errors import ConfigurationError, LedgerUnavailable
from evented_agent.ledger.records import FORMAT
from evented_agent.ledger.workers import LiveWorker
from evented_agent.state.run_info import RunInfo, worker_command

#: The oldest server that Celery's broker and the scripts work on.
OLDEST_REDIS = (6, 2)
#: From so many masters on a majority is left when one dies.
LEAST_MASTERS = 3
#: Waiting runs looked at, of each status.
_MOST_RUNS = 200
#: Run ids named in one sentence.
MOST_IDS = 3


@click.command("doctor")
@shared
def doctor(choices: Choices) -> None:
    """Look for what keeps runs from running."""
    output = choices.output
    found = list(_problems(choices))
    for problem in found:
        if output.is_json:
            output.record(problem._asdict())
        else:
            output.line(choices.pasted(f"- {problem.what} {problem.remedy}"))
    if choices.app is None and choices.celery_app is None:
        output.note("With -A MODULE the app's agents and settings are looked at, too.")
    if not found and not output.is_json:
        output.line("No problem found.")
    raise click.exceptions.Exit(1 if found else 0)


def _problems(choices: Choices) -> Iterator[Problem]:
    yield from version_problems()
    app = choices.loaded_app
    known = None if app is None else Runs.registered(app)
    if app is not None and known is None:
        yield Problem(
            f"The app that -A {choices.app} names has imported no agents.",
            "Import the module that calls create_evented_agent(agent, app=app) there, or list it "
            "in app.conf.include.",
        )
        return
    if app is not None and known is not None:
        yield from problems_of(app, known.settings.queue)
        yield from worker_problems(app, known.settings.queue)
    try:
        runs = choices.runs()
        if app is not None:
            yield from place_problems(app, runs.redis_url)
        stored = stored_shards(runs)
        live = runs.workers()
    except (LedgerUnavailable, ConfigurationError) as error:
        yield Problem(str(error), "Nothing else could be looked at.")
        return
    yield from _server_problems(runs)
    yield from _shard_problems(runs, stored)
    yield from _fleet_problems(runs, live)
    yield from _waiting_problems(runs)
    yield from _unfit_problems(runs)


def _server_problems(runs: Runs) -> Iterator[Problem]:
    masters = runs.ledger.masters()
    for name, info in masters:
        where = f"Redis at {name}"
        if info is None:
            yield Problem(
                f"This user may not ask {where} about itself (INFO).",
                "Its settings could not be looked at; runs are not affected.",
            )
        else:
            yield from _settings_problems(runs, where, info)
    if runs.ledger.kind == "cluster" and len(masters) < LEAST_MASTERS:
        yield Problem(
            f"The cluster has {len(masters)} masters.",
            f"From {LEAST_MASTERS} on they can agree on who takes over where one dies.",
        )


def _settings_problems(runs: Runs, where: str, info: Mapping[str, Any]) -> Iterator[Problem]:
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction" and not runs.settings.allow_eviction:
        yield Problem(
            f"{where} has maxmemory-policy {policy!r} and may drop runs.",
            "Set 'maxmemory-policy noeviction' there.",
        )
    if not info.get("aof_enabled"):
        yield Problem(
            f"{where} has no append-only file: a restart loses all runs.",
            "Set 'appendonly yes' there.",
        )
    if runs.ledger.kind != "server" and not info.get("connected_slaves"):
        yield Problem(
            f"{where} has no replica: when it dies, its runs wait until it is back.",
            "Add a replica.",
        )
    version = re.match(r"(\d+)\.(\d+)", str(info.get("redis_version")))
    if version and (int(version[1]), int(version[2])) < OLDEST_REDIS:
        oldest = ".".join(map(str, OLDEST_REDIS))
        yield Problem(f"{where} has version {version[0]}.", f"Use {oldest} or later, or Valkey.")


def _shard_problems(runs: Runs, stored: int | None) -> Iterator[Problem]:
    mine = runs.settings.shards
    if stored not in (None, mine):
        yield Problem(
            f"The app has Settings(shards={mine}), and runs are spread over {stored}.",
            f"Set shards={stored} in every process.",
        )


def _no_worker(runs: Runs, live: Sequence[LiveWorker]) -> Iterator[Problem]:
    queue = runs.settings.queue
    on = f" on queue {queue!r}" if runs.agents else ""
    yield Problem(f"No live worker{on}.", f"Start one with: {worker_command()}.")
    for worker in live:
        if set(worker.agents) & set(runs.agents) and queue not in worker.queues:
            yield Problem(
                f"Worker {worker.node} has imported the agents, and consumes "
                f"{', '.join(map(repr, worker.queues))} only.",
                f"Start it with -Q {','.join([*worker.queues, queue])}.",
            )


def _fleet_problems(runs: Runs, live: Sequence[LiveWorker]) -> Iterator[Problem]:
    queue = runs.settings.queue
    # Without an app its queue is not known, so any worker will do.
    able = [worker for worker in live if worker.pool != BYSTANDER]
    serving = [worker for worker in able if not runs.agents or queue in worker.queues]
    if not serving:
        yield from _no_worker(runs, live)
    for worker in live:
        if worker.abandoned:
            yield Problem(
                f"Worker {worker.node} has {worker.abandoned} of {worker.slots} slots held by "
                "tools that ran out of time and still run.",
                "Its log has their stacks. Declare them with isolate=True.",
            )
    newest = max([FORMAT, *(worker.format for worker in live)])
    for worker in serving:
        if lacking := sorted(set(runs.agents) - set(worker.agents)):
            yield Problem(
                f"Worker {worker.node} does not serve {', '.join(map(repr, lacking))}.",
                "Import the agent in the module that the worker loads, and restart it.",
            )
        if worker.format < newest:
            yield Problem(
                f"Worker {worker.node} knows format {worker.format}, and others write {newest}.",
                "Upgrade evented-agent there.",
            )


def _waiting_problems(runs: Runs) -> Iterator[Problem]:
    waiting: dict[str, list[RunInfo]] = defaultdict(list)
    # An ended run may wait for a worker, too: to keep its thread and to tell its hooks.
    for status in ("queued", "running", "failed", "aborted"):
        for info in runs.list(status=status, limit=_MOST_RUNS):
            if info.waiting_for is not None:
                waiting[info.waiting_for].append(info)
    for reason, infos in waiting.items():
        lack, _, remedy = reason.partition("; ")
        names = ", ".join(info.run_id for info in infos[:MOST_IDS])
        more = ", …" if len(infos) > MOST_IDS else ""
        count = "1 run waits" if len(infos) == 1 else f"{len(infos)} runs wait"
        since = ago(min(info.updated_at for info in infos))
        yield Problem(
            f"{count} for {lack} (since {since}: {names}{more}).",
            f"{remedy[:1].upper()}{remedy[1:]}." if remedy else "Start more workers.",
        )


def _unfit_problems(runs: Runs) -> Iterator[Problem]:
    for pending, why in runs.drive("pending", unfit_calls(runs, limit=_MOST_RUNS)):
        yield Problem(
            f"Call {pending.tool_call_id} of run {pending.run_id} waits for a person and no longer "
            f"fits: {on_one_line(why)}",
            "Bring the tool back as it was, approve other arguments, or decline it.",
        )
