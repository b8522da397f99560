"""What all tests share: one real server, and real workers on it."""

import gc
import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.support.coverage_floor import is_measured
from tests.support.leaks import LeakCheck
from tests.support.scheduling import FilesAndEngines, longest_first
from tests.support.servers import RedisServer
from tests.support.walks import EXAMPLES
from tests.support.workers import WorkerProcess

if TYPE_CHECKING:
    from xdist.remote import Producer

    from evented_agent import EventedAgent, Runs

# Machines are shared and noisy: how long an example takes says nothing about it.
settings.register_profile(
    "here",
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("here")

# A shell's background jobs ignore Ctrl-C, and so would the processes that tests send it to.
signal.signal(signal.SIGINT, signal.default_int_handler)

# What is imported and collected stays to the end: looking through it again and again takes as long.
gc.disable()

StartWorker = Callable[..., WorkerProcess]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """`topologies/` is run where it is asked for: it takes many servers."""
    is_asked = any("topologies" in argument for argument in config.args)
    return True if collection_path.name == "topologies" and not is_asked else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    longest_first(items)


def pytest_collection_finish() -> None:
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Trace no lines where they do not count: it takes as long again as what is traced."""
    here, threads = sys.gettrace(), threading.gettrace()
    if is_measured(item.nodeid) or here is None:
        return (yield)
    sys.settrace(None)
    threading.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(here)
        threading.settrace(threads)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: "Producer") -> FilesAndEngines | None:
    return FilesAndEngines(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def leak_check(redis_server: RedisServer) -> Iterator[LeakCheck]:
    check = LeakCheck(redis_server.url)
    yield check
    check.close()


@pytest.fixture(scope="module")
def no_key_stays_for_ever(leak_check: LeakCheck) -> Iterator[None]:
    """After a file's tests, whatever their ended runs left on the shared server has an end too.

    Nothing of it stays there: a worker of the next file has only that file's runs to serve.
    """
    yield
    leaks = leak_check.leaks()
    leak_check.forget()
    assert not leaks, "These keys would stay for ever:\n" + "\n".join(leaks)


@pytest.fixture(autouse=True)
def leaves_nothing(request: pytest.FixtureRequest) -> None:
    """Look for leaks once a file: each look goes through all keys of the server."""
    if "redis_server" in request.fixturenames:
        request.getfixturevalue("no_key_stays_for_ever")


@pytest.fixture(scope="session")
def environment(
    redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """What the apps of the tests read, in this process and in every worker."""
    values = {
        "TEST_BROKER_URL": redis_server.url,
        "TEST_MARKS": str(tmp_path_factory.mktemp("marks")),
        "TEST_RESULT_BACKEND": redis_server.url,
    }
    os.environ.update(values)
    return values


@pytest.fixture(scope="module")
def worker_app() -> str:
    """The module of the app; a test file whose agents stand beside it names that one."""
    return "tests.support.app"


@pytest.fixture(scope="module")
def agents(environment: dict[str, str], worker_app: str) -> "dict[str, EventedAgent]":
    """The agents of the app, by id."""
    evented: dict[str, EventedAgent] = importlib.import_module(worker_app).evented
    return evented


@pytest.fixture(scope="session")
def runs(environment: dict[str, str]) -> "Runs":
    from evented_agent import Runs
    from tests.support.app import app

    return Runs.of(app)


@pytest.fixture
def marks(environment: dict[str, str]) -> Path:
    """The folder where tools leave marks, empty."""
    folder = Path(environment["TEST_MARKS"])
    for file in folder.iterdir():
        file.unlink()
    return folder


@pytest.fixture
def start_worker(
    environment: dict[str, str], tmp_path: Path, worker_app: str
) -> Iterator[StartWorker]:
    """Start workers; whatever is left of them is killed after the test."""
    started: list[WorkerProcess] = []

    def start(
        name: str = "w1", *, env: dict[str, str] | None = None, **options: object
    ) -> WorkerProcess:
        values = {**environment, **(env or {})}
        options = {"app": worker_app, **options}
        worker = WorkerProcess(values, tmp_path / f"{name}.log", name=name, **options)  # type: ignore[arg-type]
        started.append(worker.start())
        return worker.wait_ready()

    yield start
    for worker in started:
        worker.__exit__()
        # Shown where the test has failed.
        print(f"The end of what worker {worker.name} wrote:", worker.text()[-4000:], sep="\n")


@pytest.fixture(scope="module")
def module_worker(
    environment: dict[str, str], worker_app: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WorkerProcess]:
    """One worker for the tests of a module that leave it alive."""
    log = tmp_path_factory.mktemp("worker") / "w.log"
    with WorkerProcess(environment, log, app=worker_app, name="module") as worker:
        yield worker
