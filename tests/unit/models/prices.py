"""A list of prices of the tests' own, in the place of that of genai-prices."""

from decimal import Decimal

from genai_prices.data_snapshot import DataSnapshot, set_custom_snapshot
from genai_prices.types import ClauseEquals, ModelInfo, ModelPrice, Provider


def use_prices_of_tests() -> None:
    """Know one provider, on this machine: "priced" costs 2 dollars and 8 dollars a million."""
    full = ModelPrice(input_mtok=Decimal(2), cache_read_mtok=Decimal("0.5"), output_mtok=Decimal(8))
    models = {
        "priced": full,
        "dated-2026-01-01": full,
        "free": ModelPrice(input_mtok=Decimal(0), output_mtok=Decimal(0)),
        "tiny": ModelPrice(input_mtok=Decimal("0.0004"), output_mtok=Decimal(0)),
        "listed": ModelPrice(),
        "embeds": ModelPrice(input_mtok=Decimal(1)),
    }
    here = Provider(
        id="here",
        name="Here",
        api_pattern=r"http://127\.0\.0\.1",
        models=[
            ModelInfo(id=name, match=ClauseEquals(equals=name), prices=price)
            for name, price in models.items()
        ],
    )
    set_custom_snapshot(DataSnapshot(providers=[here], from_auto_update=False))


def use_prices_of_package() -> None:
    set_custom_snapshot(None)
