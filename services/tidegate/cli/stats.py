"""`tidegate stats`: the four figures of a running platform."""

import asyncio
import sys
from typing import Final

import click
import msgspec
from msgspec import UNSET, UnsetType

from tidegate.cli.client import Platform, run_client
from tidegate.cli.stats_page import stats_page
from tidegate.figures.interval import Interval
from tidegate.figures.stats import StatsJson, stats_of

_EVERY_SECONDS: Final = 2.0
_REDRAW: Final = "\x1b[H\x1b[J"


class _Line(msgspec.Struct, frozen=True):
    """What `--watch --json` prints at each look; `lately` is of the last `seconds`."""

    seconds: float | None
    lately: StatsJson | None
    since_start: StatsJson


def run_stats(*, watch: bool, as_json: bool) -> int:
    """Prints the figures since the start of each process; watching, also those of the moment."""

    async def once(platform: Platform) -> int:
        stats = await _stats(platform, snapshots=False)
        click.echo(_json(stats) if as_json else stats_page(stats))
        return 0

    async def again_and_again(platform: Platform) -> int:
        interval, clock = Interval(), asyncio.get_running_loop().time
        while True:
            next_at = clock() + _EVERY_SECONDS
            stats = await _stats(platform, snapshots=True)
            _show(*_split(stats, interval), interval.seconds, as_json=as_json)
            await asyncio.sleep(next_at - clock())

    try:
        return run_client(again_and_again if watch else once)
    except KeyboardInterrupt:
        return 0


async def _stats(platform: Platform, *, snapshots: bool) -> StatsJson:
    params = {"snapshots": "true"} if snapshots else {}
    return msgspec.convert(await platform.call("GET", "/v1/stats", params=params), StatsJson)


def _split(stats: StatsJson, interval: Interval) -> tuple[StatsJson, StatsJson | None]:
    """The figures since the start, and those since the last look, None at the first."""
    snapshots = [] if isinstance(stats.snapshots, UnsetType) else stats.snapshots
    news = interval.look(snapshots, stats.at)
    whole = msgspec.structs.replace(stats, snapshots=UNSET)
    return whole, None if interval.seconds is None else stats_of(news, stats.queues, stats.at)


def _show(
    stats: StatsJson, lately: StatsJson | None, seconds: float | None, *, as_json: bool
) -> None:
    if as_json:
        click.echo(msgspec.json.encode(_Line(seconds, lately, stats)))
    else:
        page = stats_page(stats, lately, seconds)
        click.echo(_REDRAW + page if sys.stdout.isatty() else page + "\n")


def _json(stats: StatsJson) -> str:
    return msgspec.json.format(msgspec.json.encode(stats)).decode()
