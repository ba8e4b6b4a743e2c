"""What a person is told of a pool, and since when."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate_operator.conditions import (
    ConditionType,
    Fault,
    Figures,
    Found,
    Reason,
    conditions_of,
    status_of,
)
from tidegate_operator.pool import Condition, PoolStatus

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
WELL = Found(desired=2, current=2, ready=2, waiting=0, running=1)
FIGURES = Figures(
    oldest_seconds=3.9,
    service_seconds=2.34567,
    tokens_per_job=123.456,
    usd_per_job=0.000123456,
    limiter="None",
    reason="2 are enough.",
)
FAULTS = [
    Reason.QUEUE_TAKEN,
    Reason.FOREIGN_AUTOSCALER,
    Reason.NAME_TAKEN,
    Reason.INVALID_SPEC,
    Reason.NATS_UNREACHABLE,
    Reason.STREAM_MISSING,
    Reason.REFUSED,
]
FOUND = st.builds(
    Found,
    fault=st.none() | st.builds(Fault, st.sampled_from(FAULTS), st.text(max_size=9)),
    desired=st.none() | st.integers(0, 5),
    current=st.none() | st.integers(0, 5),
    ready=st.integers(0, 5),
    paused=st.booleans(),
    dry_run=st.booleans(),
    outage=st.booleans(),
    no_route=st.booleans(),
    waiting=st.none() | st.integers(0, 3),
    running=st.none() | st.integers(0, 3),
)


def said(found: Found) -> dict[str, tuple[str, str]]:
    return {each.type: (each.status, each.reason) for each in conditions_of(found, (), 1, NOW)}


def told(found: Found, kind: ConditionType) -> str:
    return next(each.message for each in conditions_of(found, (), 1, NOW) if each.type == kind)


def status(found: Found = WELL, figures: Figures | None = FIGURES, **more: Any) -> PoolStatus:
    usual: dict[str, Any] = {"selector": "a=b", "generation": 1, "now": NOW}
    previous = more.pop("previous", PoolStatus())
    return status_of(found, figures, previous, **(usual | more))


def test_a_pool_that_is_well() -> None:
    assert said(WELL) == {
        "Ready": ("True", "Available"),
        "Active": ("True", "JobsRun"),
        "Degraded": ("False", "AllIsWell"),
        "Paused": ("False", "NotPaused"),
    }


@pytest.mark.parametrize(
    ("found", "ready"),
    [
        (replace(WELL, ready=1), ("False", "Scaling")),
        (replace(WELL, desired=5), ("False", "Scaling")),
        (replace(WELL, desired=1), ("True", "Available")),
        (replace(WELL, desired=0, current=0, ready=0), ("True", "ScaledToZero")),
        (replace(WELL, current=None, ready=0), ("False", "NotApplied")),
        (replace(WELL, desired=None), ("True", "Available")),
        (replace(WELL, desired=None, ready=0), ("False", "Scaling")),
        (replace(WELL, paused=True), ("True", "Available")),
        (replace(WELL, paused=True, desired=3), ("False", "NotApplied")),
        (replace(WELL, dry_run=True, desired=3), ("False", "NotApplied")),
        (replace(WELL, fault=Fault(Reason.QUEUE_TAKEN, "taken")), ("False", "NotApplied")),
        (replace(WELL, fault=Fault(Reason.NATS_UNREACHABLE, "blind")), ("True", "Available")),
        (replace(WELL, outage=True), ("True", "Available")),
    ],
)
def test_ready_is_as_many_as_were_decided_on(found: Found, ready: tuple[str, str]) -> None:
    assert said(found)["Ready"] == ready


@pytest.mark.parametrize(
    ("found", "active"),
    [
        (replace(WELL, waiting=3), ("True", "JobsWait")),
        (replace(WELL, running=0), ("True", "Standby")),
        (replace(WELL, waiting=None, running=None), ("True", "Standby")),
        (replace(WELL, desired=0), ("False", "Idle")),
        (replace(WELL, desired=0, waiting=3), ("False", "HeldAtZero")),
        (replace(WELL, desired=None), ("Unknown", "NotDecided")),
    ],
)
def test_active_is_that_there_are_to_be_any(found: Found, active: tuple[str, str]) -> None:
    assert said(found)["Active"] == active


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        *((replace(WELL, fault=Fault(reason, "so")), reason) for reason in FAULTS),
        (replace(WELL, no_route=True), Reason.NO_ROUTE),
        (replace(WELL, outage=True), Reason.PROVIDER_OUTAGE),
    ],
)
def test_degraded_is_what_a_person_should_see_to(found: Found, reason: Reason) -> None:
    assert said(found)["Degraded"] == ("True", reason.value)


def test_what_is_wrong_besides_is_told_too() -> None:
    found = replace(WELL, fault=Fault(Reason.REFUSED, "No quota."), no_route=True, outage=True)
    assert said(found)["Degraded"] == ("True", "Refused")
    message = told(found, ConditionType.DEGRADED)
    assert message.startswith("No quota. No gateway routes jobs to this queue")
    assert "No provider" in message


def test_paused_says_by_what() -> None:
    assert said(replace(WELL, paused=True, dry_run=True))["Paused"] == (
        "True",
        "PausedByAnnotation",
    )
    assert said(replace(WELL, dry_run=True))["Paused"] == ("True", "DryRunByAnnotation")
    assert "tidegate.dev/dryRun" in told(replace(WELL, dry_run=True), ConditionType.PAUSED)


def test_a_message_of_others_has_an_end() -> None:
    found = replace(WELL, fault=Fault(Reason.REFUSED, "x" * 100_000))
    assert len(told(found, ConditionType.DEGRADED)) == 1024


@given(FOUND, FOUND, st.integers(0, 10**6))
def test_a_transition_is_a_change_of_the_status_alone(
    first: Found, second: Found, seconds: int
) -> None:
    later = NOW + timedelta(seconds=seconds)
    before = {each.type: each for each in conditions_of(first, (), 1, NOW)}
    after = conditions_of(second, before.values(), 2, later)
    assert [each.type for each in after] == list(ConditionType)
    for each in after:
        same = before[each.type].status == each.status
        assert each.last_transition_time == (NOW if same else later)
        assert each.observed_generation == 2
        assert each.reason
        assert each.status in {"True", "False", "Unknown"}


@given(FOUND, st.integers(0, 10**6))
def test_where_nothing_changed_nothing_is_said_anew(found: Found, seconds: int) -> None:
    """Else each look at a pool would be a write."""
    first = status(found)
    later = NOW + timedelta(seconds=seconds, microseconds=7)
    assert status(found, previous=first, now=later) == first


@given(FOUND, st.none() | st.just(FIGURES))
def test_a_status_says_what_was_found(found: Found, figures: Figures | None) -> None:
    made = status(found, figures)
    assert made.replicas == (found.current or 0)
    assert (made.ready_replicas, made.desired_replicas) == (found.ready, found.desired)
    if found.waiting is None or found.running is None:
        assert made.queue_depth is None
    else:
        assert made.queue_depth == found.waiting + found.running
    assert made.as_object()["conditions"]


def test_figures_are_rounded_for_a_mean_moves_all_the_time() -> None:
    made = status()
    assert (made.service_seconds, made.tokens_per_job, made.usd_per_job) == (2.35, 123, 0.000123)
    assert made.oldest_seconds == 3
    assert (made.limiter, made.reason) == ("None", "2 are enough.")


def test_who_is_blind_remembers_and_makes_nothing_up() -> None:
    """The next leader begins with what was remembered."""
    before = status(scaled=True)
    blind = replace(WELL, waiting=None, running=None)
    made = status(blind, None, previous=before, selector=None, now=NOW + timedelta(seconds=9))
    assert made.service_seconds == before.service_seconds
    assert (made.tokens_per_job, made.usd_per_job) == (before.tokens_per_job, before.usd_per_job)
    assert (made.reason, made.selector) == (before.reason, "a=b")
    assert made.last_scale_time == NOW
    assert (made.waiting, made.running, made.queue_depth, made.oldest_seconds) == (None,) * 4


def test_what_no_job_has_told_yet_is_what_was_remembered() -> None:
    silent = replace(FIGURES, tokens_per_job=None, usd_per_job=None)
    made = status(WELL, silent, previous=status())
    assert (made.tokens_per_job, made.usd_per_job) == (123, 0.000123)


def test_conditions_that_are_not_ours_go() -> None:
    """A newer operator's would be stale: who wrote them is gone."""
    foreign = Condition(type="Newer", status="True", last_transition_time=NOW)
    kinds = [each.type for each in conditions_of(WELL, [foreign], 1, NOW)]
    assert kinds == ["Ready", "Active", "Degraded", "Paused"]
