"""What Flower shows of a run: its tasks by name, chained, with their states and no prompts."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from evented_agent import EventedAgent
from tests.support.servers import free_port
from tests.support.workers import ROOT, WorkerProcess, wait_until

Agents = dict[str, EventedAgent]
Tasks = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def flower(
    environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """Flower's REST API, after it has heard of a worker that sends events."""
    folder, port = tmp_path_factory.mktemp("flower"), free_port()
    url = f"http://127.0.0.1:{port}"
    process = _start_flower(environment, port, folder / "flower")
    worker = WorkerProcess(environment, folder / "worker", name="seen", options=["-E"])
    try:
        with worker, httpx.Client(base_url=url, timeout=10, trust_env=False) as client:
            wait_until(lambda: _knows(client, "seen@test"), "Flower hears the worker", 30)
            yield client
    finally:
        process.kill()
        process.wait()


def _start_flower(environment: dict[str, str], port: int, log: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "celery", "-A", "tests.support.app", "flower"]
    env = {**os.environ, **environment, "FLOWER_UNAUTHENTICATED_API": "true"}
    with log.open("wb") as output:
        return subprocess.Popen(
            [*command, "--address=127.0.0.1", f"--port={port}"],
            cwd=ROOT,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )


def _knows(client: httpx.Client, worker: str) -> bool:
    try:
        found = client.get("/api/workers", params={"status": "true"}).json()
    except httpx.TransportError:
        return False
    return bool(found.get(worker))


def run_in_view(flower: httpx.Client, agents: Agents, agent: str, message: str) -> Tasks:
    """Run an agent; its tasks as Flower has them, by key and generation, once all have ended."""
    run_id = agents[agent].stream(message).result(timeout=20).run_id
    found: Tasks = {}

    def has_ended() -> bool:
        tasks = flower.get("/api/tasks").json()
        found.update(
            (uuid.removeprefix(f"{run_id}:"), task)
            for uuid, task in tasks.items()
            if uuid.startswith(f"{run_id}:")
        )
        # The last task of a run is its last model call, which goes on with the end task.
        return "2:model:1" in found and not {task["state"] for task in found.values()} & {
            *("PENDING", "RECEIVED", "STARTED")
        }

    wait_until(has_ended, "Flower has seen the run's tasks end")
    return found


def test_a_run_is_a_chain_of_tasks_with_readable_names(
    flower: httpx.Client, agents: Agents
) -> None:
    tasks = run_in_view(flower, agents, "calculator", "Please add.")

    calls = sorted(key for key in tasks if ":tool:" in key)
    assert {key: task["name"] for key, task in tasks.items()} == {
        "1:model:1": "model[calculator]",
        **dict.fromkeys(calls, "tool[add]"),
        "2:model:1": "model[calculator]",
    }
    assert len(calls) == 2
    assert {task["state"] for task in tasks.values()} == {"SUCCESS"}
    first = tasks["1:model:1"]["uuid"]
    assert {task["root_id"] for task in tasks.values()} == {first}
    assert [tasks["1:model:1"]["parent_id"], *(tasks[key]["parent_id"] for key in calls)] == [
        *(None, first, first)
    ]
    assert tasks["2:model:1"]["parent_id"] in {tasks[key]["uuid"] for key in calls}


def test_a_failed_tool_is_a_failure(flower: httpx.Client, agents: Agents) -> None:
    tasks = run_in_view(flower, agents, "toolbox", "broken {}")

    [failed] = [task for task in tasks.values() if task["name"] == "tool[broken]"]
    assert failed["state"] == "FAILURE"
    assert "no such luck" in failed["exception"]
    assert tasks["2:model:1"]["state"] == "SUCCESS"


def test_a_tool_that_is_tried_again_shows_each_try(flower: httpx.Client, agents: Agents) -> None:
    tasks = run_in_view(flower, agents, "toolbox", "flaky {}")

    tries = {key: task for key, task in tasks.items() if task["name"] == "tool[flaky]"}
    assert {key.rpartition(":")[2]: task["state"] for key, task in tries.items()} == {
        "1": "RETRY",
        "2": "SUCCESS",
    }
    [call] = {key.rpartition(":")[0] for key in tries}
    assert call.startswith("1:tool:")


def test_arguments_name_the_task_and_tell_no_prompt(flower: httpx.Client, agents: Agents) -> None:
    tasks = run_in_view(flower, agents, "calculator", "Add the sum of the safe.")

    for key, task in tasks.items():
        run_id = task["uuid"].partition(":")[0]
        assert task["args"] == f"({run_id}, {key.rpartition(':')[0]})"
        assert task["kwargs"] == "{}"
    assert "safe" not in flower.get("/api/tasks").text
