"""What model calls cost, and how that adds up.  Knows no prices.

Amounts are whole nano-dollars wherever they are stored or added: Lua and JSON hold them exactly, up
to nine million dollars, and no sum depends on its order.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import reduce
from typing import Any, Final

#: Nano-dollars of a dollar.
_NANO = 10**9
#: The most nano-dollars that a sum holds, as that of tokens: what Lua and JSON can hold exactly.
MOST_NANO_USD = 2**53
#: What is added to the record of a run beside its tokens, all of them whole numbers.
COST_COUNTS: Final = ("nano_usd", "priced_calls", "unpriced_calls")


def usd_of(nano_usd: int) -> Decimal:
    """Whole nano-dollars in dollars, exactly."""
    whole, rest = divmod(nano_usd, _NANO)
    return Decimal(f"{whole}.{rest:09d}".rstrip("0").rstrip("."))


def nano_usd_of(usd: Decimal) -> int:
    """Dollars in whole nano-dollars, rounded down; whatever the context of decimals is."""
    numerator, denominator = usd.as_integer_ratio()
    return numerator * _NANO // denominator


@dataclass(frozen=True, slots=True)
class CallCost:
    """What the model call of a step cost, as it was priced when the step was committed.

    Attributes:
        usd: US dollars; None where the price is not known.
        prices: Where the price was looked up: the package and its version, and when its prices were
            updated, if they were.
        priced_as: Under which provider and model, such as ``openai/gpt-5.5``; None for none.
        reason: Why the price is not known; None where it is.
    """

    usd: Decimal | None
    prices: str = ""
    priced_as: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """What completed model calls cost together.

    Attributes:
        usd: US dollars of all calls whose price is known; None where none is.
        priced_calls: How many calls that are.
        unpriced_calls: How many calls have no known price; `usd` is without them.
    """

    usd: Decimal | None = None
    priced_calls: int = 0
    unpriced_calls: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether the price of each call is known."""
        return self.usd is not None and not self.unpriced_calls

    def __add__(self, other: "Cost") -> "Cost":
        known = [nano_usd_of(usd) for usd in (self.usd, other.usd) if usd is not None]
        return Cost(
            usd_of(sum(known)) if known else None,
            self.priced_calls + other.priced_calls,
            self.unpriced_calls + other.unpriced_calls,
        )


@dataclass(frozen=True, slots=True)
class RunsCost:
    """What several runs cost together.

    Attributes:
        cost: The sum; None where nothing of them was priced.
        runs: How many runs were added up.
        unpriced_runs: How many of them were answered by a model while nothing was priced; `cost` is
            without them.
        next_page: The ``page`` that adds up the runs that follow; None where these are all.
    """

    cost: Cost | None
    runs: int
    unpriced_runs: int = 0
    next_page: str | None = None


def cost_of_call(call: CallCost) -> Cost:
    """One call as a sum."""
    is_known = call.usd is not None
    return Cost(call.usd, priced_calls=int(is_known), unpriced_calls=int(not is_known))


def total_cost(costs: Iterable[Cost | None]) -> Cost | None:
    """The sum of what was priced or was to be; None where nothing was."""
    found = [cost for cost in costs if cost is not None]
    return reduce(Cost.__add__, found) if found else None


def counts_of(cost: Cost) -> dict[str, int]:
    """What is added to the record of a run, beside its tokens."""
    nano = 0 if cost.usd is None else nano_usd_of(cost.usd)
    counts = zip(COST_COUNTS, (nano, cost.priced_calls, cost.unpriced_calls), strict=True)
    return {name: count for name, count in counts if count}


def cost_in(counts: Mapping[str, Any]) -> Cost | None:
    """What the record of a run says; None for one of which nothing was priced."""
    nano, priced, unpriced = (_count(counts.get(name)) for name in COST_COUNTS)
    if not (priced or unpriced):
        return None
    return Cost(usd_of(nano) if priced else None, priced, unpriced)


def without_costs(counts: Mapping[str, Any]) -> dict[str, Any]:
    """The tokens among what the record of a run adds up."""
    return {name: count for name, count in counts.items() if name not in COST_COUNTS}


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        return 0
    return max(0, min(value, MOST_NANO_USD))


def usd_text(cost: Cost | None) -> str:
    """The sum for people; "" where nothing was priced."""
    if cost is None:
        return ""
    if cost.usd is None:
        return "unknown"
    return f"{dollars(cost.usd)}{'' if cost.is_complete else ' + unknown'}"


def dollars(usd: Decimal) -> str:
    """An amount for people: cents, or as many places as it takes to show anything of it."""
    nano = nano_usd_of(usd)
    places = 2 if nano >= _NANO or not nano else 4 if nano >= 10**5 else 9
    unit = 10 ** (9 - places)
    units = (nano + unit // 2) // unit
    whole, rest = divmod(units, 10**places)
    return f"${whole}.{rest:0{places}d}"
