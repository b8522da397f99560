"""Workers that freeze in the middle of what messages bring about, and wake up later."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from evented_agent import EventedAgent, Runs
from evented_agent.chunks import TextDelta
from tests.durability.conftest import Start
from tests.durability.inbox_outcomes import said_in, wrong_with
from tests.durability.outcomes import consume, thread_of
from tests.support.proxy import Moment, Proxy, Write
from tests.support.servers import RedisServer
from tests.support.workers import WorkerProcess, wait_until

Agents = dict[str, EventedAgent]


@pytest.fixture(scope="module")
def worker_app() -> str:
    return "tests.durability.inbox_app"


@pytest.fixture(scope="module")
def survivor(start: Start, redis_server: RedisServer) -> Iterator[WorkerProcess]:
    with Proxy(redis_server.port) as proxy:
        yield start("survivor", proxy)


@pytest.fixture
def frozen_at(
    start: Start, survivor: WorkerProcess, agents: Agents, redis_server: RedisServer
) -> Iterator[Callable[..., Callable[[], None]]]:
    """Start a worker that freezes at a write, which is held on its way.

    Returns what lets another worker take over its queue, and *then* wakes it up.
    """
    held = threading.Event()
    with Proxy(redis_server.port) as proxy:

        def begin(name: str, write: Write, moment: Moment) -> Callable[..., None]:
            zombie, frozen = start(name, proxy), threading.Event()

            def watch(seen: Write, at: Moment) -> bool:
                if (seen, at) == (write, moment) and not frozen.is_set():
                    zombie.pause()
                    frozen.set()
                    held.wait(60)
                return True

            proxy.watch = watch

            def take_over(until: Callable[[], object]) -> None:
                assert frozen.wait(30)
                consume(name, by="survivor")
                wait_until(until, "another worker goes on", 60)
                consume(name, by="survivor", stop=True)
                held.set()
                zombie.resume()
                well = agents["hello"].generate("Are you well?", queue=name, timeout=30)
                assert well.status == "finished"

            return take_over

        yield begin
        held.set()


AT = {
    "in an answer that is cut short": ("commit", "1:model", "before"),
    "before it closes the run": ("close", "2:end", "before"),
    "between closing and finishing": ("close", "2:end", "after"),
    "before it finishes the run": ("commit", "2:end", "before"),
}


@pytest.mark.parametrize("where", AT)
def test_a_worker_that_froze_changes_nothing_of_what_was_answered(
    where: str,
    frozen_at: Callable[..., Callable[..., None]],
    agents: Agents,
    runs: Runs,
    marks: Path,
) -> None:
    script, task, moment = AT[where]
    name = f"frozen-{list(AT).index(where)}"
    take_over = frozen_at(name, Write(script, name, task), moment)
    run = agents["told"].stream("slow", run_id=name, queue=name, thread_id=thread_of(name))
    next(chunk for chunk in run if isinstance(chunk, TextDelta))
    agents["told"].send(name, "m1", message_id="m1", interrupt=True)
    take_over(lambda: len(said_in(runs, thread_of(name))) == 2 and runs.get(name).is_ended)

    assert list(wrong_with(runs, name, marks)) == []
    assert said_in(runs, thread_of(name)) == ["slow", "m1"]
    info = runs.thread_info(thread_of(name))
    assert info is not None
    assert (info.turn, info.runs) == (None, 1)


@pytest.mark.parametrize("script", ["yield_turn", "leave_thread"])
def test_a_worker_that_froze_takes_no_turn_that_was_asked_for_anew(
    script: str,
    frozen_at: Callable[..., Callable[..., None]],
    start: Start,
    agents: Agents,
    runs: Runs,
    redis_server: RedisServer,
    marks: Path,
) -> None:
    name, first = f"frozen-{script}", f"frozen-{script}-first"
    take_over = frozen_at(name, Write(script, first), "before")
    thread = {"thread_id": thread_of(name)}
    with Proxy(redis_server.port) as proxy:
        start(first, proxy)
        waits = agents["letters"].stream("erase a", run_id=first, queue=first, **thread)  # type: ignore[arg-type]
        wait_until(lambda: waits.status == "suspended", "a person is asked", 30)
        other = agents["told"].stream("slow", run_id=name, queue=name, **thread)  # type: ignore[arg-type]

        def goes_on() -> bool:
            # The run that gave its turn away has it again, or waits for it.
            other.result(timeout=60)
            agents["letters"].send(first, "m", message_id="m")
            agents["letters"].approve(first)
            return True

        take_over(goes_on)
        wait_until(lambda: waits.status == "finished", "it has had its turn", 60)
        wait_until(lambda: len(said_in(runs, thread_of(name))) == 3, "all is kept", 20)

    assert list(wrong_with(runs, first, marks)) == list(wrong_with(runs, name, marks)) == []
    assert said_in(runs, thread_of(name)) == ["slow", "erase a", "m"]
