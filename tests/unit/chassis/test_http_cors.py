"""Which pages may call: a setting that says too much opens every user's jobs to any page."""

import pytest
from pydantic import ValidationError

from tidegate.chassis.http_cors import CorsSettings, Origins


def origins(text: str, *, development: bool = False) -> Origins:
    return Origins.of(CorsSettings(cors_origins=text), development=development)


def test_no_page_may_call_unless_it_was_named() -> None:
    nobody = origins("")
    assert nobody.nobody
    assert not nobody.allow("http://localhost:3000")
    named = origins(" https://a.example, https://B.example/ ,http://c.example:8443")
    assert not named.nobody
    for origin in ("https://a.example", "https://b.example", "http://c.example:8443"):
        assert named.allow(origin)
    for origin in (
        "",
        "null",
        "https://c.example",
        "http://a.example",
        "https://a.example:444",
        "https://a.example.evil.example",
        "https://evil.example/https://a.example",
        "https://a.example, https://evil.example",
    ):
        assert not named.allow(origin)


def test_any_page_may_call_only_where_that_is_said() -> None:
    anybody = origins("*")
    assert anybody.anybody
    assert anybody.allow("https://a.example")
    assert anybody.allow("null")


@pytest.mark.parametrize(
    "text",
    [
        "a.example",
        "https://a.example/path",
        "https://*.example",
        "https://",
        "ftp://a.example",
        "null",
        "**",
        "https://a.example https://b.example",
        "https://user@a.example",
        "https://a.example?x",
    ],
)
def test_what_is_no_origin_is_refused_at_start_and_not_repeated(text: str) -> None:
    """Else a name that can never match would look like a platform that does not work."""
    with pytest.raises(ValidationError, match="expected origins") as refused:
        CorsSettings(cors_origins=f"https://ok.example,{text}")
    assert "ok.example" not in str(refused.value)


@pytest.mark.parametrize(
    ("origin", "fits"),
    [
        ("http://localhost", True),
        ("http://localhost:3000", True),
        ("https://127.0.0.1:8443", True),
        ("http://[::1]:5173", True),
        ("http://localhost.evil.example", False),
        ("http://127.0.0.1.evil.example:80", False),
        ("http://evil.example#http://localhost", False),
        ("http://localhost:3000\n", False),
        ("null", False),
        ("", False),
    ],
)
def test_in_development_pages_on_loopback_may(origin: str, fits: bool) -> None:
    assert origins("", development=True).allow(origin) is fits
    assert not origins("").allow(origin)
