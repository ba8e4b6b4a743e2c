"""Who leads, by what is stored: two who both believe it pay for one answer twice."""

import msgspec
import pytest

from tidegate.chassis.jetstream import Stored
from tidegate.worker.lease import (
    Free,
    Lease,
    Mine,
    Standing,
    Unreadable,
    encode_lease,
    new_lease,
    released,
    standing,
)

MINE = Lease("job_a", "o1")
THEIRS = Lease("job_b", "o2")


def stored(lease: Lease) -> Stored:
    return Stored("flights.t.k", 7, encode_lease(lease), 0)


@pytest.mark.parametrize(
    ("last", "follows"),
    [
        (MINE, Mine(7)),
        (THEIRS, THEIRS),
        # It was an attempt of my own job, which has lost its log to this one.
        (Lease("job_a", "o9"), Free(7)),
        (released(THEIRS), Free(7, landed=True)),
        (released(MINE), Free(7, landed=True)),
    ],
)
def test_what_is_stored_tells_who_leads(last: Lease, follows: Standing) -> None:
    assert standing(stored(last), MINE) == follows


def test_where_nothing_is_stored_anybody_may_lead() -> None:
    assert standing(None, MINE) == Free(0)


def test_a_lease_whose_job_has_ended_can_be_taken_by_its_fence() -> None:
    """And no other of the same job: its next attempt may have written it a moment ago."""
    assert standing(stored(THEIRS), MINE, void="o2") == Free(7)
    assert standing(stored(THEIRS), MINE, void="o1") == THEIRS


@pytest.mark.parametrize("payload", [b"", b"{}", b"[1]", b'{"job":"j","owner":"o","v":2}'])
def test_from_what_cannot_be_read_nothing_follows(payload: bytes) -> None:
    assert standing(Stored("s", 1, payload, 0), MINE) == Unreadable()


def test_no_two_leases_are_the_same() -> None:
    """Else one owner would take the other's for its own."""
    assert len({encode_lease(new_lease("job_a")) for _ in range(100)}) == 100


def test_a_lease_as_it_is_stored() -> None:
    """Another release reads it."""
    assert encode_lease(MINE) == b'{"job":"job_a","owner":"o1","v":1}'
    assert msgspec.json.decode(encode_lease(released(MINE))) == {
        "job": "job_a",
        "owner": "o1",
        "released": True,
        "v": 1,
    }
