"""Whose run it is: another's looks, in every verb, as if it did not exist, and nothing happens."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from evented_agent import Agent, DurableAgent, RunNotFound, create_durable_agent, tool
from evented_agent.errors import ModelError
from evented_agent.testing import ScriptedModel, tool_call
from tests.support.servers import RedisServer
from tests.support.workers import wait_until


@tool(requires_approval=True)
def erase(name: str) -> str:
    """Erase something."""
    return f"erased {name}"


@tool(background=True, requires_approval=True)
def report() -> str:
    """Report, in the background."""
    return "reported"


owned = Agent(
    id="owned",
    model=ScriptedModel([[tool_call("erase", name="a"), tool_call("report")], "done"]),
    tools=[erase, report],
)
failing = Agent(id="owned-failing", model=ScriptedModel([ModelError("out of credit")]))
namesake = Agent(
    id="namesake",
    model=ScriptedModel([lambda request: request.instructions or "Nobody's"]),
)

Verb = Callable[[DurableAgent, str, str], Any]

#: Each verb about one run, as an owner (or a stranger) would use it.
VERBS: dict[str, Verb] = {
    "get": lambda d, run, who: d.get(run, resource_id=who),
    "result": lambda d, run, who: d.result(run, resource_id=who),
    "observe": lambda d, run, who: d.observe(run, resource_id=who),
    "background_tasks": lambda d, run, who: d.background_tasks(run, resource_id=who),
    "attempts": lambda d, run, who: d.attempts(run, resource_id=who),
    "background_task": lambda d, run, who: d.background_task(f"{run}:call_1_1", resource_id=who),
    "resume": lambda d, run, who: d.resume(
        run, {"approved": True}, tool_call_id="call_1_0", resource_id=who
    ),
    "approve": lambda d, run, who: d.approve(run, tool_call_id="call_1_0", resource_id=who),
    "decline": lambda d, run, who: d.decline(run, tool_call_id="call_1_0", resource_id=who),
    "cancel": lambda d, run, who: d.cancel(f"{run}:call_1_1", resource_id=who),
    "abort": lambda d, run, who: d.abort(run, resource_id=who),
    "delete": lambda d, run, who: d.delete(run, resource_id=who),
}
TWINS: dict[str, Callable[[DurableAgent, str, str], Awaitable[Any]]] = {
    "aget": lambda d, run, who: d.aget(run, resource_id=who),
    "aresult": lambda d, run, who: d.aresult(run, resource_id=who),
    "aobserve": lambda d, run, who: d.aobserve(run, resource_id=who),
    "abackground_tasks": lambda d, run, who: d.abackground_tasks(run, resource_id=who),
    "aattempts": lambda d, run, who: d.aattempts(run, resource_id=who),
    "abackground_task": lambda d, run, who: d.abackground_task(f"{run}:call_1_1", resource_id=who),
    "aapprove": lambda d, run, who: d.aapprove(run, tool_call_id="call_1_0", resource_id=who),
    "adecline": lambda d, run, who: d.adecline(run, tool_call_id="call_1_0", resource_id=who),
    "acancel": lambda d, run, who: d.acancel(f"{run}:call_1_1", resource_id=who),
    "aabort": lambda d, run, who: d.aabort(run, resource_id=who),
    "adelete": lambda d, run, who: d.adelete(run, resource_id=who),
}


@pytest.fixture(scope="module")
def durable(redis_server: RedisServer) -> Iterator[DurableAgent]:
    engine = create_durable_agent(owned, redis_url=redis_server.url)
    yield engine
    engine.close()


def waiting(durable: DurableAgent, **options: Any) -> str:
    run = durable.stream("Go.", **options)
    wait_until(lambda: len(run.pending) == 2, "both calls wait for a person")
    return run.run_id


def refused(act: Callable[[], Any], run_id: str) -> None:
    with pytest.raises(RunNotFound) as error:
        act()
    # Word for word what is said of an id that nobody has used.
    assert str(error.value) == str(RunNotFound(run_id))


@pytest.mark.parametrize("verb", VERBS)
def test_anothers_run_does_not_exist(durable: DurableAgent, verb: str) -> None:
    run_id, nobodys = waiting(durable, resource_id="ann"), waiting(durable)
    before = durable.get(run_id)

    refused(lambda: VERBS[verb](durable, run_id, "bob"), run_id)
    refused(lambda: VERBS[verb](durable, nobodys, "bob"), nobodys)
    refused(lambda: VERBS[verb](durable, "no-such-run", "bob"), "no-such-run")
    assert durable.get(run_id) == before

    VERBS[verb](durable, run_id, "ann")


@pytest.mark.parametrize("verb", TWINS)
def test_nor_does_it_for_those_who_await(durable: DurableAgent, verb: str) -> None:
    run_id = waiting(durable, resource_id="ann")

    async def act(who: str) -> None:
        await TWINS[verb](durable, run_id, who)

    refused(lambda: asyncio.run(act("bob")), run_id)
    asyncio.run(act("ann"))


def test_anothers_failure_is_not_tried_again(redis_server: RedisServer) -> None:
    engine = create_durable_agent(failing, redis_url=redis_server.url)
    run = engine.stream("Go.", resource_id="ann")
    wait_until(lambda: run.status == "failed", "the run has failed")

    refused(lambda: engine.retry(run.run_id, resource_id="bob"), run.run_id)
    refused(lambda: asyncio.run(engine.aretry(run.run_id, resource_id="bob")), run.run_id)
    assert run.status == "failed"
    engine.retry(run.run_id, resource_id="ann")
    engine.close()


def test_that_a_run_was_deleted_is_told_to_nobody_else(durable: DurableAgent) -> None:
    run_id = waiting(durable, resource_id="ann")
    durable.delete(run_id)
    refused(lambda: durable.get(run_id, resource_id="bob"), run_id)


def test_a_stream_decides_for_its_owner_alone(durable: DurableAgent) -> None:
    run = durable.observe(waiting(durable, resource_id="ann"))
    refused(lambda: run.approve(tool_call_id="call_1_0", resource_id="bob"), run.run_id)
    run.approve(tool_call_id="call_1_0", resource_id="ann")


@pytest.mark.parametrize("few", [0, 500], ids=["among its own", "among those that go on"])
def test_the_runs_of_a_resource_that_go_on_are_listed_alike_wherever_they_are_looked_for(
    durable: DurableAgent, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr("evented_agent.client.listing._FEW", few)
    whose, other = f"lister-{few}", f"other-{few}"
    mine = [waiting(durable, resource_id=whose) for _ in range(3)]
    theirs = waiting(durable, resource_id=other)
    runs = durable.client

    first = runs.list(resource_id=whose, status="suspended", limit=2)
    rest = runs.list(resource_id=whose, status="suspended", limit=2, page=first.next_page)

    assert [info.run_id for info in [*first, *rest]] == mine[::-1]
    assert runs.list(resource_id=whose, status="running") == []
    assert {each.run_id for each in runs.pending(resource_id=other)} == {theirs}
    for run_id in [*mine, theirs]:
        runs.abort(run_id)


def test_a_message_finds_its_conversation_among_many_of_its_name(redis_server: RedisServer) -> None:
    engine = create_durable_agent(namesake, redis_url=redis_server.url)
    engine.generate("Hi.", thread_id="main", instructions="Mine", resource_id="first")
    engine.generate("Hi.", thread_id="main", instructions="Mine")
    for number in range(101):
        engine.generate("Hi.", thread_id="main", resource_id=f"other {number}")

    for resource_id in ("first", None):
        receipt = engine.client.send(thread_id="main", input="And?", resource_id=resource_id)
        assert engine.observe(receipt.run_id).result(timeout=20).text == "Mine"
        assert engine.get(receipt.run_id).resource_id == resource_id
    engine.close()
