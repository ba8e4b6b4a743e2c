"""The figures as a page of text: the four of them at a glance, then by route and by queue. Pure."""

import math
from collections.abc import Iterable, Sequence

from tidegate.figures.spread import LLM_BUCKETS
from tidegate.figures.stats import (
    StatsCache,
    StatsCost,
    StatsJson,
    StatsQueue,
    StatsResponse,
    StatsRoute,
    StatsSpread,
    StatsTier,
)

_NOTHING = "-"
Row = Sequence[str]


def stats_page(
    stats: StatsJson, lately: StatsJson | None = None, seconds: float | None = None
) -> str:
    """The page; `lately` are the figures of the last `seconds`, in a column before all others."""
    parts = [_who(stats), _table(_glance(stats, lately, seconds))]
    if stats.routes:
        parts.append(_table([_ROUTES_HEAD, *_routes(stats.routes)]))
    if stats.queues:
        parts.append(_table([_QUEUES_HEAD, *map(_queue, stats.queues)]))
    return "\n\n".join(parts)


def duration(seconds: float | None) -> str:
    """A time in its fitting unit, to three digits."""
    if seconds is None:
        return _NOTHING
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 3600:
        return f"{seconds:.{2 if seconds < 9.995 else 1 if seconds < 99.95 else 0}f} s"
    return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"


def bucketed(seconds: float | None) -> str:
    """A time told by a histogram, which knows nothing below its first bound or above its last."""
    if seconds is not None and seconds <= LLM_BUCKETS[0]:
        return f"< {duration(LLM_BUCKETS[0])}"
    return duration(seconds) if seconds != LLM_BUCKETS[-1] else f"> {duration(seconds)}"


def money(usd: float | None) -> str:
    """Dollars: to cents above one, to two digits below."""
    if usd is None:
        return _NOTHING
    if usd == 0:
        return "$0"
    digits = 2 if usd >= 1 else 1 - math.floor(math.log10(usd))
    return f"${usd:,.{digits}f}"


def share(ratio: float | None) -> str:
    """Per cent, to one digit."""
    return _NOTHING if ratio is None else f"{ratio * 100:.1f} %"


def _who(stats: StatsJson) -> str:
    number = len(stats.processes)
    if not number:
        return "no worker answers"
    longest = max(stats.at - each.started_at for each in stats.processes)
    return f"{number} worker{'s' if number > 1 else ''}, up for {duration(max(longest, 0.0))}"


def _glance(stats: StatsJson, lately: StatsJson | None, seconds: float | None) -> list[Row]:
    """The four figures, one a line, of the moment and since the start."""
    columns = [_figures(stats)]
    heads = ["since start"]
    if lately is not None:
        columns.insert(0, _figures(lately))
        heads.insert(0, f"last {duration(seconds)}")
    # The queue is as it stands now, whenever the counting began.
    columns[1:] = [(*column[:2], "", *column[3:]) for column in columns[1:]]
    names = ("response p95", "cache hits", "queue depth", "cost, mean")
    return [("", *heads), *zip(names, *columns, strict=True)]


def _figures(stats: StatsJson) -> tuple[str, str, str, str]:
    return (_response(stats.all), _hits(stats.cache), _depth(stats.queues), _cost(stats))


def _response(response: StatsResponse) -> str:
    if not response.response.count:
        return _NOTHING
    ttft = bucketed(response.ttft.p95)
    return f"{bucketed(response.response.p95)}, first token {ttft}, {_answers(response)}"


def _answers(response: StatsResponse) -> str:
    number = response.response.count
    return f"{number:,} answer{'s' if number > 1 else ''}"


def _hits(cache: StatsCache) -> str:
    if cache.hit_ratio is None:
        return _NOTHING
    tiers = ", ".join(f"{tier.tier} {share(tier.ratio)}" for tier in cache.tiers if tier.hits)
    missing = f", {cache.without_answer:,} without answer" if cache.without_answer else ""
    return f"{share(cache.hit_ratio)}{f' ({tiers})' if tiers else ''}{missing}"


def _depth(queues: Iterable[StatsQueue]) -> str:
    each = list(queues)
    waiting, running = sum(one.waiting for one in each), sum(one.running for one in each)
    oldest = max((one.oldest_s for one in each), default=0.0)
    aged = f", the oldest for {duration(oldest)}" if waiting else ""
    return f"{waiting:,} waiting{aged}, {running:,} running"


def _cost(stats: StatsJson) -> str:
    cost, saved = stats.cost, sum(each.usd for each in stats.saved)
    if not cost.interactions:
        return _NOTHING
    if _is_unpriced(cost):
        return "no price is known"
    told = f"{money(cost.mean_usd)} of {money(cost.usd)}, saved {money(saved)}"
    return f"{told}, {cost.unknown:,} at no known price" if cost.unknown else told


def _is_unpriced(cost: StatsCost) -> bool:
    """Whether nothing is known but that hits are for nothing, which is no mean of anything."""
    return cost.unknown > 0 and cost.usd == 0


_ROUTES_HEAD = (
    *("ROUTE", "TIER", "ANSWERS"),
    *("TTFT p50", "p95", "p99", "RESPONSE p50", "p95", "p99", "COST mean", "p95"),
)


def _routes(routes: Iterable[StatsRoute]) -> Iterable[Row]:
    for route in routes:
        told = route.cost
        priced = (money(told.mean_usd), money(told.p95_usd))
        cost = (_NOTHING, _NOTHING) if _is_unpriced(told) else priced
        yield (route.route, "all", *_times(route), *cost)
        if [tier.tier for tier in route.tiers] != ["miss"]:
            yield from (("", tier.tier, *_times(tier)) for tier in route.tiers)


def _times(of: StatsRoute | StatsTier) -> Row:
    return (f"{of.response.count:,}", *_quantiles(of.ttft), *_quantiles(of.response))


def _quantiles(spread: StatsSpread) -> Row:
    return [bucketed(quantile) for quantile in (spread.p50, spread.p95, spread.p99)]


_QUEUES_HEAD = ("QUEUE", "CLASS", "WAITING", "OLDEST", "RUNNING")


def _queue(queue: StatsQueue) -> Row:
    oldest = duration(queue.oldest_s) if queue.waiting else _NOTHING
    return (
        *(queue.queue, queue.job_class),
        *(f"{queue.waiting:,}", oldest, f"{queue.running:,}"),
    )


def _table(rows: Sequence[Row]) -> str:
    """Columns as wide as they need to be, two spaces between."""
    width = max(map(len, rows))
    whole = [(*row, *[""] * (width - len(row))) for row in rows]
    widths = [max(map(len, column)) for column in zip(*whole, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in whole)
    return "\n".join(lines)
