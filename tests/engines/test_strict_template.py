"""Conversations of ten turns in which all goes wrong, before the strictest template there is."""

import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from evented_agent import (
    Agent,
    DurableAgent,
    RunAborted,
    RunFailed,
    Settings,
    create_durable_agent,
    tool,
)
from evented_agent.models import OpenAIChat
from tests.support.servers import RedisServer
from tests.support.strict_server import Reply, StrictServer, call, check_template, delta
from tests.support.workers import wait_until


@tool
def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@tool(requires_approval=True)
def erase(name: str) -> str:
    """Erase."""
    return "erased"


class Script:
    """Does what the last user's message says."""

    def __init__(self) -> None:
        self.waits = threading.Event()
        self.holds = threading.Event()

    def reply(self, body: dict[str, Any]) -> Reply:
        last = body["messages"][-1]
        if last["role"] == "tool":
            return [delta(content="Done."), delta("stop")]
        # What was not answered before stands in the same message.
        word = str(last["content"]).rpartition("\n\n")[2]
        return getattr(self, word)()  # type: ignore[no-any-return]

    def answer(self) -> Reply:
        return [delta(content="Yes."), delta("stop")]

    def empty(self) -> Reply:
        return [delta("stop", content="")]

    def fail(self) -> Reply:
        return 401, {"error": {"message": "Not now."}}, {}

    def calls(self) -> Reply:
        # The same ids each time, as some servers give them.
        calls = [call(0, "aaaaaaaaa", "add", a=1, b=2), call(1, "bbbbbbbbb", "add", a=3, b=4)]
        return [delta(tool_calls=calls), delta("tool_calls")]

    def asks(self) -> Reply:
        return [delta(tool_calls=[call(0, "aaaaaaaaa", "erase", name="a")]), delta("tool_calls")]

    def silence(self) -> Iterator[Any]:
        self.waits.set()
        yield self.holds

    def half(self) -> Iterator[Any]:
        yield delta(content="Half of ")
        self.waits.set()
        yield self.holds


Turn = Callable[[DurableAgent, Script, str], None]


def say(durable: DurableAgent, script: Script, word: str) -> None:
    durable.stream(word, thread_id="t").result(timeout=30)


def fail(durable: DurableAgent, script: Script, word: str) -> None:
    with pytest.raises(RunFailed):
        say(durable, script, word)


def abort(durable: DurableAgent, script: Script, word: str) -> None:
    script.waits.clear()
    run = durable.stream(word, thread_id="t")
    wait_until(script.waits.is_set, "the model was asked")
    run.abort()
    with pytest.raises(RunAborted):
        run.result(timeout=30)


def decline(durable: DurableAgent, script: Script, word: str) -> None:
    run = durable.stream(word, thread_id="t")
    wait_until(lambda: run.pending, "it waits")
    run.decline(reason="no")
    run.result(timeout=30)


def give_up(durable: DurableAgent, script: Script, word: str) -> None:
    run = durable.stream(word, thread_id="t")
    wait_until(lambda: run.pending, "it waits")
    run.abort()
    with pytest.raises(RunAborted):
        run.result(timeout=30)


DIALOGS: list[list[tuple[Turn, str]]] = [
    [
        (abort, "silence"),
        (say, "answer"),
        (say, "calls"),
        (say, "empty"),
        (decline, "asks"),
        (abort, "half"),
        (fail, "fail"),
        (say, "calls"),
        (give_up, "asks"),
        (say, "answer"),
    ],
    [
        (fail, "fail"),
        (fail, "fail"),
        (abort, "silence"),
        (say, "empty"),
        (say, "calls"),
        (give_up, "asks"),
        (abort, "silence"),
        (decline, "asks"),
        (say, "calls"),
        (say, "answer"),
    ],
]


@pytest.mark.parametrize("dialog", DIALOGS)
def test_no_turn_is_refused_whatever_became_of_those_before(
    dialog: list[tuple[Turn, str]], redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "key-of-the-test")
    script = Script()
    with StrictServer(check_template, script.reply) as server:
        agent = Agent(
            id="strict",
            instructions="Be brief.",
            model=OpenAIChat("m", base_url=server.url),
            tools=[add, erase],
        )
        settings = Settings(prefix=f"s{uuid.uuid4().hex[:8]}")
        durable = create_durable_agent(agent, redis_url=redis_server.url, settings=settings)
        for turn, word in dialog:
            turn(durable, script, word)
        durable.close()
        script.holds.set()
        assert server.refused == []
        assert len(server.asked) >= len(dialog)
