"""Decisions of people: told to all readers, kept with who and when, and never quietly lost."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from evented_agent import (
    Agent,
    DurableAgent,
    RunConflict,
    RunFailed,
    SuspensionExpired,
    Tool,
    ToolContext,
    create_durable_agent,
    tool,
)
from evented_agent.chunks import AnyChunk, RunWaiting, ToolCallDecided
from evented_agent.client.listing import unfit_calls
from evented_agent.models.messages import ToolCall, ToolMessage
from evented_agent.models.protocol import ModelRequest
from evented_agent.testing import ScriptedModel, tool_call
from tests.support.servers import RedisServer
from tests.support.workers import wait_until

DONE: list[str] = []


@tool(requires_approval=True)
def refund(order: str) -> str:
    """Refund an order."""
    DONE.append(order)
    return f"refunded {order}"


@tool(name="refund", requires_approval=True)
def refund_cents(order: str, cents: int) -> str:
    """Refund a part of an order: what a deploy has made of it."""
    DONE.append(f"{order} {cents}")
    return f"refunded {cents} of {order}"


@tool(requires_approval=True, expiry=0.3)
def brief(order: str) -> str:
    """Refund an order, if somebody is quick."""
    return order


@tool(requires_approval=True, expiry=0.3, on_expiry="fail")
def strict(order: str) -> str:
    """Refund an order, or fail."""
    return order


@tool
def ask(ctx: ToolContext, question: str) -> str:
    """Ask a person."""
    if ctx.resume_data is None:
        ctx.suspend({"question": question})
    return f"They say {ctx.resume_data}."


@tool(name="ask")
def ask_other(ctx: ToolContext, question: str, language: str) -> str:
    """Ask in a language: what a deploy has made of it."""
    return f"{language}: {ctx.resume_data}"


def told(request: ModelRequest) -> str:
    results = [message for message in request.messages if isinstance(message, ToolMessage)]
    return "; ".join(str(message.result) for message in results)


class Engines:
    def __init__(self, url: str) -> None:
        self.url = url
        self.started: list[DurableAgent] = []

    def __call__(self, *calls: ToolCall, tools: list[Tool], **more: Any) -> DurableAgent:
        model = ScriptedModel([list(calls), told])
        agent = Agent(id="cashier", model=model, tools=tools, **more)
        engine = create_durable_agent(agent, redis_url=self.url)
        self.started.append(engine)
        return engine


@pytest.fixture
def engine(redis_server: RedisServer) -> Iterator[Engines]:
    DONE.clear()
    engines = Engines(redis_server.url)
    yield engines
    for each in engines.started:
        each.close()  # type: ignore[attr-defined]


def decided(chunks: list[AnyChunk]) -> list[ToolCallDecided]:
    return [chunk for chunk in chunks if isinstance(chunk, ToolCallDecided)]


def waiting(engine: Engines, *calls: ToolCall, tools: list[Tool]) -> tuple[DurableAgent, str]:
    durable = engine(*calls, tools=tools)
    run = durable.stream("Go.")
    assert run.result(20).status == "suspended"
    return durable, run.run_id


def deployed(engine: Engines, before: DurableAgent, *tools: Tool, **more: Any) -> DurableAgent:
    """A process with other code takes the place of the one there was."""
    before.close()  # type: ignore[attr-defined]
    return engine(tools=list(tools), **more)


# What a deploy does to what was decided -----------------------------------------------------------


@pytest.mark.parametrize(
    ("tools", "why"),
    [([refund_cents], "cents"), ([ask], "There is no tool 'refund'")],
    ids=["other parameters", "another name"],
)
def test_an_approved_call_that_no_longer_fits_waits_again_and_says_why(
    engine: Engines, caplog: pytest.LogCaptureFixture, tools: list[Tool], why: str
) -> None:
    before, run_id = waiting(engine, tool_call("refund", order="o1"), tools=[refund])
    [first] = before.get(run_id).pending
    after = deployed(engine, before, *tools)

    with caplog.at_level(logging.WARNING):
        rest = after.approve(run_id, by="ann")
        result = rest.result(20)

    assert result.status == "suspended"
    [again] = result.pending
    assert (again.kind, again.arguments) == ("approval", {"order": "o1"})
    assert again.number > first.number
    assert why in again.payload["reason"]
    assert (
        f"Call {again.tool_call_id} of run {run_id} was decided and no longer fits" in caplog.text
    )
    assert DONE == []
    [decision] = result.decisions
    assert (decision.decision, decision.by, decision.number) == ("approved", "ann", first.number)
    after.decline(run_id, by="ann", reason="Too late.")
    assert "Too late." in rest.result(20).answer


def test_other_arguments_make_a_call_fit_again(engine: Engines) -> None:
    before, run_id = waiting(engine, tool_call("refund", order="o1"), tools=[refund])
    after = deployed(engine, before, refund_cents)
    run = after.approve(run_id)
    assert run.result(20).status == "suspended"

    after.approve(run_id, arguments={"order": "o1", "cents": 5})
    assert run.result(20).answer == "refunded 5 of o1"
    assert DONE == ["o1 5"]


def test_the_tool_that_comes_back_makes_the_call(engine: Engines) -> None:
    before, run_id = waiting(engine, tool_call("refund", order="o1"), tools=[refund])
    between = deployed(engine, before, ask)
    assert between.approve(run_id).result(20).status == "suspended"
    back = deployed(engine, between, refund)

    assert back.approve(run_id).result(20).answer == "refunded o1"
    assert DONE == ["o1"]


def test_an_answer_to_a_tool_that_has_changed_is_not_lost(engine: Engines) -> None:
    before, run_id = waiting(engine, tool_call("ask", question="Really?"), tools=[ask])
    after = deployed(engine, before, ask_other)
    run = after.resume(run_id, "yes")
    assert run.result(20).status == "suspended"

    after.approve(run_id, arguments={"question": "Really?", "language": "en"})
    assert run.result(20).answer == "en: yes"


def test_a_call_that_nobody_decided_about_is_still_the_models_error(engine: Engines) -> None:
    durable = engine(tool_call("refund"), tool_call("nope"), tools=[refund])
    result = durable.generate("Go.", timeout=20)
    assert (result.status, result.decisions) == ("finished", [])


def test_calls_that_wait_and_no_longer_fit_are_named(engine: Engines) -> None:
    before, run_id = waiting(
        engine, tool_call("refund", order="o1"), tool_call("ask", question="?"), tools=[refund, ask]
    )
    after = deployed(engine, before, refund_cents, ask)
    after.start()  # type: ignore[attr-defined]
    runs = after.client

    [(pending, why)] = [
        each
        for each in runs.drive("pending", unfit_calls(runs, limit=50))
        if each[0].run_id == run_id
    ]
    assert pending.tool_name == "refund"
    assert "cents" in why


# What readers and later callers are told ----------------------------------------------------------


def test_a_decision_is_told_before_what_follows_from_it(engine: Engines) -> None:
    durable, run_id = waiting(engine, tool_call("refund", order="o1"), tools=[refund])
    other_tab = durable.observe(run_id, close_on_suspend=False)
    [pending] = durable.get(run_id).pending
    durable.approve(run_id, by="ann")

    chunks = list(other_tab)
    types = [chunk.type for chunk in chunks]
    at = types.index("tool-call-decided")
    assert types[at - 2 : at] == ["tool-call-approval", "run-waiting"]
    assert at < types.index("tool-result")
    [told] = decided(chunks)
    assert told.task is None
    assert told.wire()["payload"] == {
        "toolCallId": pending.tool_call_id,
        "toolName": "refund",
        "decision": "approved",
        "approved": True,
        "by": "ann",
        "number": pending.number,
    }
    [decision] = durable.get(run_id).decisions
    assert (decision.by, decision.approved, decision.number) == ("ann", True, pending.number)
    assert durable.result(run_id).decisions == [decision]


def test_who_declined_and_who_answered_is_known(engine: Engines) -> None:
    durable, run_id = waiting(
        engine, tool_call("refund", order="o1"), tool_call("ask", question="?"), tools=[refund, ask]
    )
    refusing, asking = durable.get(run_id).pending
    run = durable.observe(run_id)
    durable.decline(run_id, number=refusing.number, reason="Mine.", by="bob")
    # One of two is decided: whoever reads is told that the run still waits, and for what.
    chunks = list(run)
    assert isinstance(chunks[-1], RunWaiting)
    assert chunks[-1].payload.calls == [asking.tool_call_id]
    durable.resume(run_id, "yes", by="ann")
    durable.observe(run_id).result(20)

    assert [(d.decision, d.approved, d.by, d.reason) for d in durable.get(run_id).decisions] == [
        ("declined", False, "bob", "Mine."),
        ("answered", None, "ann", None),
    ]


@pytest.mark.parametrize("expiring", [brief, strict])
def test_that_nobody_decided_is_a_decision_too(engine: Engines, expiring: Tool) -> None:
    durable = engine(tool_call(expiring.name, order="o1"), tools=[expiring])
    run = durable.stream("Go.")
    wait_until(lambda: durable.get(run.run_id).is_ended, "the time is over")
    if expiring is strict:
        with pytest.raises(RunFailed):
            run.result(20)

    chunks = list(durable.observe(run.run_id))
    [told] = decided(chunks)
    assert (told.payload.decision, told.payload.approved, told.payload.by) == (
        "expired",
        False,
        None,
    )
    effect = "error" if expiring is strict else "tool-output-denied"
    assert told.seq < next(chunk.seq for chunk in chunks if chunk.type == effect)
    with pytest.raises(SuspensionExpired, match="call 'call_1_0'"):
        durable.approve(run.run_id)


def test_a_run_says_that_it_waits_for_people_alone(engine: Engines) -> None:
    durable, run_id = waiting(
        engine,
        tool_call("refund", order="o1"),
        tool_call("refund", order="o2"),
        tools=[refund],
    )
    chunks = list(durable.observe(run_id))
    pending = durable.get(run_id).pending
    [last] = [chunk for chunk in chunks if isinstance(chunk, RunWaiting)]

    assert last is chunks[-1]
    assert last.wire()["payload"] == {
        "for": "people",
        "calls": [each.tool_call_id for each in pending],
    }
    durable.abort(run_id)
    assert [chunk.type for chunk in durable.observe(run_id, after=last.cursor)] == ["abort"]


def test_whoever_decides_otherwise_is_told_by_whom_what_and_when(engine: Engines) -> None:
    durable, run_id = waiting(engine, tool_call("refund", order="o1"), tools=[refund])
    [pending] = durable.get(run_id).pending
    durable.approve(run_id, by="ann")
    durable.observe(run_id).result(20)
    durable.approve(run_id, by="bob")

    with pytest.raises(RunConflict) as refused:
        durable.decline(run_id, by="bob")
    at = durable.get(run_id).decisions[0].at.isoformat(sep=" ", timespec="seconds")
    assert str(refused.value) == (
        f"Call {pending.tool_call_id!r} (refund) of run {run_id!r} was approved by 'ann' at {at}; "
        "that is not decided again."
    )
    assert [decision.by for decision in durable.get(run_id).decisions] == ["ann"]


def test_what_an_older_version_decided_is_read_without_who_and_when(engine: Engines) -> None:
    durable, run_id = waiting(engine, tool_call("refund", order="o1"), tools=[refund])
    [pending] = durable.get(run_id).pending
    durable.approve(run_id, by="ann")
    durable.observe(run_id).result(20)
    runs = durable.client
    runs.ledger.client().hdel(runs.keys.of(run_id).tasks, f"decided:{pending.number}")

    durable.approve(run_id)
    assert durable.get(run_id).decisions == []
    with pytest.raises(RunConflict, match="The last call decided of run"):
        durable.decline(run_id)
    with pytest.raises(RunConflict, match=f"Call '{pending.tool_call_id}' of run"):
        durable.decline(run_id, tool_call_id=pending.tool_call_id)
