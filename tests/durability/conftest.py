"""Workers behind proxies, and the undisturbed run that disturbed ones are compared with."""

import importlib
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from celery import Celery

from evented_agent import EventedAgent, Runs, create_evented_agent
from tests.durability.outcomes import Told, is_certain, thread_of, told
from tests.support.proxy import Moment, Proxy, Write
from tests.support.servers import RedisServer
from tests.support.workers import WorkerProcess, wait_until

Agents = dict[str, EventedAgent]
Start = Callable[..., WorkerProcess]
Doom = Callable[[str, Callable[[Write], bool], Moment], AbstractContextManager[threading.Event]]


@pytest.fixture(scope="module")
def worker_app() -> str:
    return "tests.durability.careful_app"


def agents_on(
    redis_url: str, broker_url: str, worker_app: str = "tests.durability.careful_app"
) -> Agents:
    """The agents of an app for a caller with a ledger, or a broker, of its own."""
    from tests.support.deployment import broker_options, settings

    evented: Agents = importlib.import_module(worker_app).evented
    app = Celery("apart", broker=broker_url, set_as_current=False)
    app.conf.broker_transport_options = broker_options(broker_url)
    return {
        id_: create_evented_agent(each.agent, app=app, redis_url=redis_url, settings=settings)
        for id_, each in evented.items()
    }


@pytest.fixture(scope="module")
def start(
    environment: dict[str, str], worker_app: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Start]:
    """Start a worker for a queue, its own by default, with its ledger behind a proxy."""
    folder = tmp_path_factory.mktemp("workers")
    started: list[WorkerProcess] = []

    def start_one(
        name: str,
        proxy: Proxy,
        *,
        queue: str | None = None,
        env: dict[str, str] | None = None,
        **options: object,
    ) -> WorkerProcess:
        queue = queue or name
        ours = {"TEST_REDIS_URL": proxy.url, "TEST_QUEUES": queue}
        worker = WorkerProcess(
            {**environment, **ours, **(env or {})},
            folder / f"{name}.log",
            name=name,
            queue=queue,
            app=worker_app,
            **options,  # type: ignore[arg-type]
        )
        started.append(worker.start())
        return worker.wait_ready()

    yield start_one
    for worker in started:
        worker.__exit__()


@pytest.fixture
def doom(start: Start, redis_server: RedisServer) -> Doom:
    """Start a worker that is killed right before or after a write; the event says that it was."""

    @contextmanager
    def doomed(
        name: str, is_it: Callable[[Write], bool], when: Moment
    ) -> Iterator[threading.Event]:
        victims: list[WorkerProcess] = []
        killed = threading.Event()

        def watch(write: Write, moment: Moment) -> bool:
            if moment == when and is_it(write) and not killed.is_set():
                victims[0].kill()
                killed.set()
            return not killed.is_set()

        with Proxy(redis_server.port, watch) as proxy:
            victims.append(start(name, proxy))
            yield killed

    return doomed


@pytest.fixture(scope="module")
def undisturbed(
    start: Start, agents: Agents, runs: Runs, redis_server: RedisServer
) -> tuple[Told, list[Write]]:
    """What a run of the careful agent comes to, and the writes of its worker, in order."""
    name = f"undisturbed-{uuid.uuid4().hex[:8]}"
    writes: list[Write] = []

    def watch(write: Write, moment: Moment) -> bool:
        if write.run_id == name and moment == "after":
            writes.append(write)
        return True

    with Proxy(redis_server.port, watch) as proxy:
        worker = start(name, proxy)
        run = agents["careful"].stream(
            "Explore.", queue=name, run_id=name, thread_id=thread_of(name)
        )
        run.result(timeout=30)
        # The last write follows the one that says the run is finished.
        wait_until(lambda: any(w.script == "leave_thread" for w in writes), "it left its thread")
        worker.kill()
    return told(runs, name), [write for write in writes if is_certain(write)]
