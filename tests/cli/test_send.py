"""What people send to runs and conversations on the command line, and what they are told."""

import json
import shlex
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import Result

from evented_agent import Agent, DurableAgent, Settings, create_durable_agent, tool
from evented_agent.chunks import MessageQueued
from evented_agent.cli import main
from evented_agent.testing import ScriptedModel, tool_call
from tests.support.command_line import cli_runner
from tests.support.servers import RedisServer


@tool(requires_approval=True)
def wipe(path: str) -> str:
    """Wipe a path."""
    return f"wiped {path}"


class Desk:
    def __init__(self, url: str) -> None:
        self.place = ("--redis", url, "--prefix", "sending.sweeper")
        script: list[Any] = [[tool_call("wipe", path="/")], "Done."]
        agent = Agent(id="sweeper", model=ScriptedModel(script), tools=[wipe])
        self.durable: DurableAgent = create_durable_agent(
            agent, redis_url=url, settings=Settings(prefix="sending")
        )

    def __call__(self, *arguments: str, input: str | None = None) -> Result:
        return cli_runner().invoke(main, [*self.place, *arguments], input=input)

    def waiting(self, **options: Any) -> str:
        """A run that waits for a person."""
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


def queued(desk: Desk, run_id: str) -> list[MessageQueued]:
    return [chunk for chunk in desk.durable.observe(run_id) if isinstance(chunk, MessageQueued)]


def test_a_message_is_sent_and_how_to_follow_it_can_be_pasted(desk: Desk) -> None:
    run_id = desk.waiting()
    sent = desk("runs", "send", run_id[:8], "Why?", "--hold", "--message-id", "m1", "--by", "ann")

    assert (sent.exit_code, sent.stdout) == (0, "")
    [message] = queued(desk, run_id)
    assert (message.payload.message_id, message.payload.by) == ("m1", "ann")
    assert "Message m1 waits for run" in sent.stderr
    hint = shlex.split(sent.stderr.rpartition(": ")[2])
    assert hint == [
        *("evented-agent", *desk.place, "runs", "watch", run_id),
        *("--after", str(message.seq - 1)),
    ]
    assert desk(*hint[5:]).exit_code == 0


def test_messages_that_wait_are_shown_until_they_are_answered(desk: Desk) -> None:
    run_id = desk.waiting()
    for number in ("m1", "m\x1b[2J"):
        desk("runs", "send", run_id, "Why?", "--hold", "--message-id", number)

    shown = desk("runs", "show", run_id).stdout
    assert "message     m1 (waits to be answered)" in shown
    assert "message     m\\x1b[2J (waits to be answered)" in shown
    record = json.loads(desk("--json", "runs", "show", run_id).stdout)
    assert record["inbox"] == ["m1", "m\x1b[2J"]
    desk("runs", "approve", run_id)
    desk.durable.observe(run_id).result(20)
    assert "waits to be answered" not in desk("runs", "show", run_id).stdout


def test_ids_that_clients_have_chosen_add_no_lines_of_their_own(desk: Desk) -> None:
    forged = "x\nstatus      finished\r\nended       now"
    run_id = desk.waiting(thread_id=forged, resource_id=forged)
    desk("runs", "send", run_id, "Why?", "--hold", "--message-id", forged)

    shown = desk("runs", "show", run_id).stdout
    assert [line for line in shown.splitlines() if line.startswith(("status", "ended"))] == [
        "status      suspended"
    ]
    thread = desk("threads", "show", forged, "--resource", forged).stdout
    assert not [line for line in thread.splitlines() if line.startswith(("status", "ended"))]


def test_the_same_message_on_the_command_line_is_the_same_message(desk: Desk) -> None:
    run_id = desk.waiting()
    command = ("--json", "runs", "send", run_id, "-", "--message-id", "m1", "--decline")
    first, again = (desk(*command, input="Something else.\n") for _ in range(2))

    assert first.stdout == again.stdout
    receipt = json.loads(first.stdout)
    assert receipt == receipt | {"message_id": "m1", "run_id": run_id, "begins_run": False}
    other = desk("runs", "send", run_id, "Otherwise.", "--message-id", "m1")
    assert (other.exit_code, "Choose another message_id" in other.stderr) == (1, True)


def test_a_message_to_a_conversation_goes_where_its_turn_is_or_begins_a_run(desk: Desk) -> None:
    thread = f"talk {uuid.uuid4().hex}"
    run_id = desk.waiting(thread_id=thread, resource_id="ann")
    whose = ("--thread", thread, "--resource", "ann")
    sent = desk("--json", "runs", "send", *whose, "Why?", "--hold")
    assert json.loads(sent.stdout)["run_id"] == run_id
    desk.durable.abort(run_id)

    begun = desk("runs", "send", *whose, "And now?")
    assert begun.exit_code == 0
    assert "begins run" in begun.stderr
    missing = desk("runs", "send", "--thread", thread, "And now?")
    assert missing.exit_code == 1
    assert "add --resource ID" in missing.stderr
    assert "run AGENT TEXT --thread" in missing.stderr


def test_a_message_to_a_run_that_has_ended_alone_says_what_to_do(desk: Desk) -> None:
    run_id = desk.waiting()
    desk.durable.abort(run_id)
    late = desk("runs", "send", run_id, "Still there?")
    assert (late.exit_code, "Start another one" in late.stderr) == (1, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("r",),
        ("r", "two", "words"),
        ("r", "text", "--thread", "t"),
        ("r", "text", "--hold", "--decline"),
        (),
    ],
    ids=str,
)
def test_a_message_for_nobody_is_wrong_usage(desk: Desk, arguments: tuple[str, ...]) -> None:
    assert desk("runs", "send", *arguments).exit_code == 2
