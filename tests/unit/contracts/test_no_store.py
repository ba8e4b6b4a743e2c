"""A word to the platform goes no farther: providers refuse metadata that they do not want."""

import msgspec
import pytest

from tidegate.contracts.no_store import MEMBER, without_member


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"metadata": {MEMBER: "no-store"}, "n": 1}, {"n": 1}),
        ({"metadata": {MEMBER: "no-store", "team": "a"}}, {"metadata": {"team": "a"}}),
        ({"metadata": {"team": "a"}}, {"metadata": {"team": "a"}}),
        ({"metadata": None, "user": MEMBER}, {"metadata": None, "user": MEMBER}),
        ({"user": f"a {MEMBER}"}, {"user": f"a {MEMBER}"}),
    ],
)
def test_only_the_platforms_own_member_is_taken_out(given: object, sent: object) -> None:
    assert msgspec.json.decode(without_member(msgspec.json.encode(given))) == sent


def test_a_request_without_it_comes_back_as_it_is() -> None:
    request = b'{"messages":[],"model":"m"}'
    assert without_member(request) is request
