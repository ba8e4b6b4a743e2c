"""What the attempts of one job have used and cost: the newest, and all before it together.

A provider's own word counts. Where it said nothing, output is the tokens that were heard, and input
is estimated from the request; an attempt that was refused before it began has used nothing.
"""

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, TypedDict

import msgspec

from tidegate.contracts.errors import Reason
from tidegate.contracts.events import Terminal, Usage
from tidegate.contracts.jobs import QueuedJob
from tidegate.contracts.spending import LastAttempt, add_cost, add_usage
from tidegate.providers.estimate import estimate_input_tokens
from tidegate.providers.prices import PriceBook
from tidegate.providers.routes import Routes, Target

NOTHING: Final = Usage()
# Without a word of an answer, these alone do not tell that the provider did no work.
_MAY_HAVE_WORKED: Final = frozenset({"", Reason.PROVIDER_TIMEOUT, Reason.PROVIDER_STREAM_CUT})


class Bill(TypedDict):
    """The fields of a terminal event that say what a job spent."""

    usage: Usage
    cost_nano_usd: int | None
    lost: Usage
    lost_cost_nano_usd: int | None
    price_version: str


class Spent(NamedTuple):
    """What one attempt used, and its cost in nano-USD (None: the price is not known)."""

    usage: Usage
    cost: int | None


class Ledger:
    """Adds up one job's attempts. `request` is what is sent: its size tells what was not told."""

    def __init__(self, prices: PriceBook, request: bytes) -> None:
        self._prices = prices
        self._request = request
        self._input: int | None = None
        # What was called last, provider and upstream model; empty before any call.
        self.called: tuple[str, str] = ("", "")
        self._version = ""
        self._newest = Spent(NOTHING, 0)
        self._lost = Spent(NOTHING, 0)

    @property
    def lost(self) -> Spent:
        """All attempts before the newest, together."""
        return self._lost

    def adopt(self, before: LastAttempt, targets: Iterable[Target]) -> None:
        """Takes over what the log tells of attempts by others, as lost.

        `targets` are those of the routes now: one that is there no more has no known price.
        """
        usage = NOTHING if before.free else self._used(None, before.heard, before.failed)
        key = (before.provider, before.model)
        self.called = key
        target = next((target for target in targets if target.key == key), None)
        if target is not None:
            self._version = self._prices.version_of(target)
        last = Spent(usage, self._cost(target, usage))
        earlier = Spent(before.lost, before.lost_cost_nano_usd)
        self._lost = _both(self._lost, _both(earlier, last))

    @property
    def usage(self) -> Usage:
        """What the newest attempt used."""
        return self._newest.usage

    def begin(self, target: Target | None) -> None:
        """An attempt begins, at `target` or (None) one that calls nobody.

        What the one before it spent is lost.
        """
        if target is not None:
            self.called, self._version = target.key, self._prices.version_of(target)
        self._lost, self._newest = _both(self._lost, self._newest), Spent(NOTHING, 0)

    def book(self, target: Target, told: Usage | None, heard: int, failed: str = "") -> None:
        """Says what the newest attempt used.

        `told` by the provider, or else `heard` tokens; `failed` is the reason of its error.
        """
        usage = self._used(told, heard, failed)
        self._newest = Spent(usage, self._cost(target, usage))

    def bill(self) -> Bill:
        """For the terminal event."""
        return Bill(
            usage=self._newest.usage,
            cost_nano_usd=self._newest.cost,
            lost=self._lost.usage,
            lost_cost_nano_usd=self._lost.cost,
            price_version=self._version,
        )

    def _used(self, told: Usage | None, heard: int, failed: str) -> Usage:
        if told is not None:
            return told
        if not heard and failed not in _MAY_HAVE_WORKED:
            return NOTHING
        if self._input is None:
            self._input = estimate_input_tokens(self._request)
        return Usage(input_tokens=self._input, output_tokens=heard, estimated=True)

    def _cost(self, target: Target | None, usage: Usage) -> int | None:
        if usage == NOTHING:
            return 0
        return None if target is None else self._prices.cost(target, usage)


def _both(one: Spent, other: Spent) -> Spent:
    return Spent(add_usage(one.usage, other.usage), add_cost(one.cost, other.cost))


def billing(
    prices: PriceBook, routes: Callable[[], Routes]
) -> Callable[[QueuedJob, LastAttempt, Terminal], Terminal]:
    """What says in the end of a job that its worker did not end what was spent: all of it is lost.

    It takes the job, the newest attempt in its log, and the end.
    """

    def bill(job: QueuedJob, before: LastAttempt, end: Terminal) -> Terminal:
        ledger = Ledger(prices, bytes(job.request))
        ledger.adopt(before, routes().targets)
        return msgspec.structs.replace(end, **ledger.bill())

    return bill
