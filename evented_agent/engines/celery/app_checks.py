"""A user's Celery app as the command line needs it: loading it, and what is wrong with it."""

import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from celery import Celery
from celery.app.utils import find_app

from evented_agent.engines.celery.notifier import TIMEOUT
from evented_agent.engines.celery.worker import GREEN_POOLS
from evented_agent.errors import ConfigurationError


class Problem(NamedTuple):
    """What is wrong, and what mends it; each a sentence."""

    what: str
    remedy: str


def load_app(path: str) -> Celery:
    """Import the app that ``celery -A path`` would, with the modules that its worker would load.

    Raises `ConfigurationError` where there is none, or where importing it fails.
    """
    # As `celery` does it: a console script's path begins with the folder of scripts.
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    found = _imported(path, lambda: find_app(path))
    if not isinstance(found, Celery):
        raise ConfigurationError(
            f"-A {path} names {type(found).__name__!r}, not a Celery app. Give the module that "
            "holds the app, or MODULE:NAME."
        )
    load_modules(found, path)
    return found


def load_modules(app: Celery, path: str | None = None) -> None:
    """Import what a worker of *app* would: its `include`, and what it discovers.

    Raises `ConfigurationError` where that fails.
    """
    _imported(path or str(app.main), app.loader.import_default_modules)


def problems_of(app: Celery, queue: str) -> Iterator[Problem]:
    """What in *app* keeps agents from running on *queue*; asks the broker, for 1 s."""
    accepted = app.conf.accept_content
    if accepted and not {"json", "application/json"} & set(accepted):
        yield Problem(
            f"accept_content = {list(accepted)!r} refuses agent messages, which are JSON.",
            "Set accept_content = ['json', …].",
        )
    if app.conf.worker_pool in GREEN_POOLS:
        yield Problem(
            f"worker_pool = {app.conf.worker_pool!r} cannot run agents.",
            f"Set worker_pool = 'threads', or start the worker of queue {queue!r} with -P threads.",
        )
    if not app.conf.task_create_missing_queues and queue not in app.amqp.queues:
        yield Problem(
            f"task_queues lacks {queue!r}, and task_create_missing_queues is off.",
            f"Add Queue({queue!r}) to task_queues.",
        )
    yield from _broker_problems(app)


def _broker_problems(app: Celery) -> Iterator[Problem]:
    with app.connection_for_write(connect_timeout=TIMEOUT) as connection:
        limits = {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT}
        connection.transport_options = {**(connection.transport_options or {}), **limits}
        try:
            connection.connect()
        except Exception as error:  # noqa: BLE001 - whatever the transport raises
            yield Problem(
                f"The broker {connection.as_uri()} cannot be reached "
                f"({type(error).__name__}: {error}).",
                "Start it, or correct broker_url; until then runs are kept, and wait.",
            )


def _imported(path: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except Exception as error:  # noqa: BLE001 - whatever the user's modules raise
        raise _failed(path, error) from None


def _failed(path: str, error: Exception) -> ConfigurationError:
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, ModuleNotFoundError) and _is_in(path, error.name):
        return ConfigurationError(
            f"-A {path}: there is no {error.name!r} here ({Path.cwd()}). Run this in your "
            "project's folder, and give the module that holds the Celery app."
        )
    if isinstance(error, AttributeError) and frames[-1].name == find_app.__name__:
        return ConfigurationError(
            f"-A {path}: there is no Celery app in that module. Give the module that holds it."
        )
    # The line in the user's module is what helps.
    users = [frame for frame in frames if "importlib" not in frame.filename]
    at = (
        f" at {users[-1].filename}:{users[-1].lineno}"
        if users and not isinstance(error, SyntaxError)
        else ""
    )
    return ConfigurationError(
        f"-A {path} could not be imported: {type(error).__name__}: {error}{at}."
    )


def _is_in(path: str, name: str | None) -> bool:
    """Whether *name* is the module, or a package around it, that *path* names."""
    return name is not None and f"{path}.".replace(":", ".").startswith(
        f"{name}.".replace(":", ".")
    )
