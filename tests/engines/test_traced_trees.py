"""Spans of child runs, beneath the calls that they answer, with the real SDK of OpenTelemetry."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from evented_agent import Agent, InProcessAgent, RunAborted, Settings, create_durable_agent, tool
from evented_agent.errors import ModelError
from evented_agent.models.protocol import ModelRequest
from evented_agent.testing import Say, ScriptedModel, tool_call
from tests.support.servers import RedisServer
from tests.support.traces import Recorded, StoredSpan
from tests.support.workers import wait_until

Start = Callable[..., InProcessAgent]


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    return Recorded(monkeypatch)


@pytest.fixture
def served(redis_server: RedisServer) -> Iterator[Start]:
    """Serve an agent in this process, with those that it calls; closed after the test."""
    made: list[InProcessAgent] = []

    def serve_one(agent: Agent, *, settings: Settings | None = None) -> InProcessAgent:
        made.append(create_durable_agent(agent, redis_url=redis_server.url, settings=settings))
        return made[-1]

    yield serve_one
    for durable in made:
        durable.close()


def agent(id: str, script: Any, *tools: Any, pause: float = 0) -> Agent:
    model = ScriptedModel(script, name="openai/gpt-5.5", pause=pause)
    return Agent(id=id, description=f"Does what {id} do.", model=model, tools=tools, version="7")


def asks(name: str) -> Say:
    return Say("Let me ask.", [tool_call(name, input="Look.")])


@tool
def seen() -> str:
    """Look at it."""
    return "it"


def parents(spans: list[StoredSpan]) -> list[tuple[str, str, str | None]]:
    """Whose each span is, what it is, and what it is beneath, with the span's own process left."""
    named = {span.span_id: span.name for span in spans}
    return [
        (
            span.attributes["evented_agent.run.id"].partition("~")[2],
            span.name,
            named.get(span.parent or ""),
        )
        for span in spans
        if "evented_agent.run.id" in span.attributes
    ]


def test_each_child_run_is_beneath_the_call_that_it_answers(
    recorded: Recorded, served: Start
) -> None:
    scout = agent("scout", [[tool_call("seen")], "It is there."], seen)
    lead = agent("lead", [asks("scout"), "The scout has seen it."], scout.as_tool())
    durable = served(agent("boss", [asks("lead"), "All is well."], lead.as_tool()))
    run = durable.stream("Go.", thread_id="t-tree")
    run.result(20)

    spans = recorded.ended(run.run_id)
    assert len({span.trace_id for span in spans}) == 1
    assert {span.attributes["gen_ai.conversation.id"] for span in spans} == {"t-tree"}
    assert [span.status for span in spans] == ["UNSET"] * len(spans)
    boss, lead_span, scout_span = (f"invoke_agent {name}" for name in ("boss", "lead", "scout"))
    assert parents(spans) == [
        ("", boss, None),
        ("", "chat gpt-5.5", boss),
        ("", "execute_tool lead", boss),
        ("1", lead_span, "execute_tool lead"),
        ("1", "chat gpt-5.5", lead_span),
        ("1", "execute_tool scout", lead_span),
        ("1~1", scout_span, "execute_tool scout"),
        ("1~1", "chat gpt-5.5", scout_span),
        ("1~1", "execute_tool seen", scout_span),
        ("1~1", "chat gpt-5.5", scout_span),
        ("1~1", "end_run scout", scout_span),
        ("1", "chat gpt-5.5", lead_span),
        ("1", "end_run lead", lead_span),
        ("", "chat gpt-5.5", boss),
        ("", "end_run boss", boss),
    ]
    [began] = recorded.spans(scout_span)
    assert began.attributes == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "scout",
        "gen_ai.agent.version": "7",
        "gen_ai.conversation.id": "t-tree",
        "evented_agent.run.id": f"{run.run_id}~1~1",
    }
    # How long an agent takes is no time of a tool.
    [called] = recorded.points()["gen_ai.execute_tool.duration"]
    assert called.attributes["gen_ai.tool.name"] == "seen"


def test_a_child_run_that_fails_says_so_and_its_parent_goes_on(
    recorded: Recorded, served: Start
) -> None:
    scout = agent("scout", [ModelError("out of credit", status=402)])
    durable = served(agent("boss", [asks("scout"), "Then not."], scout.as_tool()))
    run = durable.stream("Go.")
    run.result(20)
    recorded.ended(run.run_id)

    [failed], [end] = recorded.spans("end_run scout"), recorded.spans("end_run boss")
    assert (failed.status, failed.attributes["error.type"]) == ("ERROR", "402")
    assert failed.attributes["evented_agent.run.status"] == "failed"
    assert end.status == "UNSET"


def test_a_child_run_for_which_there_is_no_room_is_an_error_of_both_spans(
    recorded: Recorded, served: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evented_agent.ledger.attempts.MOST_CHILDREN", 0)
    scout = agent("scout", ["Never."])
    durable = served(agent("boss", [asks("scout"), "Then not."], scout.as_tool()))
    run = durable.stream("Go.")
    run.result(20)
    recorded.ended(run.run_id)

    [called], [began] = recorded.spans("execute_tool"), recorded.spans("invoke_agent scout")
    assert (called.status, called.attributes["error.type"]) == ("ERROR", "TooManyAgents")
    assert (began.status, began.attributes["error.type"]) == ("ERROR", "full")


def test_an_abort_of_the_tree_ends_the_run_that_was_started(
    recorded: Recorded, served: Start
) -> None:
    scout = agent("scout", ["Once upon a time there was a long story. " * 50], pause=0.05)
    durable = served(agent("boss", [asks("scout"), "Never."], scout.as_tool()))
    run = durable.stream("Go.")
    for chunk in run:
        if chunk.type == "child" and chunk.payload.type == "text-delta":
            break
    run.abort("enough")
    with pytest.raises(RunAborted):
        run.result(20)

    spans = recorded.ended(run.run_id)
    [end], [start] = recorded.spans("end_run"), recorded.spans("invoke_agent boss")
    assert (end.name, end.parent) == ("end_run boss", start.span_id)
    assert end.attributes["evented_agent.run.status"] == "aborted"
    assert ("1", "chat gpt-5.5", "invoke_agent scout") in parents(spans)


@pytest.mark.parametrize("names_child", [True, False])
def test_a_decision_about_a_call_of_a_child_run_is_beneath_that_one(
    names_child: bool, recorded: Recorded, served: Start
) -> None:
    @tool(requires_approval=True)
    def pay() -> str:
        """Pay."""
        return "paid"

    scout = agent("scout", [[tool_call("pay")], "Paid."], pay)
    durable = served(agent("boss", [asks("scout"), "Well."], scout.as_tool()))
    run = durable.stream("Go.", thread_id="t-pay")
    wait_until(lambda: durable.get(run.run_id).status == "suspended", "it waits")
    child_id = f"{run.run_id}~1"
    durable.approve(child_id if names_child else run.run_id)
    durable.observe(run.run_id).result(20)
    recorded.ended(run.run_id)

    [decided], [began] = recorded.spans("resume_run"), recorded.spans("invoke_agent scout")
    assert (decided.name, decided.parent) == ("resume_run scout", began.span_id)
    assert decided.attributes["evented_agent.run.id"] == child_id
    assert decided.attributes["evented_agent.waited"] >= 0


def test_of_a_tree_that_nobody_traces_nothing_is_stored(
    recorded: Recorded, served: Start, redis_server: RedisServer
) -> None:
    with redis.Redis.from_url(redis_server.url, decode_responses=True) as client:
        found: list[Any] = []

        def answer(_: ModelRequest) -> str:
            found.append(client.hget(durable.client.keys.of("untraced").tasks, "~1"))
            return "It is there."

        scout = agent("scout", [answer])
        boss = agent("boss", [asks("scout"), "Well."], scout.as_tool())
        durable = served(boss, settings=Settings(tracing=False))
        durable.stream("Go.", run_id="untraced").result(20)

    assert recorded.spans() == []
    [stored] = found
    assert '"agent":"scout"' in stored
    assert "trace" not in stored
