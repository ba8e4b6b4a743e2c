"""The cache's settings. Who lost this would start a cache that cannot do what it was told to."""

from pathlib import Path
from typing import Any

import pytest

from tidegate.cache.settings import CacheSettings, EmbedderChoice
from tidegate.chassis.settings import SettingsError, load_settings

KEY = {"TIDEGATE_CACHE_KEY_FILE": "/k"}


def loaded(monkeypatch: pytest.MonkeyPatch, **environ: Any) -> CacheSettings:
    for name, value in (
        KEY | {f"TIDEGATE_{k.upper()}": str(v) for k, v in environ.items()}
    ).items():
        monkeypatch.setenv(name, value)
    return load_settings(CacheSettings)


def test_the_key_is_all_that_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = loaded(monkeypatch)
    assert settings.cache_threshold == 0.92
    assert settings.cache_ttl_seconds == 86_400
    assert settings.embedder == EmbedderChoice("minilm")
    assert str(settings.cache_listen) == "127.0.0.1:50052"
    assert str(settings.health_listen) == "127.0.0.1:9103"
    monkeypatch.delenv("TIDEGATE_CACHE_KEY_FILE")
    with pytest.raises(SettingsError, match="TIDEGATE_CACHE_KEY_FILE"):
        load_settings(CacheSettings)


@pytest.mark.parametrize(
    ("given", "choice"),
    [
        ("none", EmbedderChoice("none")),
        ("path:/models/e5", EmbedderChoice("path", "/models/e5")),
        ("path:C:\\models", EmbedderChoice("path", "C:\\models")),
    ],
)
def test_an_embedder_is_chosen_by_one_word(
    monkeypatch: pytest.MonkeyPatch, given: str, choice: EmbedderChoice
) -> None:
    assert loaded(monkeypatch, cache_embedder=given).embedder == choice


def test_a_model_of_the_routes_needs_routes_and_its_dimension(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    named = {"cache_embedder": "route:small", "cache_embedder_dimension": 8, "routes_file": "/r"}
    settings = loaded(monkeypatch, **named)
    assert settings.embedder == EmbedderChoice("route", "small")
    assert settings.routes_file == Path("/r")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"cache_embedder": "minilm2"}, "TIDEGATE_CACHE_EMBEDDER"),
        ({"cache_embedder": "path:"}, "TIDEGATE_CACHE_EMBEDDER"),
        ({"cache_embedder": "route:m", "routes_file": "/r"}, "TIDEGATE_CACHE_EMBEDDER_DIMENSION"),
        (
            {"cache_embedder": "route:m", "cache_embedder_dimension": 8},
            "TIDEGATE_ROUTES_FILE",
        ),
        ({"verifier_model": "m"}, "TIDEGATE_ROUTES_FILE"),
        (
            {"verifier_model": "m", "routes_file": "/r", "verifier_band_low": 0.95},
            "TIDEGATE_VERIFIER_BAND_LOW",
        ),
        ({"cache_embedder": "none", "shadow_share": 0.1}, "TIDEGATE_SHADOW_SHARE"),
        ({"cache_threshold": 1.1}, "TIDEGATE_CACHE_THRESHOLD"),
        ({"cache_store": "redis"}, "TIDEGATE_CACHE_STORE"),
    ],
)
def test_what_makes_no_sense_is_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], named: str
) -> None:
    with pytest.raises(SettingsError, match=named) as caught:
        loaded(monkeypatch, **given)
    assert len(str(caught.value).splitlines()) == 1
