"""Settings that contradict each other would lose jobs quietly; they are refused at the start."""

from pathlib import Path
from typing import Any

import pytest

from tidegate.chassis.settings import SettingsError, load_settings
from tidegate.gateway.settings import GatewaySettings


def load(monkeypatch: pytest.MonkeyPatch, **values: Any) -> GatewaySettings:
    for name, value in {"ROUTES_FILE": "routes.yaml", **values}.items():
        monkeypatch.setenv(f"TIDEGATE_{name}", str(value))
    return load_settings(GatewaySettings)


def test_routes_are_all_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch)
    assert settings.routes_file == Path("routes.yaml")
    assert settings.http_listen == "127.0.0.1:8080"
    assert settings.grpc_listen == "127.0.0.1:50051"
    assert settings.health_listen == "127.0.0.1:9101"


def test_without_routes_it_says_which_variable_to_set() -> None:
    with pytest.raises(SettingsError, match="TIDEGATE_ROUTES_FILE"):
        load_settings(GatewaySettings)


@pytest.mark.parametrize(
    "values",
    [
        {"RESULT_TTL_SECONDS": 21_600},
        {"MAX_TTL_SECONDS": 86_400},
        {"DEFAULT_TTL_SECONDS": 21_601},
    ],
)
def test_a_job_cannot_outlive_its_result(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, Any]
) -> None:
    with pytest.raises(SettingsError, match="TTL_SECONDS"):
        load(monkeypatch, **values)


def test_every_setting_says_what_it_is() -> None:
    assert all(field.description for field in GatewaySettings.model_fields.values())


def test_a_cache_needs_the_fleets_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Else a delete would leave the answer of its job behind, served to whoever asks again."""
    target = {"CACHE_TARGET": "127.0.0.1:50052"}
    with pytest.raises(SettingsError, match="TIDEGATE_CACHE_KEY_FILE"):
        load(monkeypatch, **target).fleet_key()
    short = tmp_path / "short"
    short.write_text("secret", encoding="utf-8")
    with pytest.raises(SettingsError, match="TIDEGATE_CACHE_KEY_FILE"):
        load(monkeypatch, **target, CACHE_KEY_FILE=short).fleet_key()
