"""A run's sum says what each step cost and how many it lacks, whichever workers commit them."""

import asyncio
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evented_agent.chunks import Usage
from evented_agent.execution.tasks.answer import AnswerBuilder
from evented_agent.execution.tasks.costs import cost_counts, priced
from evented_agent.models.cost import CallCost, Cost, cost_in, counts_of
from evented_agent.models.messages import ToolCall
from evented_agent.state.fold import fold
from evented_agent.state.journal import Result, Turn, dump_entry, load_entry
from evented_agent.testing import ScriptedModel

Worker = Literal["prices", "knows no price", "does not price", "is older"]


class FixedPrice:
    """Prices each call alike."""

    def __init__(self, usd: Decimal | None) -> None:
        self._cost = CallCost(usd, "of the test", reason=None if usd else "unknown")

    async def price(self, *_: object, **__: object) -> CallCost:
        return self._cost


PRICINGS: dict[Worker, Any] = {
    "prices": FixedPrice(Decimal("0.1")),
    "knows no price": FixedPrice(None),
    "does not price": None,
    "is older": None,
}


def commit(entries: list[str], worker: Worker, sums: Counter[str], step: int = 0) -> None:
    """What such a worker does with a turn."""
    state = fold(each.encode() for each in entries)
    turn = Turn(step or len(entries) + 1, ("Hi.",), (), "stop")
    attempt: Any = SimpleNamespace(process=SimpleNamespace(pricing=PRICINGS[worker]))
    answer = AnswerBuilder(step=turn.step, attempt=1, used_call_ids=set())
    model = ScriptedModel(["Hi."])
    if worker != "is older":
        turn = asyncio.run(priced(attempt, state, model, answer, turn))
        sums.update(cost_counts(state, turn))
    entries.append(dump_entry(turn))


@given(st.lists(st.sampled_from(list(PRICINGS)), min_size=1, max_size=8))
def test_a_sum_lacks_nothing_that_it_does_not_count(workers: list[Worker]) -> None:
    entries: list[str] = []
    sums: Counter[str] = Counter()
    for worker in workers:
        commit(entries, worker, sums)

    state = fold(each.encode() for each in entries)
    costs = [step.turn.cost for step in state.steps]
    known = [cost.usd for cost in costs if cost is not None and cost.usd is not None]
    total = cost_in(sums)
    if all(cost is None for cost in costs):
        assert total is None
        assert state.cost is None
    elif costs[-1] is not None:
        assert total is not None
        assert total == state.cost
        assert total.usd == (sum(known) if known else None)
        assert total.priced_calls == workers.count("prices")
        assert total.unpriced_calls == len(workers) - workers.count("prices")


@pytest.mark.parametrize("cost", [None, Cost(Decimal("0.5"), 2, 1), Cost(None, 0, 1)])
def test_what_a_child_run_cost_is_part_of_its_step(cost: Cost | None) -> None:
    call = ToolCall(id="c", name="ask")
    result = Result(1, "c", "ask", "Yes.", usage=Usage(input_tokens=5), cost=cost)
    entries = [dump_entry(Turn(1, (), (call,), "tool-calls")), dump_entry(result)]
    state = fold(each.encode() for each in entries)

    assert load_entry(entries[1]) == result
    assert state.usage == Usage(input_tokens=5)
    assert state.steps[0].cost == state.cost == cost
    # The sum has begun: a call that nobody prices is one that it lacks, and so is the first.
    sums = Counter(counts_of(cost)) if cost else Counter[str]()
    commit(entries, "does not price", sums, step=2)
    after = fold(each.encode() for each in entries)
    assert cost_in(sums) == after.cost == (cost and cost + Cost(unpriced_calls=2))


def test_where_nothing_is_priced_nothing_is_kept() -> None:
    entries: list[str] = []
    sums: Counter[str] = Counter()
    for _ in range(3):
        commit(entries, "does not price", sums)

    assert not sums
    assert not any("cost" in entry for entry in entries)


def test_the_journal_gives_a_cost_back_as_it_was() -> None:
    turn = Turn(1, ("Hi.",), (), "stop")
    for cost in (
        None,
        CallCost(Decimal("0.000000001"), "prices 1", "a/b"),
        CallCost(Decimal(0), "prices 1", "a/b"),
        CallCost(None, reason="nobody knows"),
    ):
        kept = load_entry(dump_entry(replace(turn, cost=cost)))
        assert isinstance(kept, Turn)
        assert kept.cost == cost
