"""What a call costs, whatever a provider says; and what is said where nobody can know."""

import asyncio
import sys
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evented_agent import DeclarationError
from evented_agent.chunks import Usage
from evented_agent.models import OpenAIChat
from evented_agent.models.cost import MOST_NANO_USD, CallCost, usd_of
from evented_agent.models.pricing import Pricing, pricing_if
from evented_agent.testing import ScriptedModel
from tests.unit.models.prices import use_prices_of_package, use_prices_of_tests

URL = "http://127.0.0.1:9/v1"
USED = Usage(input_tokens=1000, output_tokens=100, total_tokens=1100)
numbers: Any = st.integers() | st.floats() | st.text(max_size=5) | st.none() | st.booleans()


@pytest.fixture(autouse=True, scope="module")
def _prices() -> Iterator[None]:
    use_prices_of_tests()
    yield
    use_prices_of_package()


def price(
    usage: Usage = USED, *, model: str = "priced", answered: Any = None, has_output: bool = True
) -> CallCost:
    asked = OpenAIChat(model, base_url=URL)
    return Pricing().price_now(asked, answered, usage, has_output=has_output)


@pytest.mark.parametrize(
    ("usage", "usd"),
    [
        (USED, "0.0028"),
        (USED.model_copy(update={"cached_input_tokens": 400}), "0.0022"),
        # Without a price of their own, these are part of what they are counted in.
        (USED.model_copy(update={"reasoning_tokens": 60}), "0.0028"),
        (USED.model_copy(update={"input_audio_tokens": 10, "cache_write_tokens": 5}), "0.0028"),
        # What the model thought, in the total alone.
        (USED.model_copy(update={"reasoning_tokens": 300, "total_tokens": 1400}), "0.0052"),
        (USED.model_copy(update={"total_tokens": 1400}), "0.0052"),
    ],
)
def test_each_kind_of_token_has_its_price(usage: Usage, usd: str) -> None:
    cost = price(usage)

    assert (cost.usd, cost.priced_as, cost.reason) == (Decimal(usd), "here/priced", None)
    assert cost.prices.startswith("genai-prices ")


@pytest.mark.parametrize(
    ("usage", "reason"),
    [
        (Usage(), "did not count"),
        (Usage(input_tokens=-4, output_tokens=10), "did not count"),
        (Usage(input_tokens=10, output_tokens="nan"), "did not count"),  # type: ignore[arg-type]
        (Usage(input_tokens=float("inf"), output_tokens=1), "too large"),  # type: ignore[arg-type]
        (Usage(input_tokens=10**10, output_tokens=1), "too large"),
        (Usage(input_tokens=10, output_tokens=1, total_tokens=10**12), "too large"),
        (Usage(input_tokens=10, output_tokens=1, cached_input_tokens=11), "contradict"),
        (Usage(input_tokens=10, output_tokens=1, reasoning_tokens=2), "contradict"),
    ],
)
def test_hostile_counts_have_no_price(usage: Usage, reason: str) -> None:
    cost = price(usage)

    assert cost.usd is None
    assert reason in str(cost.reason)


@given(st.dictionaries(st.sampled_from(list(Usage.model_fields)), numbers), numbers)
def test_whatever_is_counted_costs_something_in_bounds_or_is_unknown(
    counts: dict[str, Any], answered: Any
) -> None:
    cost = price(Usage(**counts), answered=answered)

    assert (cost.usd is None) == (cost.reason is not None)
    assert cost.usd is None or 0 <= cost.usd <= usd_of(MOST_NANO_USD)


@given(*[st.integers(0, 10**6)] * 4)
def test_more_tokens_never_cost_less(taken: int, given: int, more_taken: int, more: int) -> None:
    less = price(Usage(input_tokens=taken + 1, output_tokens=given + 1))
    greater = price(Usage(input_tokens=taken + more_taken + 1, output_tokens=given + more + 1))

    assert less.usd is not None
    assert greater.usd is not None
    assert less.usd <= greater.usd


@pytest.mark.parametrize(
    ("model", "answered", "priced_as"),
    [
        ("priced", None, "here/priced"),
        # The model that answered, not the one that was asked.
        ("router", "priced", "here/priced"),
        ("priced", "priced-2026-09-09", "here/priced"),
        ("dated", "dated-2026-01-01", "here/dated-2026-01-01"),
        # Another model than the one that was asked.
        ("priced", "other", None),
        ("unheard-of", None, None),
        # Known, without a price that the call needs.
        ("listed", None, None),
        ("embeds", None, None),
    ],
)
def test_the_price_is_that_of_the_model_that_answered(
    model: str, answered: str | None, priced_as: str | None
) -> None:
    cost = price(model=model, answered=answered)

    assert (cost.priced_as, cost.usd is None) == (priced_as, priced_as is None)


def test_a_price_of_nothing_is_not_an_unknown_one() -> None:
    assert price(model="free").usd == 0
    assert price(model="tiny", usage=Usage(input_tokens=1, output_tokens=1)).usd == 0


def test_an_answer_without_a_word_has_no_output_to_count() -> None:
    assert price(Usage(input_tokens=500), has_output=False).usd == Decimal("0.001")


def test_a_model_may_say_where_its_price_stands() -> None:
    behind = OpenAIChat("deployment-7", base_url="http://gateway.example/v1")
    named = OpenAIChat("d", base_url="http://gateway.example/v1", priced_as="here/priced")
    own = ScriptedModel(["Hi."], name="here/priced")

    assert Pricing().price_now(behind, None, USED, has_output=True).usd is None
    for model in (named, own):
        assert Pricing().price_now(model, None, USED, has_output=True).usd == Decimal("0.0028")
    with pytest.raises(DeclarationError, match="provider and model"):
        OpenAIChat("d", priced_as="gpt")


def test_what_is_kept_of_an_unknown_price_holds_no_address() -> None:
    secret = OpenAIChat("x", base_url="http://user:secret@gateway.example/v1?key=secret")

    assert "secret" not in str(Pricing().price_now(secret, None, USED, has_output=True))


def test_without_the_package_or_where_it_is_not_wanted_nothing_is_priced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert pricing_if(is_wanted=False) is None
    assert pricing_if(is_wanted=True) is not None
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert pricing_if(is_wanted=True) is None


def test_a_package_that_is_broken_costs_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "genai_prices.data_snapshot", None)
    model = OpenAIChat("priced", base_url=URL)

    cost = asyncio.run(Pricing().price(model, None, USED, has_output=True))
    assert (cost.usd, cost.reason) == (None, "the price could not be computed")


def test_the_package_knows_a_model_that_everybody_uses() -> None:
    use_prices_of_package()
    model = OpenAIChat("gpt-4o", base_url="https://api.openai.com/v1")
    cost = Pricing().price_now(model, "gpt-4o-2024-08-06", USED, has_output=True)
    use_prices_of_tests()

    assert cost.priced_as == "openai/gpt-4o"
    assert cost.usd is not None
    assert "updated" not in cost.prices
