"""What commands say of costs: an amount, and what is not known."""

from datetime import UTC, datetime
from decimal import Decimal

from evented_agent import CallCost, Cost, RunInfo, RunResult, StepInfo, Usage
from evented_agent.cli.output import cost_line, to_json
from evented_agent.cli.runs import _table
from evented_agent.cli.timeline import timeline
from evented_agent.state.task_attempt import AttemptList

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
