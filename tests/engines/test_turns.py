"""A run that failed and goes on takes its turn in its thread as every other run does."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from evented_agent import (
    Agent,
    DurableAgent,
    RunConflict,
    RunDeleted,
    RunStream,
    create_durable_agent,
    tool,
)
from evented_agent.errors import ModelError
from evented_agent.ledger.keys import thread_name
from evented_agent.models import ModelRequest
from evented_agent.testing import ScriptedModel, tool_call
from tests.support.servers import RedisServer
from tests.support.workers import wait_until

gate = threading.Event()
is_healthy = threading.Event()


@tool
async def wait_for_the_gate() -> str:
    """Wait."""
    while not gate.is_set():
        await asyncio.sleep(0.02)
    return "open"


def second_answer(request: ModelRequest) -> str:
    if "fails" in str(request.messages[-3:]) and not is_healthy.is_set():
        raise ModelError("Out of credit.", retryable=False)
    return "Done."


agent = Agent(
    id="turns",
    model=ScriptedModel([[tool_call("wait_for_the_gate")], second_answer]),
    tools=[wait_for_the_gate],
)


def retried(durable: DurableAgent, run_id: str) -> RunStream | None:
    try:
        return durable.retry(run_id)
    except RunConflict:
        return None


@pytest.fixture
def durable(redis_server: RedisServer) -> Iterator[DurableAgent]:
    durable = create_durable_agent(agent, redis_url=redis_server.url)
    yield durable
    gate.set()
    durable.close()


def test_a_run_that_is_retried_waits_for_its_turn(durable: DurableAgent) -> None:
    gate.set()
    failed = durable.stream("This fails.", thread_id="taken", run_id="turns-failed")
    wait_until(lambda: len(durable.thread("taken")) > 0, "it has failed, and said so")
    gate.clear()
    other = durable.stream("Wait.", thread_id="taken", run_id="turns-other")
    wait_until(lambda: durable.get(other.run_id).step == 1 and other.status == "running", "it runs")
    is_healthy.set()

    again = wait_until(
        lambda: retried(durable, failed.run_id), "nothing follows its failure any more"
    )
    wait_until(lambda: "its turn" in (durable.get(failed.run_id).waiting_for or ""), "it waits", 10)
    gate.set()

    assert other.result(timeout=20).answer == "Done."
    assert again.result(timeout=40).answer == "Done."
    said = [message.role for message in durable.thread("taken")]
    assert said.count("user") == 2


def test_who_follows_a_thread_reads_its_last_run_on_when_that_is_retried(
    durable: DurableAgent,
) -> None:
    gate.set()
    is_healthy.clear()
    failed = durable.stream("This fails.", thread_id="followed", run_id="turns-followed")
    chunks = iter(durable.follow("followed", timeout=30))
    seen = [next(chunks)]
    while not seen[-1].ends_topic:
        seen.append(next(chunks))
    is_healthy.set()
    wait_until(lambda: retried(durable, failed.run_id), "nothing follows its failure any more")
    after = [next(chunks)]
    while not after[-1].ends_topic:
        after.append(next(chunks))

    assert (seen[-1].type, after[0].type, after[-1].type) == ("error", "topic-reset", "finish")
    assert after[1:] == list(durable.observe(failed.run_id))


def test_a_run_that_is_begun_again_after_its_end_holds_up_nobody(durable: DurableAgent) -> None:
    gate.set()
    durable.generate("Hi.", thread_id="again", run_id="over", timeout=20)
    gone = durable.generate("Hi.", timeout=20).run_id
    durable.delete(gone)
    gate.clear()
    first, elsewhere = durable.stream("Go.", thread_id="again"), durable.stream("Go.")
    wait_until(lambda: first.status == "running", "the first has the turn")
    durable.stream("Hi.", thread_id="again", run_id="over")
    for again, run_id in (("Another.", "over"), ("Go.", gone), ("Go.", elsewhere.run_id)):
        with pytest.raises((RunConflict, RunDeleted)):
            durable.stream(again, thread_id="again", run_id=run_id)
    durable.stream("And?", thread_id="again", run_id="next")

    at = durable.client
    turns = at.keys.thread(thread_name("again", None)).turns
    waiting = at.ledger.client().lrange(turns, 0, -1)
    assert waiting == [first.run_id.encode(), b"next"]
    gate.set()
    assert durable.observe("next").result(timeout=20).answer == "Done."
