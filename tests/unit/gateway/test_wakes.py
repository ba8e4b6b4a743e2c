"""Telling of new jobs: at once of the first, seldom of a burst, and never at a create's cost."""

import asyncio
from itertools import pairwise
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from tidegate.chassis.nats_connection import NatsConnection
from tidegate.chassis.tasks import TaskGuard
from tidegate.gateway.wakes import Wakes, WakeThrottle


class Nats:
    """A connection that takes hints."""

    def __init__(self) -> None:
        self.told: list[str] = []

    async def hint(self, subject: str, payload: bytes = b"") -> None:
        assert payload == b""
        self.told.append(subject)


def test_the_first_is_told_of_at_once_and_each_queue_by_itself() -> None:
    throttle = WakeThrottle(0.5)
    assert throttle.passes("a", 10.0)
    assert not throttle.passes("a", 10.49)
    assert throttle.passes("b", 10.49)
    assert throttle.passes("a", 10.5)
    assert not throttle.passes("a", 10.99)


@given(st.lists(st.floats(0, 100), min_size=1).map(sorted))
def test_no_two_are_closer_than_they_may_be(moments: list[float]) -> None:
    throttle = WakeThrottle(0.5)
    told = [moment for moment in moments if throttle.passes("a", moment)]
    assert told[0] == moments[0]
    assert all(later >= earlier + 0.5 for earlier, later in pairwise(told))
    # And nobody is left out whose turn it was.
    assert all(any(each <= moment < each + 0.5 for each in told) for moment in moments)


async def test_a_burst_is_told_of_once() -> None:
    nats, guard, now = Nats(), TaskGuard(), [0.0]
    wakes = Wakes(cast(NatsConnection, nats), guard, lambda: now[0])
    for _ in range(100):
        wakes.accepted("default")
    wakes.accepted("other")
    assert nats.told == []  # nobody has waited for it
    await asyncio.sleep(0)
    assert nats.told == ["wake.default", "wake.other"]
    now[0] = 0.5
    wakes.accepted("default")
    await asyncio.sleep(0)
    assert nats.told == ["wake.default", "wake.other", "wake.default"]
