"""Which pages and clients may open a socket, and the words for those that may not."""

import json

import pytest
from websockets.datastructures import Headers
from websockets.http11 import Request

from tidegate.chassis.http_cors import Origins
from tidegate.contracts.errors import (
    InvalidRequest,
    NotFound,
    PermissionDenied,
    Reason,
    Unauthenticated,
)
from tidegate.streaming.handshake import check_handshake, refusal

ORIGINS = Origins(["https://app.example"], development=True)
KEY = ("Authorization", "Bearer tg_x")
OFFER = "Sec-WebSocket-Protocol"
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJ0ZW5hbnQiOiJhIn0.c2ln-_nature"


def handshake(*headers: tuple[str, str], path: str = "/v1/ws") -> Request:
    given = Headers()
    for name, value in headers:
        given[name] = value
    return Request(path, given)


@pytest.mark.parametrize("origin", [None, "https://app.example", "http://localhost:3000"])
def test_who_is_let_in_comes_with_its_key(origin: str | None) -> None:
    origins = [] if origin is None else [("Origin", origin)]
    assert check_handshake(handshake(*origins, KEY), ORIGINS) == KEY[1]
    assert check_handshake(handshake(*origins), ORIGINS) == ""


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "https://app.example.evil", "http://localhost.evil", "null"]
)
def test_a_page_of_another_origin_is_forbidden_and_told_so(origin: str) -> None:
    """Else any page that a user opens could read that user's jobs."""
    with pytest.raises(PermissionDenied, match="Origin") as refused:
        check_handshake(handshake(("Origin", origin), KEY), ORIGINS)
    answer = refusal(refused.value)
    assert answer.status_code == 403
    error = json.loads(answer.body)["error"]
    assert (error["code"], error["type"]) == ("permission_denied", "permission_error")


@pytest.mark.parametrize(
    "offers",
    [
        ["tidegate.v1, tidegate.token." + TOKEN],
        ["tidegate.token." + TOKEN + ",tidegate.v1"],
        ["tidegate.v1", "tidegate.token." + TOKEN],
    ],
)
def test_a_page_brings_its_token_as_a_subprotocol(offers: list[str]) -> None:
    """It can set no header."""
    given = handshake(*((OFFER, offer) for offer in offers))
    assert check_handshake(given, ORIGINS) == f"Bearer {TOKEN}"


def test_another_subprotocol_is_no_token() -> None:
    offer = (OFFER, f"tidegate.v1, x.tidegate.token.{TOKEN}, tidegate.v2.token.{TOKEN}")
    assert check_handshake(handshake(offer), ORIGINS) == ""


@pytest.mark.parametrize("secret", ["tg_abcdefghijklmnop", "tidegate-dev", "", "a.b"])
def test_a_key_is_no_token_for_a_page(secret: str) -> None:
    """A key that works in a page ends up in one, for every visitor to take."""
    with pytest.raises(Unauthenticated, match="no key") as refused:
        check_handshake(handshake((OFFER, f"tidegate.v1, tidegate.token.{secret}")), ORIGINS)
    assert not secret or secret not in refused.value.message


def test_who_brings_two_credentials_is_asked_for_one() -> None:
    token = (OFFER, f"tidegate.v1, tidegate.token.{TOKEN}")
    with pytest.raises(InvalidRequest, match="one credential"):
        check_handshake(handshake(token, KEY), ORIGINS)
    with pytest.raises(InvalidRequest, match="one credential"):
        check_handshake(handshake(token, (OFFER, f"tidegate.token.{TOKEN}")), ORIGINS)


@pytest.mark.parametrize("path", ["/", "/v1/ws/", "/v1/jobs/x", "", "/v1/ws/?api_key=x"])
def test_a_wrong_path_is_no_lost_job(path: str) -> None:
    with pytest.raises(NotFound, match="/v1/ws") as refused:
        check_handshake(handshake(KEY, path=path), ORIGINS)
    assert refused.value.reason is Reason.ROUTE_NOT_FOUND
    answer = refusal(refused.value)
    assert answer.status_code == 404
    assert json.loads(answer.body)["error"]["code"] == "route_not_found"


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("api_key=x", "belong"),
        ("x=tg_a", "belong"),
        (f"x={TOKEN}", "belong"),
        ("a", "supported"),
        ("%ff=%00", "supported"),
    ],
)
def test_a_url_carries_nothing(query: str, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        check_handshake(handshake(KEY, path=f"/v1/ws?{query}"), ORIGINS)


@pytest.mark.parametrize("name", ["Authorization", "Origin"])
def test_a_header_that_is_there_twice_is_refused(name: str) -> None:
    twice = [(name, "https://app.example"), (name, "https://evil.example")]
    with pytest.raises(InvalidRequest, match=f"more than one {name} header"):
        check_handshake(handshake(*twice), ORIGINS)
