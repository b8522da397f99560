"""Prices of model calls, from the package genai-prices where it is installed.  Does no I/O.

Its prices are part of the package: nothing is asked of the network, here or by it.
"""

import asyncio
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from typing import Any, Final

from evented_agent.chunks import Usage
from evented_agent.logs import logger_of
from evented_agent.models.cost import MOST_NANO_USD, CallCost, usd_of
from evented_agent.models.protocol import Model

logger = logger_of(__name__)

_PACKAGE: Final = "genai_prices"
#: More tokens than any call has: a provider that says so has not counted.
_MOST_TOKENS = 10**9
#: Most characters of a model's name, and of what is kept of the name of a price.
_MOST_NAME = 200
#: Models that a process names in its log.
_MOST_NAMED = 100
#: Exact for all amounts that are kept, whatever the process has set for its own decimals.
_EXACT = Context(prec=60)


@dataclass(frozen=True, slots=True)
class _Counted:
    """The tokens of one call under the names that genai-prices reads, in all of its versions."""

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    input_audio_tokens: int
    output_audio_tokens: int
    output_reasoning_tokens: int
    # What no provider of ours counts apart.
    cache_audio_read_tokens: int | None = None


class _Unknown(Exception):
    """Why a price is not known, as a sentence without its end."""


class Pricing:
    """Says what a call costs; one for a process, and for all its threads."""

    def __init__(self) -> None:
        self._named: set[str] = set()
        self._is_loaded = False

    async def price(
        self, model: Model, answered: str | None, usage: Usage, *, has_output: bool
    ) -> CallCost:
        """Price one call; *answered* is the provider's own name for the model that answered.

        *has_output* says whether it answered anything.  Never raises: what cannot be priced is of
        unknown price.
        """
        if not self._is_loaded:
            # A second of work, which is not to stop the event loop.
            await asyncio.to_thread(load_prices)
            self._is_loaded = True
        return self.price_now(model, answered, usage, has_output=has_output)

    def price_now(
        self, model: Model, answered: str | None, usage: Usage, *, has_output: bool
    ) -> CallCost:
        """As `price`, in this thread; the first call takes a second."""
        prices = ""
        try:
            prices = _version()
            return _priced(model, answered, _counted(usage, has_output=has_output), prices)
        except _Unknown as unknown:
            reason = str(unknown)
        except Exception:
            # Another's code, with what a provider reported: no step fails for its price.
            logger.exception("A call of %s could not be priced", model.name)
            reason = "the price could not be computed"
        self._say(model.name, reason)
        return CallCost(None, prices, reason=reason)

    def _say(self, name: str, reason: str) -> None:
        if name not in self._named and len(self._named) < _MOST_NAMED:
            self._named.add(name)
            logger.info("Calls of %s have no known price: %s", name, reason)


def pricing_if(*, is_wanted: bool) -> Pricing | None:
    """What prices calls; None where nobody wants that, or the extra ``cost`` is not installed."""
    is_there = is_wanted and importlib.util.find_spec(_PACKAGE) is not None
    return Pricing() if is_there else None


def load_prices() -> None:
    """Import the prices, once a process; before a pool forks, its children share them."""
    try:
        _snapshot()
    except Exception:
        # Another's code. Each call will be of unknown price, and say so.
        logger.exception("The prices of genai-prices cannot be read")


def _snapshot() -> Any:
    from genai_prices.data_snapshot import get_snapshot

    return get_snapshot()


def _version() -> str:
    import genai_prices

    snapshot = _snapshot()
    named = f"genai-prices {genai_prices.__version__}"
    own = sys.modules.get(f"{_PACKAGE}.data")
    if own is not None and snapshot.providers is own.providers:
        return named
    # Other prices, which this process has been given.
    return f"{named}, updated {snapshot.timestamp:%Y-%m-%dT%H:%M:%S}"


def _priced(model: Model, answered: str | None, counted: _Counted, prices: str) -> CallCost:
    from genai_prices import calc_price

    now = datetime.now(UTC)
    with localcontext(_EXACT):
        for where in _places(model, answered):
            try:
                found = calc_price(counted, genai_request_timestamp=now, **where)
            except LookupError:
                continue
            except ValueError:
                raise _Unknown("the provider's counts of tokens contradict each other") from None
            _check_prices(found.model_price, counted)
            priced_as = f"{found.provider.id}/{found.model.id}"[:_MOST_NAME]
            return CallCost(usd_of(_nano_usd(found.total_price)), prices, priced_as)
    raise _Unknown("the model is not among the prices")


def _places(model: Model, answered: str | None) -> Iterator[dict[str, Any]]:
    """Where a model's price may stand, as arguments of ``calc_price``, the best first."""
    declared = getattr(model, "priced_as", None)
    if isinstance(declared, str):
        provider, _, name = declared.partition("/")
        yield {"model_ref": name, "provider_id": provider}
        return
    url = getattr(model, "price_url", None)
    if isinstance(url, str):
        asked = str(getattr(model, "model", ""))
        where = {"provider_api_url": url}
    else:
        provider, _, asked = model.name.partition("/")
        where = {"provider_id": provider}
    name = (answered or "")[:_MOST_NAME]
    if name:
        yield {"model_ref": name, **where}
    # A name of the same model with more behind it, such as a date; of another one it says nothing.
    if asked and (not name or name.lower().startswith(asked.lower())):
        yield {"model_ref": asked[:_MOST_NAME], **where}


def _counted(usage: Usage, *, has_output: bool) -> _Counted:
    """The tokens to pay for; `_Unknown` where the provider cannot have counted them."""
    taken, given = usage.input_tokens, usage.output_tokens
    # Some count what the model thought in the total alone.
    given += max(0, usage.total_tokens - taken - given)
    if not taken or (has_output and not given):
        raise _Unknown("the provider did not count the tokens")
    if max(taken, given) > _MOST_TOKENS:
        raise _Unknown("the provider's counts of tokens are too large to be true")
    if usage.reasoning_tokens > given:
        raise _Unknown("the provider's counts of tokens contradict each other")
    return _Counted(
        taken,
        given,
        usage.cached_input_tokens,
        usage.cache_write_tokens,
        usage.input_audio_tokens,
        usage.output_audio_tokens,
        usage.reasoning_tokens,
    )


def _check_prices(prices: Any, counted: _Counted) -> None:
    """`_Unknown` where a price is missing that the call needs: the package takes it for 0."""
    if getattr(prices, "input_mtok", None) is None:
        raise _Unknown("the model's input has no price")
    if counted.output_tokens and getattr(prices, "output_mtok", None) is None:
        raise _Unknown("the model's output has no price")


def _nano_usd(usd: Decimal) -> int:
    if not usd.is_finite() or usd < 0:
        raise _Unknown("the price is no amount")
    nano = int((usd * 10**9).to_integral_value(ROUND_HALF_EVEN))
    if nano > MOST_NANO_USD:
        raise _Unknown("the provider's counts of tokens are too large to be true")
    return nano
