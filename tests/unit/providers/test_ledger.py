"""One job's bill: a slip in it charges a caller for what nobody did, or hides what was lost."""

from decimal import Decimal

import msgspec
import pytest

from tidegate.contracts.errors import Reason
from tidegate.contracts.events import Cancelled, Usage
from tidegate.contracts.jobs import JobClass, QueuedJob
from tidegate.contracts.spending import LastAttempt
from tidegate.providers.estimate import estimate_input_tokens
from tidegate.providers.ledger import Ledger, billing
from tidegate.providers.price import Price
from tidegate.providers.prices import ROUTES_FILE, PriceBook
from tidegate.providers.routes import Route, Routes, Target

REQUEST = b'{"model":"sim-1","messages":[{"role":"user","content":"When does the tide turn?"}]}'
URL = "http://127.0.0.1:1/v1"
PRICED = Target("p", URL, "m", price=Price(Decimal(1), Decimal(2)))
UNPRICED = Target("q", URL, "m")
INPUT, OUTPUT = 1000, 2000
ESTIMATED = estimate_input_tokens(REQUEST)


@pytest.fixture(scope="module")
def prices() -> PriceBook:
    return PriceBook()


@pytest.fixture
def ledger(prices: PriceBook) -> Ledger:
    return Ledger(prices, REQUEST)


def test_without_a_call_nothing_was_spent(ledger: Ledger) -> None:
    assert ledger.bill() == {
        "usage": Usage(),
        "cost_nano_usd": 0,
        "lost": Usage(),
        "lost_cost_nano_usd": 0,
        "price_version": "",
    }


def test_what_a_provider_tells_is_taken_as_it_is(ledger: Ledger) -> None:
    told = Usage(10, 5, 20, 3)
    ledger.begin(PRICED)
    ledger.book(PRICED, told, heard=99)
    bill = ledger.bill()
    assert (bill["usage"], bill["cost_nano_usd"]) == (told, 10 * INPUT + 20 * OUTPUT)
    assert bill["price_version"] == ROUTES_FILE


def test_what_a_provider_does_not_tell_is_estimated(ledger: Ledger) -> None:
    ledger.begin(PRICED)
    ledger.book(PRICED, None, heard=7)
    usage = Usage(ESTIMATED, 0, 7, estimated=True)
    assert ESTIMATED > 0
    assert ledger.bill()["usage"] == usage
    assert ledger.bill()["cost_nano_usd"] == ESTIMATED * INPUT + 7 * OUTPUT


@pytest.mark.parametrize(
    ("reason", "heard", "worked"),
    [
        (Reason.PROVIDER_UNAVAILABLE, 0, False),
        (Reason.PROVIDER_RATE_LIMITED, 0, False),
        (Reason.PROVIDER_TIMEOUT, 0, True),
        (Reason.PROVIDER_STREAM_CUT, 0, True),
        (Reason.PROVIDER_UNAVAILABLE, 1, True),
        ("", 0, True),
    ],
)
def test_a_refusal_is_free_and_silence_may_not_be(
    reason: str, heard: int, worked: bool, ledger: Ledger
) -> None:
    """A provider that accepted the prompt bills it, whether or not its answer arrived."""
    ledger.begin(UNPRICED)
    ledger.book(UNPRICED, None, heard, reason)
    assert ledger.bill()["usage"].input_tokens == (ESTIMATED if worked else 0)
    assert ledger.bill()["cost_nano_usd"] == (None if worked else 0)


def test_what_came_before_the_newest_attempt_is_lost(ledger: Ledger) -> None:
    for _ in range(3):
        ledger.begin(PRICED)
        ledger.book(PRICED, Usage(10, 0, 1), 1, Reason.PROVIDER_STREAM_CUT)
    bill = ledger.bill()
    assert (bill["usage"], bill["lost"]) == (Usage(10, 0, 1), Usage(20, 0, 2))
    assert bill["lost_cost_nano_usd"] == 2 * (10 * INPUT + OUTPUT)


def test_one_unknown_cost_leaves_the_sum_unknown(ledger: Ledger) -> None:
    ledger.begin(UNPRICED)
    ledger.book(UNPRICED, Usage(1), 0)
    ledger.begin(PRICED)
    ledger.book(PRICED, Usage(1), 0)
    assert (ledger.bill()["cost_nano_usd"], ledger.bill()["lost_cost_nano_usd"]) == (INPUT, None)


def test_attempts_of_other_workers_are_taken_over(ledger: Ledger) -> None:
    before = LastAttempt("p", "m", Usage(5, 0, 5, estimated=True), 11, heard=2)
    ledger.adopt(before, [UNPRICED, PRICED])
    assert ledger.lost.usage == Usage(5 + ESTIMATED, 0, 7, estimated=True)
    assert ledger.lost.cost == 11 + ESTIMATED * INPUT + 2 * OUTPUT
    assert ledger.bill()["usage"] == Usage()


def test_an_attempt_that_calls_nobody_costs_nothing_and_hides_no_loss(ledger: Ledger) -> None:
    """An answer from the cache after a call that broke off."""
    ledger.begin(PRICED)
    ledger.book(PRICED, Usage(10, 0, 1), 1, Reason.PROVIDER_STREAM_CUT)
    ledger.begin(None)
    bill = ledger.bill()
    assert (bill["usage"], bill["cost_nano_usd"]) == (Usage(), 0)
    assert (bill["lost"], bill["lost_cost_nano_usd"]) == (Usage(10, 0, 1), 10 * INPUT + OUTPUT)
    # The loss is told by what was called.
    assert (ledger.called, bill["price_version"]) == (PRICED.key, ROUTES_FILE)


def test_where_nobody_was_called_there_is_no_bill(ledger: Ledger) -> None:
    ledger.begin(None)
    assert (ledger.called, ledger.bill()["price_version"]) == (("", ""), "")


def test_words_that_nobody_was_paid_for_are_not_taken_over_as_a_loss(ledger: Ledger) -> None:
    """A worker that died while it gave an answer from the cache spent nothing on it."""
    before = LastAttempt("p", "m", Usage(5), 11, heard=40, free=True)
    ledger.adopt(before, [PRICED])
    assert ledger.lost == (Usage(5), 11)


def test_an_attempt_that_is_known_to_have_failed_at_once_is_free(ledger: Ledger) -> None:
    before = LastAttempt("gone", "m", Usage(), 0, heard=0, failed=Reason.CIRCUIT_OPEN)
    ledger.adopt(before, [])
    assert ledger.lost == (Usage(), 0)


def test_a_job_that_its_worker_left_is_billed_to_nobody_but_the_loss(prices: PriceBook) -> None:
    routes = Routes({"sim-1": Route("sim-1", "chat", "default", (PRICED,))})
    job = QueuedJob("job_1", "t", "k", "q", JobClass.BATCH, 1, "sim-1", "h", msgspec.Raw(REQUEST))
    before = LastAttempt("p", "m", Usage(), 0, heard=1)
    end = billing(prices, lambda: routes)(job, before, Cancelled("R", "x"))
    assert (end.usage, end.cost_nano_usd) == (Usage(), 0)
    assert end.lost == Usage(ESTIMATED, 0, 1, estimated=True)
    assert end.lost_cost_nano_usd == ESTIMATED * INPUT + OUTPUT
    assert end.price_version == ROUTES_FILE
