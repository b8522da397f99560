"""What commands say of costs: an amount, and what is not known."""

from datetime import UTC, datetime
from decimal import Decimal

from evented_agent import (
    Agent,
    CallCost,
    Cost,
    RunInfo,
    RunResult,
    RunsCost,
    Settings,
    StepInfo,
    Usage,
    create_durable_agent,
)
from evented_agent.cli import main
from evented_agent.cli.output import cost_line, runs_cost_line, to_json
from evented_agent.cli.runs import _table
from evented_agent.cli.timeline import timeline
from evented_agent.state.task_attempt import AttemptList
from evented_agent.testing import ScriptedModel
from tests.support.command_line import cli_runner
from tests.support.servers import RedisServer

NOW = datetime.now(UTC)
PART = Cost(Decimal("0.0123"), 1, 1)


def info(cost: Cost | None) -> RunInfo:
    return RunInfo("r1", "a", "finished", 1, "1-1", Usage(), NOW, NOW, cost=cost)


def step(number: int, cost: CallCost | None) -> StepInfo:
    return StepInfo(number, "", (), (), Usage(), Usage(), "stop", cost=cost)


def test_a_list_of_runs_has_costs_where_something_was_priced() -> None:
    headers, rows = _table([(info(PART), "r1"), (info(None), "r2")])
    assert [row[headers.index("COST")] for row in rows] == ["$0.0123 + unknown", ""]

    headers, rows = _table([(info(None), "r1")])
    assert "COST" not in headers
    assert len(rows[0]) == len(headers)


def test_a_run_says_how_many_of_its_calls_have_no_price() -> None:
    assert cost_line(None) is None
    assert cost_line(PART) == "$0.0123 + unknown (the price of 1 of 2 calls is unknown)"
    assert cost_line(Cost(Decimal(2), 1)) == "$2.00"
    assert str(to_json(info(PART))["cost"]["usd"]) == "0.0123"


def test_a_thread_says_which_of_its_runs_its_cost_is_without(redis_server: RedisServer) -> None:
    for pricing in (True, False):
        agent = Agent(id="teller", model=ScriptedModel(["Hi."]))
        settings = Settings(prefix="cost-lines", pricing=pricing)
        engine = create_durable_agent(agent, redis_url=redis_server.url, settings=settings)
        engine.generate("Hello.", thread_id="mixed", timeout=20)
        engine.close()

    # Agents in their own process have a prefix each.
    place = ("--redis", redis_server.url, "--prefix", "cost-lines.teller")
    told = cli_runner().invoke(main, [*place, "threads", "show", "mixed"]).stdout
    assert "unknown (the price of 1 of 1 calls is unknown); 1 of 2 runs was not priced\n" in told


def test_a_cost_of_several_runs_says_what_it_is_without() -> None:
    assert runs_cost_line(RunsCost(None, 3)) is None
    assert runs_cost_line(RunsCost(None, 3, 2)) == "unknown; 2 of 3 runs were not priced"
    cost = Cost(Decimal(2), 1)
    assert runs_cost_line(RunsCost(cost, 3)) == "$2.00"
    older = RunsCost(cost, 200, next_page="1.x")
    assert runs_cost_line(older) == "$2.00; the newest 200 runs are added up"


def test_each_step_says_what_it_cost_or_why_nobody_knows() -> None:
    steps = [
        step(1, CallCost(Decimal("0.0123"), "p 1", "a/b")),
        step(2, CallCost(None, "p 1", reason="the model is not among the prices")),
        step(3, None),
    ]
    result = RunResult("r1", "a", "finished", "", "stop", Usage(), steps=steps)
    told = timeline(info(PART), result, AttemptList(read_at=info(PART).created_at))
    lines = [line.strip() for line in told if line.strip().startswith("step")]

    assert lines[0].endswith("0 out, $0.0123")
    assert lines[1].endswith("0 out, price unknown (the model is not among the prices)")
    assert lines[2].endswith("0 out")
