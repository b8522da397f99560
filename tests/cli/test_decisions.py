"""What people see and are told when they decide on the command line."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import Result

from evented_agent import Agent, DurableAgent, Settings, create_durable_agent, tool
from evented_agent.cli import main
from evented_agent.testing import ScriptedModel, tool_call
from tests.support.command_line import cli_runner
from tests.support.servers import RedisServer

#: A text that is shown as "safe" and right to left, rings the bell, and clears the screen.
HOSTILE = "rm \u202eefas\u202c \x1b[2J\x07\u200b\U000e0041"
LONG = "x" * 5_000


@tool(requires_approval=True)
def wipe(path: str, flags: list[str]) -> str:
    """Wipe a path."""
    return f"wiped {path}"


class Desk:
    def __init__(self, url: str) -> None:
        self.url = url
        settings = Settings(prefix="desk")
        script: list[Any] = [
            [tool_call("wipe", path=HOSTILE, flags=[LONG, "--last"])],
            f"Done {HOSTILE}.",
        ]
        agent = Agent(id="wiper", model=ScriptedModel(script), tools=[wipe])
        self.durable: DurableAgent = create_durable_agent(agent, redis_url=url, settings=settings)

    def __call__(self, *arguments: str) -> Result:
        place = ("--redis", self.url, "--prefix", "desk.wiper")
        return cli_runner().invoke(main, [*place, *arguments])

    def waiting(self, **options: Any) -> str:
        run = self.durable.stream("Go.", **options)
        run.result(20)
        return run.run_id


@pytest.fixture
def desk(redis_server: RedisServer) -> Iterator[Desk]:
    made = Desk(redis_server.url)
    yield made
    for info in made.durable.list():
        made.durable.delete(info.run_id)
    made.durable.close()  # type: ignore[attr-defined]


def test_all_of_what_is_to_be_approved_is_shown_and_nothing_steers_the_terminal(desk: Desk) -> None:
    run_id = desk.waiting()
    for arguments in (("runs", "pending"), ("runs", "show", run_id)):
        shown = desk(*arguments).stdout
        assert LONG in shown
        assert "--last" in shown
        assert "rm \\u202eefas\\u202c \\x1b[2J\\x07\\u200b\\U000e0041" in shown.replace(
            "\\u001b", "\\x1b"
        ).replace("\\u0007", "\\x07")
        assert not set(shown) & set("\u202e\u202c\x1b\x07\u200b\U000e0041")


def test_json_has_the_same_texts_without_a_sign_that_steers(desk: Desk) -> None:
    run_id = desk.waiting()
    listed = desk("--json", "runs", "pending").stdout
    assert not set(listed) & set("\u202e\u202c\x1b\x07\u200b\U000e0041")
    assert json.loads(listed)["arguments"] == {"path": HOSTILE, "flags": [LONG, "--last"]}
    watched = desk("--json", "runs", "watch", run_id).stdout
    assert not set(watched) & set("\u202e\u202c\x1b\x07\u200b\U000e0041")
    assert HOSTILE in json.dumps(
        [json.loads(each) for each in watched.splitlines()], ensure_ascii=False
    ).replace("\\u001b", "\x1b").replace("\\u0007", "\x07")


def test_the_text_of_a_run_is_safe_to_print(desk: Desk) -> None:
    run_id = desk.waiting()
    assert desk("runs", "approve", run_id, "--by", "ann").exit_code == 0
    desk.durable.observe(run_id).result(20)
    watched = desk("runs", "watch", run_id).stdout
    assert "Done rm \\u202eefas\\u202c \\x1b[2J" in watched


def test_who_decides_again_is_told_who_has_and_has_no_success(desk: Desk) -> None:
    run_id = desk.waiting()
    first = desk("--json", "runs", "approve", run_id, "--by", "ann")
    assert (first.exit_code, json.loads(first.stdout)["is_new"]) == (0, True)
    desk.durable.observe(run_id).result(20)

    again = desk("runs", "approve", run_id, "--by", "bob")
    assert (again.exit_code, "was approved by ann at " in again.stderr) == (1, True)
    assert "already" in again.stderr
    told = desk("--json", "runs", "approve", run_id, "--by", "bob")
    assert (told.exit_code, json.loads(told.stdout)) == (
        1,
        json.loads(told.stdout) | {"is_new": False, "decision": "approved", "by": "ann"},
    )
    other = desk("runs", "decline", run_id, "--by", "bob")
    assert (other.exit_code, "was approved by 'ann' at " in other.stderr) == (1, True)
    shown = desk("runs", "show", run_id).stdout
    assert "was approved by ann at " in shown


def test_what_ended_undecided_long_ago_is_not_approved(desk: Desk) -> None:
    run_id = desk.waiting()
    desk.durable.abort(run_id)
    late = desk("runs", "approve", run_id)
    assert (late.exit_code, "has ended; there is nothing to decide" in late.stderr) == (1, True)


def test_all_of_a_person_is_deleted(desk: Desk) -> None:
    kept = desk.waiting()
    for _ in range(2):
        desk.waiting(resource_id="ann", thread_id="talk", when_busy="parallel")
    done = desk("--json", "runs", "delete", "--resource", "ann")
    assert json.loads(done.stdout) == {"resource_id": "ann", "deleted_runs": 2}
    assert [info.run_id for info in desk.durable.list()] == [kept]
    assert desk("runs", "delete").exit_code == 2
    assert desk("runs", "delete", kept, "--resource", "ann").exit_code == 2
