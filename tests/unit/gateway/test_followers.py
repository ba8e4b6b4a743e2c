"""One tenant's streams leave room for the others', and the process's for all else."""

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


def test_a_drain_wakes_whoever_waits_and_says_why() -> None:
    followers = Followers(max_per_tenant=10, max_in_all=10)
    with followers.one_more("acme") as wake:
        followers.check_draining()
        followers.drain()
        assert wake.is_set()
        with pytest.raises(Unavailable) as refused:
            followers.check_draining()
    assert refused.value.reason is Reason.DRAINING
