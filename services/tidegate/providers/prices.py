"""The price book: what a call cost, from the routes file or from the price list we ship with.

The list is that of the package `genai-prices` as it is installed: it is never fetched, and changes
with an update of the package alone. Loading it takes a quarter of a second and some megabytes, so
that a process which bills nobody does not import this module.
"""

from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

import genai_prices
from genai_prices.types import PriceCalculation

from tidegate.contracts.events import Usage
from tidegate.providers.price import Price, clamped
from tidegate.providers.routes import Target

__all__ = ["Price", "PriceBook"]

ROUTES_FILE: Final = "routes file"

_NANO: Final = Decimal(10**9)
_ONE_TOKEN: Final = Usage(input_tokens=1)


class PriceBook:
    """Prices of targets. Made before calls begin: the price list is read here."""

    def __init__(self) -> None:
        self._list = f"genai-prices {genai_prices.__version__}"
        # Targets that the list does not know: to look for one takes it longer than to find one.
        self._unknown: set[tuple[str, str, str]] = set()
        # Read now, not when the first answer ends and others stream.
        _look_up(_ONE_TOKEN, "", provider_id="openai")

    @property
    def version(self) -> str:
        """Name and version of the price list, as in `genai-prices 0.2.3`."""
        return self._list

    def version_of(self, target: Target) -> str:
        """Where the price of a target is from: the routes file, the list, or empty: nowhere."""
        if target.price is not None:
            return ROUTES_FILE
        return self._list if self.knows(target) else ""

    def knows(self, target: Target) -> bool:
        """Whether the target has a price."""
        return self.cost(target, _ONE_TOKEN) is not None

    def cost(self, target: Target, usage: Usage) -> int | None:
        """What the usage cost at a target, in whole nano-USD, rounded once, half up.

        None where no price is known. The routes file goes before the list; in the list a provider
        is found by its base URL, or by its name if that is one of the list's.
        """
        if target.price is not None:
            return target.price.cost(usage)
        place = (target.base_url, target.provider, target.model)
        if place in self._unknown:
            return None
        found = _of_the_list(target, clamped(usage))
        if found is None:
            # An odd usage may be at fault; only a model that is not there at all is remembered.
            if _of_the_list(target, _ONE_TOKEN) is None:
                self._unknown.add(place)
            return None
        prices = found.model_price
        # What the list has no price for, it counts as free.
        if (usage.input_tokens and prices.input_mtok is None) or (
            usage.output_tokens and prices.output_mtok is None
        ):
            return None
        return int((found.total_price * _NANO).to_integral_value(ROUND_HALF_UP))


def _of_the_list(target: Target, usage: Usage) -> PriceCalculation | None:
    found = _look_up(usage, target.model, provider_api_url=target.base_url)
    if found is not None:
        return found
    found = _look_up(usage, target.model, provider_id=target.provider)
    # The list also takes names that resemble one of its own; another's price is worse than none.
    same = found is not None and found.provider.id == target.provider.lower()
    return found if same else None


def _look_up(usage: Usage, model: str, **provider: str) -> PriceCalculation | None:
    given = genai_prices.Usage(
        input_tokens=usage.input_tokens,
        cache_read_tokens=usage.cached_input_tokens,
        output_tokens=usage.output_tokens,
        output_reasoning_tokens=usage.reasoning_tokens,
    )
    now = datetime.now(UTC)
    try:
        if "provider_id" in provider:
            return genai_prices.calc_price(
                given, model, provider_id=provider["provider_id"], genai_request_timestamp=now
            )
        return genai_prices.calc_price(
            given, model, provider_api_url=provider["provider_api_url"], genai_request_timestamp=now
        )
    except (LookupError, ValueError):
        # Unknown to the list, or priced by something that is not told here.
        return None
