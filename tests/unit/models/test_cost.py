"""Amounts add up exactly, in any order, and a sum says what it lacks."""

import json
from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evented_agent.models.cost import (
    MOST_NANO_USD,
    CallCost,
    Cost,
    cost_in,
    cost_of_call,
    counts_of,
    dollars,
    nano_usd_of,
    total_cost,
    usd_of,
    usd_text,
)

nanos = st.integers(0, MOST_NANO_USD)
calls = st.lists(st.none() | st.integers(0, 10**13))


@given(nanos, st.integers(1, 9))
def test_an_amount_is_the_same_in_dollars(nano: int, digits: int) -> None:
    with localcontext(prec=digits):
        assert nano_usd_of(usd_of(nano)) == nano
        assert nano_usd_of(Decimal(str(usd_of(nano)))) == nano


@given(calls, st.randoms())
def test_a_sum_is_exact_in_any_order_and_counts_what_it_lacks(
    nanos: list[int | None], random: object
) -> None:
    costs = [cost_of_call(CallCost(None if n is None else usd_of(n))) for n in nanos]
    total = total_cost(costs)
    random.shuffle(costs)  # type: ignore[attr-defined]

    known = [n for n in nanos if n is not None]
    assert total == total_cost(costs)
    assert (total is None) == (not nanos)
    if total is not None:
        assert total.usd == (usd_of(sum(known)) if known else None)
        assert (total.priced_calls, total.unpriced_calls) == (len(known), len(nanos) - len(known))
        assert total.is_complete == (len(known) == len(nanos))
        assert cost_in(json.loads(json.dumps(counts_of(total)))) == total


@given(
    st.dictionaries(
        st.sampled_from(["nano_usd", "priced_calls", "unpriced_calls"]),
        st.none() | st.integers() | st.floats() | st.text() | st.booleans(),
    )
)
def test_what_a_damaged_record_says_of_costs_is_in_bounds(counts: dict[str, object]) -> None:
    cost = cost_in(counts)

    assert cost is None or cost.usd is None or 0 <= cost.usd <= usd_of(MOST_NANO_USD)


def test_a_record_of_an_older_version_has_no_cost() -> None:
    assert cost_in({"input_tokens": 10}) is None
    assert total_cost([None, None]) is None
    assert usd_text(None) == ""


@pytest.mark.parametrize(
    ("usd", "shown"),
    [
        ("0", "$0.00"),
        ("0.000000012", "$0.000000012"),
        ("0.00012349", "$0.0001"),
        ("0.02345", "$0.0235"),
        ("0.99999", "$1.0000"),
        ("1.005", "$1.01"),
        ("12345.6", "$12345.60"),
    ],
)
def test_an_amount_for_people_shows_something_of_it(usd: str, shown: str) -> None:
    assert dollars(Decimal(usd)) == shown


def test_a_sum_for_people_says_what_is_unknown() -> None:
    assert usd_text(Cost(None, 0, 2)) == "unknown"
    assert usd_text(Cost(Decimal(2), 1, 1)) == "$2.00 + unknown"
    assert usd_text(Cost(Decimal(2), 1, 0)) == "$2.00"
