"""What a call cost: exactly, in whole nano-dollars, and unknown rather than wrong."""

import socket
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.contracts.events import Usage
from tidegate.providers.price import Price, clamped
from tidegate.providers.prices import PriceBook
from tidegate.providers.routes import Target

OPENAI = "https://api.openai.com/v1"
NOWHERE = "http://127.0.0.1:1/v1"


@pytest.fixture(scope="module")
def book() -> PriceBook:
    return PriceBook()


def dollars(text: str) -> int:
    """US dollars as nano-dollars."""
    return int(Decimal(text) * 10**9)


def test_each_part_has_its_price() -> None:
    price = Price(Decimal(1), Decimal(10), cached_input=Decimal("0.1"), reasoning=Decimal(20))
    usage = Usage(1_000_000, 400_000, 2_000_000, 500_000)
    assert price.cost(usage) == dollars("0.6") + dollars("0.04") + dollars("15") + dollars("10")


def test_a_part_without_a_price_costs_as_much_as_the_whole() -> None:
    price = Price(Decimal(1), Decimal(10))
    assert price.cost(Usage(1_000_000, 400_000, 1_000_000, 500_000)) == dollars("11")


def test_what_has_no_price_is_unknown_only_where_it_was_used() -> None:
    price = Price(Decimal(1))
    assert price.cost(Usage(input_tokens=5)) == 5000
    assert price.cost(Usage(input_tokens=5, output_tokens=1)) is None


@pytest.mark.parametrize(
    ("price", "cost"), [("0.0005", 1), ("0.00049999", 0), ("0.0015", 2), ("0.0025", 3)]
)
def test_a_half_is_rounded_up_and_once(price: str, cost: int) -> None:
    assert Price(Decimal(price)).cost(Usage(input_tokens=1)) == cost
    assert Price(Decimal(price), Decimal(0)).cost(Usage(input_tokens=0, output_tokens=9)) == 0


prices = st.decimals(0, 1_000_000, places=9)
tokens = st.integers(0, 10**12)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    given, made = draw(tokens), draw(tokens)
    return Usage(given, draw(st.integers(0, given)), made, draw(st.integers(0, made)))


all_prices = st.builds(
    Price, prices, prices, cached_input=st.none() | prices, reasoning=st.none() | prices
)


def exactly(price: Price, usage: Usage) -> Fraction:
    """Nano-dollars by fractions, which round nothing."""
    cached = price.input if price.cached_input is None else price.cached_input
    reasoning = price.output if price.reasoning is None else price.reasoning
    assert price.output is not None
    assert reasoning is not None
    return 1000 * (
        (usage.input_tokens - usage.cached_input_tokens) * Fraction(price.input)
        + usage.cached_input_tokens * Fraction(cached)
        + (usage.output_tokens - usage.reasoning_tokens) * Fraction(price.output)
        + usage.reasoning_tokens * Fraction(reasoning)
    )


@given(all_prices, usages())
def test_a_cost_is_exact_to_half_a_nano_dollar(price: Price, usage: Usage) -> None:
    cost = price.cost(usage)
    assert cost is not None
    assert -Fraction(1, 2) < exactly(price, usage) - cost + Fraction(1, 2) <= Fraction(1)
    assert cost == (exactly(price, usage) + Fraction(1, 2)) // 1


@given(all_prices, usages(), st.integers(0, 10**9), st.integers(0, 10**9))
def test_more_tokens_never_cost_less(price: Price, usage: Usage, more: int, made: int) -> None:
    larger = Usage(
        usage.input_tokens + more,
        usage.cached_input_tokens,
        usage.output_tokens + made,
        usage.reasoning_tokens,
    )
    one, other = price.cost(usage), price.cost(larger)
    assert one is not None
    assert other is not None
    assert one <= other


@given(all_prices, usages(), usages())
def test_two_calls_cost_their_sum_but_for_the_rounding(
    price: Price, one: Usage, other: Usage
) -> None:
    both = Usage(
        one.input_tokens + other.input_tokens,
        one.cached_input_tokens + other.cached_input_tokens,
        one.output_tokens + other.output_tokens,
        one.reasoning_tokens + other.reasoning_tokens,
    )
    apart = (price.cost(one) or 0) + (price.cost(other) or 0)
    assert abs((price.cost(both) or 0) - apart) <= 1


@given(st.builds(Usage, *(st.integers(-(10**6), 10**6) for _ in range(4))))
def test_a_provider_that_miscounts_never_makes_a_cost_below_zero(usage: Usage) -> None:
    told = clamped(usage)
    assert 0 <= told.cached_input_tokens <= told.input_tokens
    assert 0 <= told.reasoning_tokens <= told.output_tokens
    assert (Price(Decimal(1), Decimal(2)).cost(usage) or 0) >= 0


# The book.


def test_a_known_model_has_the_price_of_the_list(book: PriceBook) -> None:
    target = Target("anything", OPENAI, "gpt-4o-mini")
    assert book.cost(target, Usage(1_000_000, 0, 1_000_000, 0)) == dollars("0.75")
    assert book.cost(target, Usage(1_000_000, 1_000_000, 0, 0)) == dollars("0.075")
    assert book.version_of(target) == book.version == "genai-prices " + book.version.split()[1]


def test_reasoning_is_a_part_of_the_output(book: PriceBook) -> None:
    target = Target("openai", OPENAI, "gpt-4o-mini")
    assert book.cost(target, Usage(0, 0, 10, 4)) == book.cost(target, Usage(0, 0, 10, 0))


def test_a_provider_behind_another_address_is_found_by_its_exact_name(book: PriceBook) -> None:
    assert book.knows(Target("openai", NOWHERE, "gpt-4o-mini"))
    assert not book.knows(Target("my-openai", NOWHERE, "gpt-4o-mini"))
    assert not book.knows(Target("simulator", NOWHERE, "gpt-4o-mini"))


@pytest.mark.parametrize(
    "target",
    [
        Target("openai", OPENAI, "gpt-of-nobody"),
        Target("simulator", NOWHERE, "sim-small"),
        Target("litellm", NOWHERE, "nobody/nothing"),
        Target("openai", OPENAI, ""),
        Target("openai", OPENAI, "("),
    ],
)
def test_an_unknown_model_costs_nobody_knows_what(book: PriceBook, target: Target) -> None:
    for _ in range(2):
        assert book.cost(target, Usage(10, 0, 10, 0)) is None
    assert book.version_of(target) == ""


def test_what_the_list_prices_only_in_part_is_not_free(book: PriceBook) -> None:
    """The list has no output price for a model that makes none: were there some, who knows."""
    target = Target("openai", OPENAI, "text-embedding-3-small")
    assert book.cost(target, Usage(input_tokens=1_000_000)) == dollars("0.02")
    assert book.cost(target, Usage(input_tokens=1, output_tokens=1)) is None


def test_the_routes_file_goes_before_the_list(book: PriceBook) -> None:
    price = Price(Decimal(7), Decimal(0))
    target = Target("openai", OPENAI, "gpt-4o-mini", price=price)
    assert book.cost(target, Usage(1_000_000, 0, 5, 0)) == dollars("7")
    assert book.version_of(target) == "routes file"


def test_a_provider_that_miscounts_is_billed_by_the_list_too(book: PriceBook) -> None:
    target = Target("openai", OPENAI, "gpt-4o-mini")
    assert book.cost(target, Usage(10, 40, 1, 5)) == book.cost(target, Usage(10, 10, 1, 1))
    assert book.cost(target, Usage(-5, 0, -1, 0)) == 0


@given(usages())
def test_the_list_is_as_exact_as_a_price_of_ones_own(usage: Usage) -> None:
    listed = PriceBook().cost(Target("openai", OPENAI, "gpt-4o-mini"), usage)
    own = Price(Decimal("0.15"), Decimal("0.6"), cached_input=Decimal("0.075"))
    assert listed == own.cost(usage)


def test_no_price_is_ever_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)
    assert PriceBook().knows(Target("openai", OPENAI, "gpt-4o-mini"))
    assert not PriceBook().knows(Target("openai", OPENAI, "gpt-of-nobody"))


def test_who_bills_nobody_does_not_load_the_list() -> None:
    program = (
        "import sys, tidegate.streaming.app, tidegate.simulator.app, tidegate.providers.clients;"
        "sys.exit('genai_prices' in sys.modules)"
    )
    environ = {"PYTHONPATH": ":".join(sys.path)}
    ended = subprocess.run([sys.executable, "-c", program], env=environ, check=False, timeout=50)
    assert ended.returncode == 0
