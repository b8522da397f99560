"""What an ``EventSource`` is told at the end of a run, and while it waits for people."""

import asyncio
from collections.abc import Iterator

import pytest

from evented_agent import Agent, InProcessAgent, create_durable_agent, tool
from evented_agent.testing import ScriptedModel, tool_call
from tests.support.servers import RedisServer


@tool(requires_approval=True)
def erase(name: str) -> str:
    """Erase something."""
    return f"erased {name}"


@pytest.fixture
def durable(redis_server: RedisServer) -> Iterator[InProcessAgent]:
    agent = Agent(
        id="browsed",
        model=ScriptedModel([[tool_call("erase", name="a")], "Done."]),
        tools=[erase],
    )
    made = create_durable_agent(agent, redis_url=redis_server.url)
    yield made
    made.close()


def test_a_waiting_run_ends_its_stream_with_a_long_retry_and_an_ended_one_with_204(
    durable: InProcessAgent,
) -> None:
    run = durable.stream("Go.")
    events = list(run.sse())

    assert events[-1] == ": waits for people\nretry: 30000\n\n"
    assert not run.is_over()
    # Whoever comes back meanwhile gets nothing but that.
    assert list(durable.observe(run.run_id, after=run.cursor).sse()) == events[-1:]
    durable.approve(run.run_id)
    rest = list(run.sse())
    if not rest[-1].startswith("id:"):
        rest = [*rest[:-1], *run.sse()]
    assert "event: finish" in rest[-1]
    assert run.is_over()


def test_a_cursor_that_is_not_the_end_is_not_over(durable: InProcessAgent) -> None:
    run = durable.stream("Go.", require_tool_approval=False)
    run.result(20)
    run.decline()
    run.result(20)
    last = durable.get(run.run_id).cursor
    seq, _, incarnation = last.partition("-")

    async def is_over(after: str | int) -> bool:
        observed = await durable.aobserve(run.run_id, after=after)
        plain = await asyncio.to_thread(durable.observe, run.run_id, after=after)
        found = await observed.is_over()
        assert found == await asyncio.to_thread(plain.is_over)
        return found

    for after, expected in (
        (last, True),
        (int(seq), True),
        (seq, True),
        (0, False),
        (int(seq) - 1, False),
        (f"{seq}-{int(incarnation) + 1}", False),
    ):
        assert asyncio.run(is_over(after)) is expected
