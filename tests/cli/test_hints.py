"""What commands tell people to do next can be pasted, and looking changes nothing."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result

from evented_agent import Agent, InProcessAgent, Settings, create_durable_agent, tool
from evented_agent.cli import main
from evented_agent.ledger.embedded_server import stop_server
from evented_agent.testing import ScriptedModel, tool_call
from tests.support.command_line import cli_runner
from tests.support.servers import RedisServer


@tool(requires_approval=True)
def refund(order: int) -> str:
    """Refund an order."""
    return f"refunded {order}"


def clerk(agent_id: str = "clerk") -> Agent:
    return Agent(
        id=agent_id,
        model=ScriptedModel([[tool_call("refund", order=7)], "Done."]),
        tools=[refund],
    )


def invoke(*arguments: str) -> Result:
    return cli_runner().invoke(main, [*arguments])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a project on a machine where nothing is configured."""
    monkeypatch.delenv("EVENTED_AGENT_HOME", raising=False)
    monkeypatch.delenv("EVENTED_AGENT_REDIS_URL", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    yield project
    for home in (tmp_path / "state" / "evented-agent").glob("*"):
        stop_server(home)


@pytest.fixture
def served(folder: Path) -> Iterator[InProcessAgent]:
    durable = create_durable_agent(clerk())
    yield durable
    durable.close()


def test_runs_of_a_process_are_listed_and_decided_with_no_option_at_all(
    served: InProcessAgent,
) -> None:
    run = served.stream("Refund order 7.\nPlease.", thread_id="t1", resource_id="ann")
    run.result(20)

    listed = invoke("runs", "ls").stdout
    assert run.run_id[:8] in listed
    for word in ("clerk", "suspended", "15", "t1", "ann", "Refund order 7. Please."):
        assert word in listed
    assert invoke("runs", "approve", run.run_id[:8], "--by", "bob").exit_code == 0
    assert run.result(20).text == "Done."
    shown = invoke("runs", "show", run.run_id[:8]).stdout
    assert "user: Refund order 7." in shown
    assert shown.index("> refund(order=7)") < shown.index("was approved by bob")
    assert shown.index("was approved by bob") < shown.index("< refund: refunded 7")
    assert shown.index("< refund: refunded 7") < shown.index("assistant: Done.")
    assert shown.rstrip().endswith("finished (stop)")


def test_the_hint_of_one_command_is_the_next_command(served: InProcessAgent) -> None:
    run = served.stream("Refund order 7.")
    run.result(20)

    watched = invoke("runs", "watch", run.run_id)
    hint = watched.stderr.partition(" waits: ")[2].partition(" (or")[0]
    assert shlex.split(hint) == ["evented-agent", "runs", "approve", run.run_id]
    assert invoke(*shlex.split(hint)[1:]).exit_code == 0


def test_a_hint_carries_where_the_runs_are(redis_server: RedisServer) -> None:
    durable = create_durable_agent(
        clerk(), redis_url=redis_server.url, settings=Settings(prefix="hints")
    )
    run = durable.stream("Refund order 7.")
    run.result(20)
    place = ("--redis", redis_server.url, "--prefix", "hints.clerk")

    watched = invoke(*place, "runs", "watch", run.run_id)
    hint = shlex.split(watched.stderr.partition(" waits: ")[2].partition(" (or")[0])

    assert hint == ["evented-agent", *place, "runs", "approve", run.run_id]
    assert invoke(*hint[1:]).exit_code == 0
    run.result(20)
    durable.close()


def test_looking_where_there_is_nothing_starts_nothing_and_says_what_to_add(folder: Path) -> None:
    for command in (("runs", "ls"), ("runs", "approve", "x"), ("runs", "pending"), ("workers",)):
        done = invoke(*command)
        assert done.exit_code == 1
        assert "no embedded server runs for this folder" in done.stderr
        assert "-A MODULE" in done.stderr
        assert "--redis URL" in done.stderr
    assert not (folder.parent / "state").exists()


def test_a_run_that_is_not_here_is_told_with_where_and_what_to_add(
    redis_server: RedisServer,
) -> None:
    done = invoke("--redis", redis_server.url, "runs", "approve", "elsewhere")

    assert done.exit_code == 1
    assert done.stderr.startswith("Error: No run 'elsewhere'. Looked at " + redis_server.url)
    assert "add -A MODULE" in done.stderr


def test_the_beginning_of_two_runs_names_neither(served: InProcessAgent) -> None:
    for run_id in ("order-1", "order-2"):
        served.stream("Refund.", run_id=run_id).result(20)

    done = invoke("runs", "show", "order")

    assert done.exit_code == 1
    assert "Several runs begin with 'order': order-" in done.stderr


def test_lists_go_on_page_by_page_over_all_agents_of_a_folder(served: InProcessAgent) -> None:
    other = create_durable_agent(clerk("other"))
    expected = []
    for at in range(5):
        agent = (served, other)[at % 2]
        run = agent.stream("Refund.")
        run.result(20)
        expected.append(run.run_id)

    found: list[str] = []
    page: tuple[str, ...] = ()
    while True:
        done = invoke("runs", "ls", "--limit", "2", "--json", *page)
        found += [json.loads(line)["run_id"] for line in done.stdout.splitlines()]
        if "--page" not in done.stderr:
            break
        page = ("--page", done.stderr.split("--page ")[1].strip())

    assert found == expected[::-1]
    other.close()


def test_the_server_of_a_project_is_shown_started_and_stopped(folder: Path) -> None:
    assert invoke("server").exit_code == 1
    assert "broker" in invoke("server", "start").stdout
    assert json.loads(invoke("server", "show", "--json").stdout)["url"].startswith("unix://")
    assert invoke("server", "stop").exit_code == 0
    assert invoke("server", "show").exit_code == 1
