"""Runs on a real worker that call the tools of four MCP servers which others have written."""

import contextlib
import json
import os
import signal
from datetime import timedelta
from pathlib import Path

import pytest

from evented_agent import EventedAgent, Runs
from tests.conftest import StartWorker
from tests.support.workers import ROOT, wait_until

Agents = dict[str, EventedAgent]
LONG = "everything_trigger-long-running-operation"


@pytest.fixture(scope="module")
def worker_app() -> str:
    return "tests.web.real_servers_app"


def servers_of(program: str) -> set[int]:
    """The processes of this machine that run *program*, each below the one that watches over it."""
    parents = dict[int, int]()
    for folder in Path("/proc").iterdir():
        # Any may end meanwhile.
        with contextlib.suppress(OSError):
            if folder.name.isdigit() and program.encode() in (folder / "cmdline").read_bytes():
                _, _, after_name = (folder / "stat").read_text().rpartition(") ")
                parents[int(folder.name)] = int(after_name.split()[1])
    return {pid for pid, parent in parents.items() if parent in parents}


def test_a_run_calls_tools_of_four_servers(
    agents: Agents, start_worker: StartWorker, marks: Path
) -> None:
    start_worker()
    note = str(marks / "note.txt")
    calls = {
        "time_convert_time": {
            "source_timezone": "UTC",
            "time": "12:00",
            "target_timezone": "Asia/Tokyo",
        },
        "git_git_log": {"repo_path": str(ROOT), "max_count": 1},
        "files_write_file": {"path": note, "content": "Written by a tool."},
        "everything_get-sum": {"a": 2, "b": 40},
    }
    asked = "\n".join(f"{name} {json.dumps(given)}" for name, given in calls.items())

    time, git, files, everything = agents["host"].generate(asked, timeout=60).answer.splitlines()

    assert "21:00" in time
    assert "Author" in git
    assert note in files
    assert Path(note).read_text() == "Written by a tool."
    assert "42" in everything


def test_a_server_that_is_killed_in_a_call_is_called_again(
    agents: Agents, runs: Runs, start_worker: StartWorker
) -> None:
    start_worker()
    before = servers_of("server-everything")
    run = agents["host"].stream(f'{LONG} {{"duration": 4, "steps": 4}}')

    def goes_on() -> bool:
        found = runs.attempts(run.run_id)
        calls = [each for each in found if each.kind == "tool" and each.started_at]
        return any(found.read_at - each.started_at > timedelta(seconds=1) for each in calls)  # type: ignore[operator]

    wait_until(goes_on, "the call has been under way for a second", 60)
    [server] = servers_of("server-everything") - before
    os.kill(server, signal.SIGKILL)

    assert "Long running operation completed" in run.result(timeout=60).answer
    calls = [each.outcome for each in runs.attempts(run.run_id) if each.kind == "tool"]
    assert calls == ["retried", "committed"]


def test_the_servers_end_with_a_worker_that_is_killed(
    agents: Agents, start_worker: StartWorker
) -> None:
    worker = start_worker()
    before = servers_of("mcp-server-time")
    agents["host"].generate('time_get_current_time {"timezone": "UTC"}', timeout=60)
    [server] = servers_of("mcp-server-time") - before
    worker.kill()
    wait_until(lambda: server not in servers_of("mcp-server-time"), "it is gone")
