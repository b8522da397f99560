"""Calls that wait for people: approved, declined, suspended and resumed, from any process."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta

import pydantic
import pytest

from evented_agent import (
    Agent,
    ApprovalRequest,
    DeclarationError,
    DurableAgent,
    InvalidDecision,
    NotSuspended,
    RunAborted,
    RunConflict,
    Runs,
    ToolContext,
    create_durable_agent,
    tool,
)
from evented_agent.models.messages import ToolCall, ToolMessage
from evented_agent.models.protocol import ModelRequest
from evented_agent.testing import ScriptedModel, tool_call
from tests.support.servers import RedisServer
from tests.support.workers import wait_until

CALLS: list[str] = []


class Seat(pydantic.BaseModel):
    seat: int
    window: bool = False


@tool(requires_approval=True)
def delete(path: str) -> str:
    """Delete a file."""
    CALLS.append(path)
    return f"deleted {path}"


@tool
def look(path: str) -> str:
    """Look at a file."""
    CALLS.append(f"look {path}")
    return "nothing"


@tool
def book(ctx: ToolContext, flight: str) -> str:
    """Book a seat on a flight."""
    if ctx.resume_data is None:
        ctx.suspend({"question": f"Which seat on {flight}?"}, resume_schema=Seat)
    if len(ctx.resumed) == 1:
        try:
            ctx.suspend({"question": "Sure?"})
        except Exception:  # noqa: BLE001 - what a careless tool does
            return "eaten"
    CALLS.append(flight)
    return f"{flight}: {ctx.resumed}"


@tool(isolate=True)
def seat_apart(ctx: ToolContext) -> str:
    """Ask from a process of its own."""
    if ctx.resume_data is None:
        ctx.suspend({"question": "Which?"}, resume_schema=Seat)
    return f"seat {ctx.resume_data['seat']}"


def is_etc(request: ApprovalRequest) -> bool:
    return str(request.arguments["path"]).startswith("/etc")


def broken(request: ApprovalRequest) -> bool:
    raise RuntimeError(request.tool_name)


def told(request: ModelRequest) -> str:
    results = [message for message in request.messages if isinstance(message, ToolMessage)]
    return "; ".join(str(message.result) for message in results)


def agent_of(*calls: ToolCall, **options: object) -> Agent:
    return Agent(
        id="clerk",
        model=ScriptedModel([list(calls), told]),
        tools=[delete, look, book, seat_apart],
        policies={"etc": is_etc, "broken": broken},
        **options,  # type: ignore[arg-type]
    )


@pytest.fixture(autouse=True)
def no_calls() -> None:
    CALLS.clear()


class Engines:
    def __init__(self, url: str) -> None:
        self.url = url
        self.started: list[DurableAgent] = []

    def __call__(self, *calls: ToolCall, **options: object) -> DurableAgent:
        engine = create_durable_agent(agent_of(*calls, **options), redis_url=self.url)
        self.started.append(engine)
        return engine


@pytest.fixture
def engine(redis_server: RedisServer) -> Iterator[Engines]:
    engines = Engines(redis_server.url)
    yield engines
    for each in engines.started:
        each.close()  # type: ignore[attr-defined]


def test_a_call_runs_once_when_it_is_approved(engine: Engines) -> None:
    durable = engine(tool_call("delete", path="a"))
    run = durable.stream("Go.", resource_id="ann")
    types = [chunk.type for chunk in run]

    assert types[-2:] == ["tool-call-approval", "run-waiting"]
    assert run.status == "suspended"
    [pending] = run.pending
    assert (pending.kind, pending.tool_name, pending.arguments) == (
        "approval",
        "delete",
        {"path": "a"},
    )
    assert [each.number for each in durable.pending(resource_id="ann")] == [pending.number]
    assert durable.pending(resource_id="bob") == []
    assert run.result().status == "suspended"
    assert CALLS == []

    rest = durable.approve(run.run_id, by="ann")
    assert "tool-result" in [chunk.type for chunk in rest]
    assert run.result(20).answer == "deleted a"
    assert CALLS == ["a"]
    durable.approve(run.run_id)
    with pytest.raises(RunConflict):
        durable.decline(run.run_id)
    assert CALLS == ["a"]


def test_ended_runs_of_somebody_are_found_by_when_they_ended(engine: Engines) -> None:
    clerk = engine(tool_call("delete", path="/tmp/x"))
    run = clerk.stream("Go.", resource_id="ended-ann", thread_id="its end")
    wait_until(lambda: run.pending, "it asks")
    asked = clerk.get(run.run_id).updated_at
    clerk.approve(run.run_id).result(timeout=20)
    ended = clerk.get(run.run_id).ended_at
    assert ended is not None
    assert ended > asked

    later = ended + timedelta(milliseconds=1)
    for since, found in ((asked, [run.run_id]), (ended, [run.run_id]), (later, [])):
        lists = (
            clerk.list(status="finished", since=since),
            clerk.list(status="finished", since=since, resource_id="ended-ann"),
            clerk.list(status="finished", since=since, thread_id="its end"),
        )
        assert [[each.run_id for each in page] for page in lists] == [found] * 3


def test_the_model_is_told_why_a_call_was_declined(engine: Engines) -> None:
    durable = engine(tool_call("delete", path="a"))
    run = durable.stream("Go.")
    run.result(20)
    types = [chunk.type for chunk in durable.decline(run.run_id, reason="It is mine.", by="bob")]

    assert types[:2] == ["tool-call-decided", "tool-output-denied"]
    assert run.result(20).answer == "The call was declined by a person: It is mine."
    assert CALLS == []


def test_an_approval_may_change_the_arguments(engine: Engines) -> None:
    durable = engine(tool_call("delete", path="a"))
    run = durable.stream("Go.")
    run.result(20)

    with pytest.raises(InvalidDecision, match="path"):
        durable.approve(run.run_id, arguments={"path": 7})
    durable.approve(run.run_id, arguments={"path": "b"})
    result = run.result(20)

    assert result.answer == "deleted b"
    assert result.steps[0].tool_calls[0].arguments == {"path": "b"}


def test_unapproved_calls_do_not_hold_up_others(engine: Engines) -> None:
    durable = engine(
        tool_call("delete", path="a"), tool_call("look", path="b"), tool_call("delete", path="c")
    )
    run = durable.stream("Go.", tool_call_concurrency=1)
    run.result(20)
    assert CALLS == ["look b"]
    first, second = run.pending

    with pytest.raises(NotSuspended, match="several"):
        durable.approve(run.run_id)
    durable.approve(run.run_id, tool_call_id=second.tool_call_id)
    wait_until(lambda: CALLS == ["look b", "c"], "the second call ran")
    durable.decline(run.run_id, number=first.number)
    assert run.result(20).status == "finished"
    assert CALLS == ["look b", "c"]


@pytest.mark.parametrize(
    ("declared", "chosen", "is_asked"),
    [
        (False, None, False),
        (True, None, True),
        (True, False, False),
        (is_etc, None, True),
        (False, "etc", True),
        (False, "broken", True),
    ],
)
def test_who_asks_for_approval(
    engine: Engines, declared: object, chosen: bool | str | None, is_asked: bool
) -> None:
    durable = engine(tool_call("look", path="/etc/passwd"), require_tool_approval=declared)
    options = {} if chosen is None else {"require_tool_approval": chosen}
    result = durable.generate("Go.", timeout=20, **options)  # type: ignore[arg-type]

    assert (result.status == "suspended") is is_asked


def test_a_policy_that_says_no_asks_nobody(engine: Engines) -> None:
    durable = engine(tool_call("look", path="/home"))
    assert durable.generate("Go.", timeout=20, require_tool_approval="etc").answer == "nothing"


def test_an_unknown_policy_is_refused(engine: Engines) -> None:
    with pytest.raises(DeclarationError, match="no policy 'nope'"):
        engine().stream("Go.", require_tool_approval="nope")


def test_nobody_is_asked_about_a_call_that_cannot_run(engine: Engines) -> None:
    durable = engine(tool_call("delete", path=1), tool_call("nope"))
    assert durable.generate("Go.", timeout=20).status == "finished"
    assert CALLS == []


def test_a_tool_asks_twice_and_gets_all_answers(engine: Engines) -> None:
    durable = engine(tool_call("book", flight="LH1"))
    run = durable.stream("Go.")
    run.result(20)
    [first] = run.pending
    assert first.payload == {"question": "Which seat on LH1?"}
    assert first.resume_schema is not None

    with pytest.raises(InvalidDecision, match="seat"):
        durable.resume(run.run_id, {"seat": "by the window"})
    durable.resume(run.run_id, {"seat": 7, "more": [1.5, [], {}]})
    assert run.result(20).status == "suspended"
    [second] = run.pending
    assert second.number > first.number
    with pytest.raises(RunConflict):
        durable.resume(run.run_id, {"seat": 8}, number=first.number)
    durable.resume(run.run_id, {"seat": 7, "more": [1.5, [], {}]}, number=first.number)
    assert run.status == "suspended"
    durable.resume(run.run_id, "yes")

    assert run.result(20).answer == "LH1: [{'more': [1.5, [], {}], 'seat': 7}, 'yes']"
    assert CALLS == ["LH1"]


def test_a_run_that_waits_for_a_person_is_aborted_at_once(engine: Engines) -> None:
    durable = engine(tool_call("delete", path="a"))
    run = durable.stream("Go.")
    run.result(20)
    durable.abort(run.run_id)

    with pytest.raises(RunAborted):
        run.result(5)
    with pytest.raises(NotSuspended, match="ended"):
        durable.approve(run.run_id)


def test_deciding_before_the_suspension_is_refused(engine: Engines) -> None:
    durable = engine()
    run = durable.stream("Go.")
    run.result(20)
    with pytest.raises(NotSuspended):
        durable.resume(run.run_id, {"approved": True})
    with pytest.raises(NotSuspended):
        durable.resume(run.run_id, {"approved": True}, tool_call_id="call_1_0")


def test_a_door_without_agents_decides_too(engine: Engines) -> None:
    durable = engine(tool_call("delete", path="a"))
    run = durable.stream("Go.")
    run.result(20)
    door = Runs(engine.url, settings=durable.client.settings)
    door.approve(run.run_id)

    assert run.result(20).answer == "deleted a"


def test_the_async_twins_decide(engine: Engines) -> None:
    durable = engine(tool_call("delete", path="a"))

    async def decide() -> str:
        run = await durable.astream("Go.")
        await run.result(20)
        assert len(await durable.apending()) >= 1
        assert len(await run.pending()) == 1
        await durable.aapprove(run.run_id)
        return (await run.result(20)).answer

    assert asyncio.run(decide()) == "deleted a"


def test_an_isolated_tool_asks_too(engine: Engines) -> None:
    durable = engine(tool_call("seat_apart"))
    run = durable.stream("Go.")
    assert run.result(20).pending[0].payload == {"question": "Which?"}
    durable.resume(run.run_id, {"seat": 7})
    assert run.result(20).answer == "seat 7"
