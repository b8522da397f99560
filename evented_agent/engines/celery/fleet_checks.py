"""What is wrong with an app's workers and its broker, as far as Celery itself can tell."""

import importlib.metadata
import os
from collections.abc import Iterator, Mapping
from typing import Any

from celery import Celery
from packaging.requirements import Requirement

from evented_agent.client.deployment import REDIS_URL_VARIABLE
from evented_agent.engines.celery.app_checks import Problem
from evented_agent.engines.celery.notifier import NAMES
from evented_agent.engines.celery.redis_url import SETTING, from_broker
from evented_agent.errors import ConfigurationError
from evented_agent.ledger.address import safe_url

#: Seconds that workers have to answer.
_TIMEOUT = 1.0
#: Messages a slot that a worker may take at a time.
_MOST_PREFETCH = 1


def place_problems(app: Celery, redis_url: str) -> Iterator[Problem]:
    """Where the broker and the runs are, if that is not what was meant."""
    broker = app.conf.broker_write_url or app.conf.broker_url
    if not broker:
        yield Problem(
            "The app names no broker, so Celery takes amqp://guest@localhost//.",
            "Set one: Celery(…, broker='redis://HOST:PORT/DB'), or broker=embedded_broker().",
        )
        return
    try:
        of_broker = from_broker(str(broker))
    except ConfigurationError:
        # Not Redis: the runs are elsewhere in any case.
        return
    variable = os.environ.get(REDIS_URL_VARIABLE)
    if not app.conf.get(SETTING) and variable == redis_url and of_broker != redis_url:
        yield Problem(
            f"{REDIS_URL_VARIABLE} puts the runs at {safe_url(redis_url)}, and the broker is "
            f"{safe_url(of_broker)}: a process without the variable looks there.",
            f"Set the variable in every process, or app.conf.{SETTING} in the code.",
        )


def worker_problems(app: Celery, queue: str) -> Iterator[Problem]:
    """What workers say of themselves; asks them over the broker, for 1 s."""
    try:
        # Else each question would try for seconds.
        with app.connection_for_write(connect_timeout=_TIMEOUT) as connection:
            connection.connect()
        inspect = app.control.inspect(timeout=_TIMEOUT)
        queues: Mapping[str, Any] = inspect.active_queues() or {}
        nodes = [node for node, consumed in queues.items() if queue in _names(consumed)]
        if not nodes:
            return
        asked = app.control.inspect(nodes, timeout=_TIMEOUT)
        registered: Mapping[str, Any] = asked.registered() or {}
        stats: Mapping[str, Any] = asked.stats() or {}
    except Exception:  # noqa: BLE001 - whatever the transport raises: the broker has its own line
        return
    for node in nodes:
        tasks = {str(task).partition(" ")[0] for task in registered.get(node, ())}
        if node in registered and NAMES["model"] not in tasks:
            yield Problem(
                f"Worker {node} consumes queue {queue!r} and has imported no agents: it drops the "
                "messages of their runs.",
                "Import the module that calls create_evented_agent in the one that -A names.",
            )
        yield from _prefetch_problems(node, stats.get(node) or {})


def version_problems() -> Iterator[Problem]:
    """Packages that are older, or newer, than what this library works with."""
    for line in importlib.metadata.requires("evented-agent") or ():
        needed = Requirement(line)
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        try:
            found = importlib.metadata.version(needed.name)
        except importlib.metadata.PackageNotFoundError:
            found = None
        if found is None or not needed.specifier.contains(found, prereleases=True):
            yield Problem(
                f"{needed.name} is {found or 'not installed'}, and {needed.specifier} is needed.",
                f'Run pip install "{needed.name}{needed.specifier}".',
            )


def _prefetch_problems(node: str, stats: Mapping[str, Any]) -> Iterator[Problem]:
    taken = stats.get("prefetch_count")
    slots = (stats.get("pool") or {}).get("max-concurrency")
    if not isinstance(taken, int) or not isinstance(slots, int) or slots < 1:
        return
    # 0 means: as many as there are.
    if taken == 0 or taken > slots * _MOST_PREFETCH:
        yield Problem(
            f"Worker {node} takes up to {taken or 'all'} messages for its {slots} slots: they wait "
            "there while other workers are free.",
            "Set worker_prefetch_multiplier = 1, or start it with: evented-agent worker -A MODULE.",
        )


def _names(consumed: Any) -> set[str]:
    return {each.get("name", "") for each in consumed}
