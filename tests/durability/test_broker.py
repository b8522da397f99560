"""The broker is a doorbell: refused, frozen or unreachable, it delays runs and loses none."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evented_agent import EventedAgent, Runs
from tests.conftest import StartWorker
from tests.support.servers import RedisServer, free_port
from tests.support.warm_start import run_warm

Agents = dict[str, EventedAgent]


def start_run(environment: dict[str, str], broker: str, run_id: str) -> None:
    """Let another process start a run while its broker is *broker*."""
    env = {
        **os.environ,
        **environment,
        "TEST_REDIS_URL": environment["TEST_BROKER_URL"],
        "TEST_BROKER_URL": broker,
    }
    done = run_warm(["tests.durability.caller", "hello", "Hi.", run_id], env, timeout=90)
    assert done.stdout.strip() == run_id, done.stderr


@contextmanager
def silent_listener() -> Iterator[str]:
    """A server that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"


def test_a_run_survives_a_refused_broker(
    environment: dict[str, str], runs: Runs, start_worker: StartWorker
) -> None:
    start_run(environment, f"redis://127.0.0.1:{free_port()}/0", "broker-refused-1")
    start_worker()

    assert runs.observe("broker-refused-1").result(timeout=30).text == "Hello, world."


def test_a_run_survives_a_silent_broker(
    environment: dict[str, str], runs: Runs, start_worker: StartWorker
) -> None:
    with silent_listener() as broker:
        start_run(environment, broker, "broker-silent-1")
    start_worker()

    assert runs.observe("broker-silent-1").result(timeout=30).text == "Hello, world."


def test_a_run_completes_once_a_frozen_broker_is_back(
    environment: dict[str, str], runs: Runs, start_worker: StartWorker, tmp_path: Path
) -> None:
    with RedisServer(tmp_path / "broker") as broker:
        apart = {"TEST_BROKER_URL": broker.url, "TEST_REDIS_URL": environment["TEST_BROKER_URL"]}
        start_worker(env=apart)
        broker.pause()
        start_run(environment, broker.url, "broker-frozen-1")
        assert runs.get("broker-frozen-1").status == "queued"
        broker.resume()

        assert runs.observe("broker-frozen-1").result(timeout=40).text == "Hello, world."


def test_runs_go_on_after_the_broker_was_restarted_empty(
    environment: dict[str, str],
    runs: Runs,
    start_worker: StartWorker,
    tmp_path: Path,
) -> None:
    with RedisServer(tmp_path / "broker", aof=False) as broker:
        apart = {"TEST_BROKER_URL": broker.url, "TEST_REDIS_URL": environment["TEST_BROKER_URL"]}
        start_worker(env=apart)
        start_run(environment, broker.url, "broker-restart-0")
        runs.observe("broker-restart-0").result(timeout=30)
        broker.restart()
        start_run(environment, broker.url, "broker-restart-1")

        assert runs.observe("broker-restart-1").result(timeout=60).text == "Hello, world."
