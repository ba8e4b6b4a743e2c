"""What is computed of the figures: JSON for programs, and the ground of what people are shown.

Pure. Times are seconds, money is US dollars; null is where nothing was observed, or nothing known.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from tidegate.figures.snapshot import Family, Snapshot
from tidegate.figures.spread import Spread, together

_HITS: Final = ("exact", "semantic", "coalesced")
_TIERS: Final = ("miss", *_HITS)
_BYPASS: Final = "bypass"


class StatsSpread(msgspec.Struct, frozen=True):
    """How something is spread, by histograms: exact within a bucket's width."""

    count: int
    mean: float | None
    p50: float | None
    p95: float | None
    p99: float | None

    @classmethod
    def of(cls, spread: Spread) -> "StatsSpread":
        """The quantiles of a histogram."""
        quantiles = (spread.quantile(share) for share in (0.5, 0.95, 0.99))
        return cls(spread.count, spread.mean, *quantiles)


class StatsResponse(msgspec.Struct, frozen=True):
    """Time to first token, from an attempt's start; and to the end, from a job's acceptance."""

    ttft: StatsSpread
    response: StatsSpread


class StatsTier(msgspec.Struct, frozen=True):
    """The same of one tier: `miss` (a model was called), `exact`, `semantic` or `coalesced`."""

    tier: str
    ttft: StatsSpread
    response: StatsSpread


class StatsCost(msgspec.Struct, frozen=True):
    """What interactions cost. `unknown` are those whose cost is not known: they are in no sum."""

    interactions: int
    unknown: int
    usd: float
    mean_usd: float | None
    p95_usd: float | None


class StatsRoute(msgspec.Struct, frozen=True):
    """All of one public model, and by tier what it had."""

    route: str
    ttft: StatsSpread
    response: StatsSpread
    tiers: list[StatsTier]
    cost: StatsCost


class StatsHits(msgspec.Struct, frozen=True):
    """The hits of one tier, and their share of what could be cached."""

    tier: str
    hits: int
    ratio: float | None


class StatsCache(msgspec.Struct, frozen=True):
    """What the cache had for the jobs that asked.

    `hit_ratio` is of the lookups that could have been hits: all but `bypassed`. `without_answer`
    are those that the cache did not answer in time, or at all.
    """

    lookups: int
    hit_ratio: float | None
    tiers: list[StatsHits]
    misses: int
    shadows: int
    bypassed: int
    without_answer: int


class StatsQueue(msgspec.Struct, frozen=True):
    """A queue and class now; `oldest_s` is how long the oldest that waits has waited."""

    queue: str
    job_class: str = msgspec.field(name="class")
    waiting: int
    running: int
    oldest_s: float


class StatsSaved(msgspec.Struct, frozen=True):
    """What a tier's answers had cost that were given again; `unknown` of them at no known price."""

    tier: str
    usd: float
    unknown: int


class StatsProcess(msgspec.Struct, frozen=True):
    """A process whose figures are in it; `process` names its life, from start to end."""

    process: str
    host: str
    started_at: float


class StatsJson(msgspec.Struct, frozen=True):
    """The four figures of a platform, since each of its processes began.

    `at` is when, in seconds since the epoch. `snapshots`, where they were asked for, are what each
    process told, for differences.
    """

    at: float
    processes: list[StatsProcess]
    all: StatsResponse
    routes: list[StatsRoute]
    cache: StatsCache
    queues: list[StatsQueue]
    cost: StatsCost
    saved: list[StatsSaved]
    snapshots: list[Snapshot] | UnsetType = UNSET


class Fleet:
    """The snapshots of several processes, asked as if they were one."""

    def __init__(self, snapshots: Iterable[Snapshot]) -> None:
        self._snapshots = tuple(snapshots)

    def spread(self, family: Callable[[Snapshot], Family], **labels: str) -> Spread:
        """The observations of all."""
        return together(family(each).spread(**labels) for each in self._snapshots)

    def count(self, family: Callable[[Snapshot], Family], **labels: str) -> int:
        """A counter's total."""
        return round(self.sum(family, **labels))

    def sum(self, family: Callable[[Snapshot], Family], **labels: str) -> float:
        """The same of what need not be whole."""
        return sum(family(each).sum(**labels) for each in self._snapshots)

    @property
    def routes(self) -> list[str]:
        """The public models that anything is known of."""
        families = (
            family
            for each in self._snapshots
            for family in (each.ttft, each.response, each.cost, each.cost_unknown)
        )
        return sorted({route for family in families for route in family.values("route")})


def stats_of(snapshots: Sequence[Snapshot], queues: Iterable[StatsQueue], at: float) -> StatsJson:
    """The figures of processes together; `queues` are as they stand at `at` (epoch seconds)."""
    fleet = Fleet(snapshots)
    return StatsJson(
        at=at,
        processes=[StatsProcess(each.process, each.host, each.started_at) for each in snapshots],
        all=StatsResponse(**_response(fleet)),
        routes=[_route(fleet, route) for route in fleet.routes],
        cache=_cache(fleet),
        queues=sorted(queues, key=lambda each: (each.queue, each.job_class)),
        cost=_cost(fleet),
        saved=[
            StatsSaved(
                tier,
                fleet.sum(lambda each: each.saved, tier=tier),
                fleet.count(lambda each: each.saved_unknown, tier=tier),
            )
            for tier in _HITS
        ],
    )


def _response(fleet: Fleet, **labels: str) -> dict[str, StatsSpread]:
    return {
        "ttft": StatsSpread.of(fleet.spread(lambda each: each.ttft, **labels)),
        "response": StatsSpread.of(fleet.spread(lambda each: each.response, **labels)),
    }


def _route(fleet: Fleet, route: str) -> StatsRoute:
    tiers = [StatsTier(tier, **_response(fleet, route=route, tier=tier)) for tier in _TIERS]
    return StatsRoute(
        route,
        tiers=[tier for tier in tiers if tier.ttft.count or tier.response.count],
        cost=_cost(fleet, route=route),
        **_response(fleet, route=route),
    )


def _cost(fleet: Fleet, **labels: str) -> StatsCost:
    known = fleet.spread(lambda each: each.cost, **labels)
    unknown = fleet.count(lambda each: each.cost_unknown, **labels)
    return StatsCost(known.count + unknown, unknown, known.total, known.mean, known.quantile(0.95))


def _cache(fleet: Fleet) -> StatsCache:
    def lookups(**labels: str) -> int:
        return fleet.count(lambda each: each.lookups, **labels)

    of_all, bypassed = lookups(), lookups(outcome=_BYPASS)
    hits = {tier: lookups(outcome="hit", tier=tier) for tier in _HITS}
    misses, shadows = lookups(outcome="miss"), lookups(outcome="shadow")

    def ratio(number: int) -> float | None:
        return number / (of_all - bypassed) if of_all > bypassed else None

    return StatsCache(
        lookups=of_all,
        hit_ratio=ratio(sum(hits.values())),
        tiers=[StatsHits(tier, number, ratio(number)) for tier, number in hits.items()],
        misses=misses,
        shadows=shadows,
        bypassed=bypassed,
        without_answer=of_all - bypassed - misses - shadows - sum(hits.values()),
    )
