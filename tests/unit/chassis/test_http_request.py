"""What stands in a URL is obeyed or refused; a key there is in every log on its way."""

import pytest

from tidegate.chassis.http_request import check_query, only_value
from tidegate.contracts.errors import InvalidRequest, Reason


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("api_key", "x"),
        ("apikey", "x"),
        ("key", ""),
        ("access_token", "x"),
        ("Authorization", "x"),
        ("anything", "tg_abc"),
        ("anything", "Bearer tg_abc"),
        ("after_sequence", "tidegate-dev"),
        ("page_token", "tg_abc"),
        ("anything", "eyJhbGciOiJIUzI1NiJ9.eyJ0ZW5hbnQiOiJhIn0.sig"),
        ("page_token", "eyJhbGciOiJIUzI1NiJ9.eyJ0ZW5hbnQiOiJhIn0.sig"),
    ],
)
def test_a_key_in_a_url_is_refused_and_not_repeated(name: str, value: str) -> None:
    with pytest.raises(InvalidRequest, match="does not belong in a URL") as refused:
        check_query([(name, value)], offered=("after_sequence", "page_token"))
    assert refused.value.field is None
    if value.startswith("tg_"):
        assert value not in refused.value.message


def test_a_parameter_that_is_not_offered_is_named() -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_query([("page_size", "1"), ("colour", "blue")], offered=("page_size",))
    assert (refused.value.reason, refused.value.field) == (Reason.UNSUPPORTED_FIELD, "colour")


def test_a_parameter_that_is_given_twice_is_named() -> None:
    """One of two values would be ignored."""
    with pytest.raises(InvalidRequest, match="twice") as refused:
        check_query([("a", "1"), ("a", "1")], offered=("a",))
    assert refused.value.field == "a"


def test_what_is_offered_is_taken_although_its_name_sounds_like_a_key() -> None:
    query = [("page_token", "MXE1"), ("page_size", "")]
    assert check_query(query, offered=("page_token", "page_size")) == dict(query)
    assert check_query([]) == {}


def test_a_header_has_one_value() -> None:
    assert only_value("Authorization", []) is None
    assert only_value("Authorization", ["a"]) == "a"
    with pytest.raises(InvalidRequest, match="more than one Authorization header") as refused:
        only_value("Authorization", ["a", "a"])
    assert refused.value.field == "Authorization"
