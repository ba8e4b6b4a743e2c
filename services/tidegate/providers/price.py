"""What a model costs: US dollars for a million tokens, exactly."""

from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Final

import msgspec

from tidegate.contracts.events import Usage

# A dollar for a million tokens is a thousand nano-dollars for one.
_NANO_USD: Final = Decimal(1000)
# More digits than a price times a count of tokens can have, so that only the end is rounded.
_EXACT: Final = Context(prec=80, rounding=ROUND_HALF_UP)


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """US dollars for a million tokens. What is None costs as much as what it is a part of.

    Cached input is a part of the input and reasoning one of the output; without a price of the
    output, what has an output has no known cost.
    """

    input: Decimal
    output: Decimal | None = None
    cached_input: Decimal | None = None
    reasoning: Decimal | None = None

    def cost(self, usage: Usage) -> int | None:
        """Whole nano-dollars, rounded once, half up; None where a price is not known."""
        usage = clamped(usage)
        cached, reasoning = usage.cached_input_tokens, usage.reasoning_tokens
        parts = (
            (usage.input_tokens - cached, self.input),
            (cached, _first(self.cached_input, self.input)),
            (usage.output_tokens - reasoning, self.output),
            (reasoning, _first(self.reasoning, self.output)),
        )
        total = Decimal(0)
        for tokens, price in parts:
            if not tokens:
                continue
            if price is None:
                return None
            total = _EXACT.fma(_EXACT.multiply(price, _NANO_USD), Decimal(tokens), total)
        return int(total.to_integral_value(ROUND_HALF_UP, _EXACT))


def _first(price: Decimal | None, other: Decimal | None) -> Decimal | None:
    return other if price is None else price


def clamped(usage: Usage) -> Usage:
    """The usage with nothing below zero and no part larger than its whole, whoever told it."""
    input_tokens, output_tokens = max(usage.input_tokens, 0), max(usage.output_tokens, 0)
    return Usage(
        input_tokens=input_tokens,
        cached_input_tokens=min(max(usage.cached_input_tokens, 0), input_tokens),
        output_tokens=output_tokens,
        reasoning_tokens=min(max(usage.reasoning_tokens, 0), output_tokens),
        estimated=usage.estimated,
    )
