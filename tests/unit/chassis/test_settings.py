"""Without these an operator's typo or bad value would be found only by its effects."""

from pathlib import Path

import pytest
from pydantic import Field, SecretStr

from tidegate.chassis.settings import (
    DrainSettings,
    HealthSettings,
    ListenAddress,
    LogSettings,
    NatsSettings,
    SettingsError,
    listen_addresses,
    load_settings,
    unknown_settings,
)


class SomeService(LogSettings, NatsSettings, HealthSettings, DrainSettings):
    """Composed as services do it."""

    http_listen: ListenAddress = Field(ListenAddress("127.0.0.1:8080"), description="Where.")


def test_defaults_start_on_one_machine() -> None:
    settings = SomeService()
    assert settings.nats_servers == ["nats://127.0.0.1:4222"]
    assert settings.read_nats_password() is None
    assert settings.http_listen.port == 8080


def test_flat_names_reach_every_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_NATS_URL", "nats://a:1, nats://b:2")
    monkeypatch.setenv("TIDEGATE_LOG_LEVEL", "warning")
    monkeypatch.setenv("TIDEGATE_HTTP_LISTEN", "[::1]:0")
    monkeypatch.setenv("TIDEGATE_DRAIN_SECONDS", "")
    settings = load_settings(SomeService)
    assert settings.nats_servers == ["nats://a:1", "nats://b:2"]
    assert settings.log_level == "warning"
    assert (settings.http_listen.host, settings.http_listen.port) == ("::1", 0)
    assert settings.drain_seconds == DrainSettings().drain_seconds, "empty means the default"


def test_every_setting_is_documented() -> None:
    fields = SomeService.model_fields
    assert not [name for name, field in fields.items() if not field.description]


def test_bad_values_are_named_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_DRAIN_SECONDS", "hunter2")
    monkeypatch.setenv("TIDEGATE_HTTP_LISTEN", "hunter2")
    with pytest.raises(SettingsError) as caught:
        load_settings(SomeService)
    text = str(caught.value)
    assert "TIDEGATE_DRAIN_SECONDS: " in text
    assert "TIDEGATE_HTTP_LISTEN: " in text
    assert "hunter2" not in text


def test_a_password_is_in_no_text() -> None:
    settings = NatsSettings(nats_user="u", nats_password=SecretStr("hunter2"))
    assert "hunter2" not in repr(settings)
    assert settings.read_nats_password() == "hunter2"


def test_a_rotated_password_file_is_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "password"
    settings = NatsSettings(nats_user="u", nats_password_file=file)
    for password in ("old", "new"):
        file.write_text(f"{password}\n")
        assert settings.read_nats_password() == password


def test_a_misspelt_name_is_reported_with_the_right_one() -> None:
    environ = {
        "TIDEGATE_NATS_ULR": "secret",
        "TIDEGATE_NATS_URL": "x",
        "TIDEGATE_ZZZ": "",
        "PATH": "",
    }
    lines = unknown_settings([SomeService], environ)
    assert lines == [
        "TIDEGATE_NATS_ULR is not a setting of Tidegate; did you mean TIDEGATE_NATS_URL?",
        "TIDEGATE_ZZZ is not a setting of Tidegate",
    ]


def test_what_kubernetes_injects_is_no_typo() -> None:
    names = [
        "TIDEGATE_GATEWAY_SERVICE_HOST",
        "TIDEGATE_GATEWAY_SERVICE_PORT_GRPC",
        "TIDEGATE_GATEWAY_PORT",
        "TIDEGATE_GATEWAY_PORT_8080_TCP",
        "TIDEGATE_GATEWAY_PORT_8080_TCP_ADDR",
    ]
    assert unknown_settings([SomeService], dict.fromkeys(names, "tcp://10.0.0.1:8080")) == []


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080),
        (":9101", "0.0.0.0", 9101),
        ("[::1]:8080", "::1", 8080),
        ("example.org:0", "example.org", 0),
    ],
)
def test_an_address_is_host_and_port(text: str, host: str, port: int) -> None:
    address = ListenAddress(text)
    assert (address.host, address.port) == (host, port)
    assert ListenAddress(str(address)) == address


@pytest.mark.parametrize("text", ["", "8080", "host", "host:", "host:x", "::1:8080", "h:65536"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"host:port|brackets"):
        ListenAddress(text)


def test_no_address_to_listen_on_is_forgotten() -> None:
    """Whoever checks addresses would else let a public one pass."""
    settings = SomeService(health_listen=ListenAddress(":9100"))
    assert set(listen_addresses(settings)) == {"127.0.0.1:8080", "0.0.0.0:9100"}
