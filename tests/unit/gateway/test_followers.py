"""One tenant's streams leave room for the others', and the process's for all else."""

import asyncio

import pytest

from tidegate.contracts.errors import Reason, ResourceExhausted, Unavailable
from tidegate.gateway.followers import Followers


def test_a_tenants_streams_are_bounded_and_the_other_goes_on() -> None:
    followers = Followers(max_per_tenant=1, max_in_all=10)
    with followers.one_more("acme"):
        with pytest.raises(ResourceExhausted) as refused, followers.one_more("acme"):
            pass
        with followers.one_more("other"):
            pass
    error = refused.value
    assert error.reason is Reason.TOO_MANY_STREAMS
    assert error.retry_after is not None
    assert 0 < error.retry_after < 60
    with followers.one_more("acme"):
        pass


def test_all_streams_together_are_bounded() -> None:
    followers = Followers(max_per_tenant=10, max_in_all=2)
    with (
        followers.one_more("one"),
        followers.one_more("two"),
        pytest.raises(ResourceExhausted),
        followers.one_more("three"),
    ):
        pass
    with followers.one_more("three"):
        pass


async def test_a_drain_wakes_whoever_waits_and_says_why() -> None:
    followers = Followers(max_per_tenant=10, max_in_all=10)
    with followers.one_more("acme") as place:
        place.check()
        await followers.drain(60)
        assert place.wake.is_set()
        with pytest.raises(Unavailable) as refused:
            place.check()
    assert refused.value.reason is Reason.DRAINING
    with followers.one_more("acme") as late, pytest.raises(Unavailable):
        late.check()


async def test_a_stream_that_cannot_be_resumed_is_let_come_to_its_end() -> None:
    """Its client would have to begin anew, and would be told so in the middle of an answer."""
    followers = Followers(max_per_tenant=10, max_in_all=10)
    with followers.one_more("acme", resumable=False) as place:
        draining = asyncio.create_task(followers.drain(60))
        await asyncio.sleep(0)
        place.check()
        with pytest.raises(Unavailable), followers.one_more("acme", resumable=False):
            pass
        assert not draining.done()
    await draining


async def test_but_not_for_ever() -> None:
    followers = Followers(max_per_tenant=10, max_in_all=10)
    with followers.one_more("acme", resumable=False) as place:
        await followers.drain(0.01)
        assert place.wake.is_set()
        with pytest.raises(Unavailable):
            place.check()
