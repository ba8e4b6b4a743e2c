"""Whatever a routes file holds: routes or a RoutesError, and never a secret in its text."""

import json
import string
from pathlib import Path
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from tidegate.providers.routes import Routes, RoutesError
from tidegate.providers.routes_parse import parse_routes

HERE = Path("/etc/tidegate/routes.yaml")

FULL: dict[str, Any] = {
    "providers": {
        "openai": {"base_url": "https://api.openai.com/v1", "api_key_env": "KEY"},
        "local": {"base_url": "http://127.0.0.1:1/v1", "timeouts": {"connect": 1}},
    },
    "models": {
        "small": {
            "queue": "default",
            "targets": [
                {"provider": "openai", "weight": 1.5, "price": {"input": 0, "output": 1}},
                {"provider": "local"},
            ],
            "fallbacks": ["large"],
            "extra_body": ["top_k"],
        },
        "large": {"queue": "slow", "targets": [{"provider": "local"}]},
        "vectors": {"kind": "embeddings", "targets": [{"provider": "openai"}]},
    },
}  # fmt: skip

SECRET = "sk-hunter2"

# What YAML is made of, so that more than one text in a million is nearly one.
yaml_pieces = st.sampled_from(
    [
        *("providers:", "models:", "a:", "  ", "\n", "- ", "{", "}", "[", "]", ",", ": ", "? "),
        *("&x ", "*x", "!!int ", "!!binary ", "!t ", "|", ">", "'", '"', "#", "---\n"),
        "%YAML 1.1\n",
        *("...\n", "\t", "<<: ", "\\", "\0", "\x85", "\ud800", "0x", "1e999", "9" * 5000),
        *("2026-99-99", "1:61", "_", "~", "yes", "base_url", "http://[", "targets", "🙂"),
    ]
)  # fmt: skip
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=8) | st.integers() | st.none(), inner, max_size=3)
    ),
    max_leaves=10,
)


def parse(text: str | bytes) -> str:
    """The text of the refusal; empty where there is none."""
    try:
        routes = parse_routes(text, HERE)
    except RoutesError as error:
        return str(error)
    assert isinstance(routes, Routes)
    for model in routes:
        assert routes.plan(model)
    return ""


@given(st.text() | st.lists(yaml_pieces, max_size=40).map("".join))
@example("? - a\n: b")
@example("!!timestamp x")
@example("{? {a: b} : c}")
def test_any_text(text: str) -> None:
    assert parse(text)


@given(st.binary())
def test_any_bytes(content: bytes) -> None:
    assert parse(content)


def places(value: object, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to everything inside a value."""
    inner: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    if isinstance(value, list):
        inner = list(enumerate(value))
    return [way, *(place for key, each in inner for place in places(each, (*way, key)))]


def changed(way: tuple[Any, ...], put: Any) -> str:
    """The full file as JSON, which is YAML, with something else in one place."""
    if not way:
        return json.dumps(put)
    document = json.loads(json.dumps(FULL))
    inner = document
    for key in way[:-1]:
        inner = inner[key]
    inner[way[-1]] = put
    return json.dumps(document)


def test_the_unchanged_file_is_good() -> None:
    assert not parse(json.dumps(FULL))


@given(st.sampled_from(places(FULL)), values)
def test_anything_in_any_place(way: tuple[Any, ...], put: Any) -> None:
    parse(changed(way, put))


secret_values = st.sampled_from(
    [
        SECRET,
        [SECRET],
        {SECRET: SECRET},
        {"key": SECRET},
        f"https://{SECRET}@api.example.com/v1",
        f"https://me:{SECRET}@api.example.com/v1",
        f"https://api.example.com/v1?key={SECRET}",
        f"https://{SECRET}:x/v1",
        f"Bearer {SECRET}",
    ]
)


# Names are shown, or nobody would find them: models and providers are none of the places here.
@given(st.sampled_from([way for way in places(FULL) if len(way) != 1]), secret_values)
def test_a_value_put_into_the_wrong_place_is_never_shown(way: tuple[Any, ...], put: Any) -> None:
    assert SECRET not in parse(changed(way, put))


@given(st.sampled_from([way for way in places(FULL) if len(way) > 2]), st.text(string.printable))
def test_a_broken_line_shows_nothing_of_it(way: tuple[Any, ...], rest: str) -> None:
    text = changed(way, "MARK").replace('"MARK"', f"*{SECRET} {rest}")
    assert SECRET not in parse(text)
