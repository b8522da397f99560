"""What a call costs is kept with its step and summed up with it, whoever commits."""

import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from celery import Celery

from evented_agent import (
    Agent,
    Cost,
    EventedAgent,
    Runs,
    RunsCost,
    Settings,
    Usage,
    create_durable_agent,
    create_evented_agent,
)
from evented_agent.testing import Say, ScriptedModel, tool_call
from tests.conftest import StartWorker
from tests.support.servers import RedisServer
from tests.support.workers import wait_until
from tests.unit.models.peer import Peer, answer, drop, refusal
from tests.unit.models.prices import use_prices_of_package, use_prices_of_tests


@pytest.fixture(scope="module")
def worker_app() -> str:
    return "tests.engines.priced_app"


@pytest.fixture(autouse=True, scope="module")
def _prices() -> Iterator[None]:
    use_prices_of_tests()
    yield
    use_prices_of_package()


@pytest.fixture
def prefix() -> str:
    return f"c{uuid.uuid4().hex[:8]}"


@pytest.fixture
def server() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.close()


@pytest.fixture
def buyer(redis_server: RedisServer, agents: dict[str, EventedAgent], prefix: str) -> EventedAgent:
    app = Celery("priced", broker=redis_server.url, set_as_current=False)
    app.conf.broker_transport_options = {"global_keyprefix": f"{prefix}-broker:"}
    agent, settings = agents["buyer"].agent, Settings(prefix=prefix)
    return create_evented_agent(agent, app=app, redis_url=redis_server.url, settings=settings)


@pytest.fixture
def start(start_worker: StartWorker, server: Peer, prefix: str) -> Any:
    def start_one(name: str, **env: str) -> None:
        values = {"TEST_PREFIX": prefix, "TEST_MODEL_URL": server.url, "OPENAI_API_KEY": "k"}
        start_worker(name, env={**values, **env})

    return start_one


def said(model: str, usage: Any, *deltas: Any, reason: str = "stop") -> bytes:
    head = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": model}
    chunks = [{**head, "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    last = {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}
    return answer(*chunks, last, {**head, "choices": [], "usage": usage}, "[DONE]")


CALL = {"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "look", "arguments": "{}"}}]}
USED = {
    "prompt_tokens": 1000,
    "completion_tokens": 100,
    "total_tokens": 1100,
    "prompt_tokens_details": {"cached_tokens": 400},
}
REFUSED = refusal(404, {"error": {"message": "no such model"}})


def test_each_step_keeps_what_it_cost_and_the_run_sums_it_up(
    server: Peer, buyer: EventedAgent, start: Any, redis_server: RedisServer, prefix: str
) -> None:
    # The first step: a model that is refused, an answer that is cut off, and the one that counts.
    server.reply(REFUSED)
    cut = said("priced", USED, {"content": "Let me"})
    server.reply(cut[: cut.index(b'"finish_reason"')], drop)
    server.reply(
        said("priced-2026-01-01", USED, {"content": "Looking."}, CALL, reason="tool-calls")
    )
    server.reply(REFUSED)
    hostile = {"prompt_tokens": -5, "completion_tokens": 1e400, "total_tokens": "nan"}
    server.reply(said("priced", hostile, {"content": "Look again."}, CALL, reason="tool-calls"))
    server.reply(REFUSED)
    server.reply(said("somebody-elses", USED, {"content": "Done."}))
    start("w1", TEST_PRICING="1")
    run = buyer.stream("Buy.", thread_id="t", resource_id="r")
    result = run.result(timeout=30)

    first, second, third = [step.cost for step in result.steps]
    assert first is not None
    assert (first.usd, first.priced_as) == (Decimal("0.0022"), "here/priced")
    assert first.prices.startswith("genai-prices ")
    for unknown, why in ((second, "did not count"), (third, "not among the prices")):
        assert unknown is not None
        assert unknown.usd is None
        assert why in str(unknown.reason)
    runs = Runs(redis_server.url, settings=Settings(prefix=prefix))
    total = runs.get(run.run_id).cost
    assert total is not None
    assert (total.usd, total.priced_calls, total.unpriced_calls) == (Decimal("0.0022"), 1, 2)
    assert result.cost == total
    for which in ({"thread_id": "t"}, {"resource_id": "r"}, {"agent": "buyer"}):
        assert runs.cost(**which) == RunsCost(total, runs=1)  # type: ignore[arg-type]
    assert runs.cost(thread_id="other") == RunsCost(None, runs=0)
    assert result.usage.input_tokens == 2000
    wait_until(lambda: runs.metrics().counters.get("unpriced_calls") == {"buyer": 2}, "all counted")
    metrics = runs.metrics()
    assert metrics.last_hour_cost() == metrics.last_hour_cost("buyer") == total
    assert metrics.last_hour_cost("another") is None
    assert 'evented_agent_cost_usd_total{agent="buyer"} 0.0022\n' in metrics.prometheus()


def test_what_a_child_run_costs_is_counted_up(redis_server: RedisServer, prefix: str) -> None:
    usage = Usage(input_tokens=1000, output_tokens=100, total_tokens=1100)
    child_model = ScriptedModel([Say("Seen.", usage=usage)], name="here/priced")
    scout = Agent(id="priced-scout", description="Looks.", model=child_model)
    # The parent's own calls have no known price.
    model = ScriptedModel([Say("", [tool_call("priced-scout", input="Look.")]), "Done."])
    boss = Agent(id="priced-boss", model=model, tools=[scout.as_tool()])
    settings = Settings(prefix=prefix)
    durable = create_durable_agent(boss, redis_url=redis_server.url, settings=settings)
    try:
        run = durable.stream("Go.")
        result = run.result(timeout=30)
        info = durable.get(run.run_id)
        child = durable.client.get(info.children[0].run_id)
    finally:
        durable.close()

    assert info.children[0].cost == child.cost == Cost(Decimal("0.0028"), 1, 0)
    assert info.cost == result.cost == Cost(Decimal("0.0028"), 1, 2)
