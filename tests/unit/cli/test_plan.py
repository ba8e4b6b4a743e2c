"""What `tidegate up` would start wrongly: ports, models, permissions."""

import re
from pathlib import Path

import pytest

from tidegate.chassis.fleet_key import FleetKey
from tidegate.chassis.tokens import parse_secrets
from tidegate.cli.nats_config import USERS, NatsServer, nats_config
from tidegate.cli.up.files import write_files
from tidegate.cli.up.plan import (
    OPENAI_URL,
    UpError,
    UpOptions,
    choose_provider,
    plan_processes,
    ports_needed,
    routes_text,
)
from tidegate.providers.routes_parse import parse_routes

_DATA = Path("data")


def test_without_a_provider_the_simulator_answers() -> None:
    provider = choose_provider(UpOptions(_DATA), openai_key=False, openai_base_url=None)
    assert provider.simulated
    assert provider.key_variable is None


def test_a_key_in_the_shell_leads_to_openai_without_writing_the_key_down() -> None:
    provider = choose_provider(UpOptions(_DATA), openai_key=True, openai_base_url=None)
    assert (provider.base_url, provider.simulated) == (OPENAI_URL, False)
    (target,) = parse_routes(routes_text(provider), _DATA).targets
    assert target.api_key_env == "OPENAI_API_KEY"
    assert target.key == ("openai", "gpt-4o-mini")
    assert "sk-" not in routes_text(provider)


@pytest.mark.parametrize(
    ("base_url", "name"),
    [
        ("http://127.0.0.1:8000/v1", "127.0.0.1"),
        ("http://[::1]:8000/v1", "1"),
        ("http://10/v1", "10"),
        ("https://models.example.com/v1", "models.example.com"),
    ],
)
@pytest.mark.parametrize("model", ["m", "12", "true", "org/model:free", 'a"b: #', "modèle 🌊"])
def test_any_model_of_any_provider_has_a_route(base_url: str, name: str, model: str) -> None:
    options = UpOptions(_DATA, base_url=base_url, models=(model, "other"))
    provider = choose_provider(options, openai_key=False, openai_base_url=None)
    routes = parse_routes(routes_text(provider), _DATA)
    assert list(routes) == [model, "other"]
    assert routes.queues == ("default",)
    assert [target.key for target in routes.targets] == [(name, model), (name, "other")]
    assert routes.targets[0].base_url == provider.base_url


def test_the_simulator_can_be_insisted_on() -> None:
    options = UpOptions(_DATA, simulator=True)
    assert choose_provider(options, openai_key=True, openai_base_url=None).simulated


def test_a_base_url_without_a_model_is_refused() -> None:
    options = UpOptions(_DATA, base_url="http://127.0.0.1:1/v1")
    with pytest.raises(UpError, match="--model"):
        choose_provider(options, openai_key=False, openai_base_url=None)


def test_an_offset_moves_every_address() -> None:
    options = UpOptions(_DATA, port_offset=1000, workers=3)
    ports = ports_needed(options, simulator=True)
    assert len(set(ports.values())) == len(ports)
    text = " ".join(
        value
        for plan in plan_processes(options, Path("nats-server"), simulator=True)
        for value in (*plan.environment.values(), plan.ready_url or "")
    )
    used = {int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", text)}
    assert used == set(ports.values())


def test_workers_stop_before_the_readers_and_nats_last() -> None:
    plans = plan_processes(UpOptions(_DATA), Path("nats-server"), simulator=True)
    order = [plan.name for plan in sorted(plans, key=lambda plan: -plan.stage)]
    assert order == ["gateway", "worker", "streaming", "cache", "simulator", "nats"]


def test_nobody_may_forge_what_readers_hear() -> None:
    for publish, _ in USERS.values():
        assert not any(subject.startswith((">", "live", "*")) for subject in publish)


def test_an_inbox_is_heard_by_its_own_service_only() -> None:
    for name, (_, subscribe) in USERS.items():
        inboxes = [subject for subject in subscribe if subject.startswith("_INBOX")]
        assert inboxes == [f"_INBOX_{name}.>"]


def test_only_the_gateway_puts_jobs_and_cancels_in() -> None:
    config = nats_config(NatsServer("127.0.0.1:1", _DATA), dict.fromkeys(USERS, "secret"))
    assert config.count('"jobs.>"') == config.count('"control.>"') == 1


def test_browsers_tokens_are_signed_by_a_secret_that_the_two_doors_alone_share(
    tmp_path: Path,
) -> None:
    """Whoever could read it would be every tenant."""
    options = UpOptions(tmp_path)
    provider = choose_provider(options, openai_key=False, openai_base_url=None)
    write_files(options, provider)
    plans = plan_processes(options, Path("nats-server"), simulator=True)
    given = {plan.name: plan.environment.get("TIDEGATE_TOKEN_SECRET_FILE") for plan in plans}
    file = Path(given["gateway"] or "")
    assert given == {
        "nats": None,
        "simulator": None,
        "gateway": str(file),
        "streaming": str(file),
        "worker": None,
        "cache": None,
    }
    assert file.stat().st_mode & 0o777 == 0o600
    (first,) = parse_secrets(file, file.read_bytes())
    write_files(options, provider)
    assert parse_secrets(file, file.read_bytes()) != (first,)


def test_the_cache_is_asked_by_a_secret_that_nobody_else_has(tmp_path: Path) -> None:
    """Whoever had it could read every tenant's answers."""
    options = UpOptions(tmp_path)
    write_files(options, choose_provider(options, openai_key=False, openai_base_url=None))
    plans = plan_processes(options, Path("nats-server"), simulator=True)
    given = {plan.name: plan.environment.get("TIDEGATE_CACHE_KEY_FILE") for plan in plans}
    file = Path(given["cache"] or "")
    assert {name for name, path in given.items() if path == str(file)} == {
        *("cache", "gateway", "worker"),
    }
    assert set(given.values()) == {str(file), None}
    assert file.stat().st_mode & 0o777 == 0o600
    before = FleetKey.of_file(file)
    write_files(options, choose_provider(options, openai_key=False, openai_base_url=None))
    assert not before.accepts(FleetKey.of_file(file).authorization)


def test_without_the_cache_nobody_asks_one_though_the_shell_names_it() -> None:
    options = UpOptions(_DATA, no_cache=True, workers=2)
    plans = plan_processes(options, Path("nats-server"), simulator=True)
    assert "cache" not in {plan.name for plan in plans}
    assert not any("cache" in name for name in ports_needed(options, simulator=True))
    targets = [plan.environment.get("TIDEGATE_CACHE_TARGET") for plan in plans]
    assert [target for target in targets if target is not None] == ["", "", ""]


def test_the_simulator_is_offered_for_embeddings_too() -> None:
    provider = choose_provider(UpOptions(_DATA), openai_key=False, openai_base_url=None)
    routes = parse_routes(routes_text(provider), _DATA)
    assert {name: route.kind for name, route in routes.items()} == {
        "sim-small": "chat",
        "sim-embedding": "embeddings",
    }
