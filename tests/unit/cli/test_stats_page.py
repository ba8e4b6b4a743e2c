"""What a person sees of the figures, four lines first."""

import pytest

from tests.support.figures import Worker, completed
from tidegate.cli.stats_page import bucketed, duration, money, share, stats_page
from tidegate.figures.stats import StatsQueue, stats_of

QUEUE = StatsQueue(queue="default", job_class="interactive", waiting=12, running=30, oldest_s=0.4)


def worked(*, cached: bool = True) -> Worker:
    worker = Worker()
    for _ in range(3):
        worker.answer(1.2, end=completed(63_000))
        worker.figures.looked_up("miss")
    if cached:
        worker.answer(0.02, ttft=0.01, tier="semantic", end=completed(saved=63_000))
        worker.figures.looked_up("hit", "semantic")
    return worker


def test_the_four_figures_stand_on_four_lines() -> None:
    lines = stats_page(stats_of([worked().tell()], [QUEUE], 3_720.0)).splitlines()
    assert lines[0] == "1 worker, up for 1 h 2 min"
    assert [line.partition("  ")[0] for line in lines[3:7]] == [
        "response p95",
        "cache hits",
        "queue depth",
        "cost, mean",
    ]
    assert "4 answers" in lines[3]
    assert "25.0 % (semantic 25.0 %)" in lines[4]
    assert "12 waiting, the oldest for 400 ms, 30 running" in lines[5]
    assert "$0.000047 of $0.00019, saved $0.000063" in lines[6]


def test_the_moment_stands_before_the_whole() -> None:
    lately = stats_of([worked(cached=False).tell()], [QUEUE], 60.0)
    lines = stats_page(stats_of([worked().tell()], [QUEUE], 60.0), lately, 2.02).splitlines()
    assert lines[2].split("  ")[-1] == "since start"
    assert "last 2.02 s" in lines[2]
    assert lines[3].index("3 answers") < lines[3].index("4 answers")
    assert lines[5].count("waiting") == 1


def test_a_platform_at_rest_is_shown_without_figures() -> None:
    page = stats_page(stats_of([], [], 1.0))
    assert page.startswith("no worker answers")
    assert "0 waiting, 0 running" in page
    assert "nan" not in page.lower()
    assert "None" not in page


def test_tiers_are_told_apart_where_there_are_several() -> None:
    page = stats_page(stats_of([worked().tell()], [], 60.0))
    rows = [line.split() for line in page.splitlines() if "miss" in line or "semantic " in line]
    assert ["miss", "3"] in [row[:2] for row in rows]
    assert "miss" not in stats_page(stats_of([worked(cached=False).tell()], [], 60.0))


def test_what_has_no_price_is_not_shown_as_free() -> None:
    worker = Worker()
    worker.answer(end=completed(None))
    page = stats_page(stats_of([worker.tell()], [], 60.0))
    assert "no price is known" in page
    worker.answer(end=completed(63_000))
    page = stats_page(stats_of([worker.tell()], [], 60.0))
    assert "$0.000063 of $0.000063, saved $0, 1 at no known price" in page


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "-"),
        (0.0, "0 ms"),
        (0.0474, "47 ms"),
        (0.9996, "1.00 s"),
        (9.996, "10.0 s"),
        (123.4, "123 s"),
        (7_260, "2 h 1 min"),
    ],
)
def test_times_are_shown_in_their_unit(seconds: float | None, shown: str) -> None:
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("usd", "shown"),
    [
        (None, "-"),
        (0.0, "$0"),
        (0.000063, "$0.000063"),
        (0.0123, "$0.012"),
        (0.5, "$0.50"),
        (1234.5, "$1,234.50"),
    ],
)
def test_money_is_shown_to_two_digits(usd: float | None, shown: str) -> None:
    assert money(usd) == shown


def test_hits_that_are_for_nothing_do_not_make_unpriced_answers_so() -> None:
    worker = Worker()
    worker.answer(end=completed(None))
    worker.answer(tier="exact", end=completed(saved=None))
    page = stats_page(stats_of([worker.tell()], [], 60.0))
    assert "no price is known" in page
    assert "$0" not in page


def test_what_the_buckets_do_not_tell_is_not_told() -> None:
    """A hit that took 3 ms would be shown as 9, which nobody measured."""
    told = [bucketed(seconds) for seconds in (None, 0.0095, 0.0501, 1.0, 119.0, 120.0)]
    assert told == ["-", "< 10 ms", "50 ms", "1.00 s", "119 s", "> 120 s"]


def test_shares_are_per_cent() -> None:
    assert (share(None), share(0.4213)) == ("-", "42.1 %")
