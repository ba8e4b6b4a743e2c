"""Leader election: with two leaders a pool's replicas would be fought over."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate_operator.lease import Observed, Step, Term, next_step

DURATION = 15


def lease(holder: str, renewed: str = "1", *, seconds: int | None = DURATION) -> dict[str, Any]:
    return {
        "spec": {
            "holderIdentity": holder,
            "renewTime": renewed,
            "leaseDurationSeconds": seconds,
        }
    }


def step(found: dict[str, Any] | None, seen: Observed, now: float, identity: str = "me") -> Step:
    if found is not None:
        seen.look(found, now)
    return next_step(found, seen, identity, now)


def test_where_there_is_no_lease_it_is_made() -> None:
    assert step(None, Observed(), 0.0) is Step.CREATE


def test_ones_own_is_renewed() -> None:
    assert step(lease("me"), Observed(), 1000.0) is Step.RENEW


def test_one_that_was_let_go_is_taken_at_once() -> None:
    assert step(lease(""), Observed(), 0.0) is Step.TAKE


def test_another_lease_is_respected_for_its_whole_duration_from_when_it_was_first_seen() -> None:
    seen = Observed()
    # However old its own time is: that is by another's clock.
    assert step(lease("you", "long ago"), seen, 100.0) is Step.WAIT
    assert step(lease("you", "long ago"), seen, 100.0 + DURATION - 0.01) is Step.WAIT
    assert step(lease("you", "long ago"), seen, 100.0 + DURATION) is Step.TAKE


def test_every_renewal_begins_the_wait_anew() -> None:
    seen = Observed()
    step(lease("you", "1"), seen, 0.0)
    assert step(lease("you", "2"), seen, DURATION - 1.0) is Step.WAIT
    assert step(lease("you", "2"), seen, DURATION + 1.0) is Step.WAIT
    assert step(lease("you", "2"), seen, 2 * DURATION) is Step.TAKE


def test_another_holder_with_the_same_time_is_another_life_sign() -> None:
    seen = Observed()
    step(lease("you", "1"), seen, 0.0)
    assert step(lease("they", "1"), seen, DURATION + 1.0) is Step.WAIT


@pytest.mark.parametrize("found", [{}, {"spec": None}, {"spec": {}}, lease("", seconds=None)])
def test_a_lease_that_says_nothing_is_taken(found: dict[str, Any]) -> None:
    assert step(found, Observed(), 0.0) is Step.TAKE


def test_a_term_ends_by_itself_and_can_be_ended() -> None:
    now = [0.0]
    term = Term("1-me", 10.0, lambda: now[0])
    lasted = [term.lasts]
    now[0] = 10.0
    lasted.append(term.lasts)
    term.extend(20.0)
    lasted.append(term.lasts)
    term.extend(float("-inf"))
    lasted.append(term.lasts)
    assert lasted == [True, False, True, False]


# Two replicas and a Lease with versions, as the API server keeps it: which of them may act?


@dataclass
class Server:
    """The Lease, of which only the version that was read can be replaced."""

    version: int = 0
    found: dict[str, Any] | None = None

    def read(self) -> tuple[int, dict[str, Any] | None]:
        return self.version, self.found

    def write(self, version: int, body: dict[str, Any]) -> bool:
        if version != self.version:
            return False
        self.version, self.found = version + 1, body
        return True


@dataclass
class Replica:
    """What `Election` does, in steps that anything may come between: read, write, hear of it."""

    name: str
    server: Server
    # Its clock is off by this, and as fast as all others.
    offset: float
    seen: Observed = field(default_factory=Observed)
    until: float = float("-inf")
    began: float = 0.0
    read: tuple[int, dict[str, Any] | None] | None = None
    written: bool | None = None

    def clock(self, now: float) -> float:
        return now + self.offset

    def lasts(self, now: float) -> bool:
        return self.clock(now) < self.until

    def advance(self, now: float) -> None:
        """The next of its steps."""
        if self.written is not None:
            if self.written:
                self.until = self.began + DURATION * 2 / 3
            self.read = self.written = None
        elif self.read is not None:
            self._write(now)
        else:
            self.began = self.clock(now)
            self.read = self.server.read()

    def _write(self, now: float) -> None:
        assert self.read is not None
        version, found = self.read
        # By the clock of when the request was sent, as `Election` has it.
        chosen = step(found, self.seen, self.began, self.name)
        if chosen is Step.WAIT:
            self.until, self.read = float("-inf"), None
            return
        self.written = self.server.write(version, lease(self.name, f"{now}"))


# Mostly none, or what matters: else two in a row that lead are never met.
passing = st.one_of(
    st.sampled_from([0.0, 0.0, 0.0, DURATION / 3, DURATION * 2 / 3, DURATION]),
    st.floats(0, DURATION * 1.2),
)
# Who moves, by how many steps, and how much time passes before.
moves = st.tuples(st.integers(0, 1), st.sampled_from([1, 1, 3]), passing)


@settings(max_examples=500, deadline=None)
@given(
    offsets=st.tuples(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6)),
    made=st.lists(moves, min_size=8, max_size=50),
)
def test_never_do_two_lead_however_slow_either_is(
    offsets: tuple[int, int], made: list[tuple[int, int, float]]
) -> None:
    server, now = Server(), 0.0
    pair = [Replica(name, server, by) for name, by in zip(("a", "b"), offsets, strict=True)]
    for which, count, passes in made:
        # Anything may take long: the API server, the network, the process itself.
        now += passes
        for _ in range(count):
            pair[which].advance(now)
            assert not all(each.lasts(now) for each in pair)
