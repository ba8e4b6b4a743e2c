"""What `tidegate up` would start wrongly: ports, models, permissions."""

import re
from pathlib import Path

import pytest
import yaml

from tidegate.cli.up.nats_config import USERS, nats_config
from tidegate.cli.up.plan import (
    OPENAI_URL,
    UpError,
    UpOptions,
    choose_provider,
    plan_processes,
    ports_needed,
    routes_text,
)

_DATA = Path("data")


def test_without_a_provider_the_simulator_answers() -> None:
    provider = choose_provider(UpOptions(_DATA), openai_key=False, openai_base_url=None)
    assert provider.simulated
    assert provider.key_variable is None


def test_a_key_in_the_shell_leads_to_openai_without_writing_the_key_down() -> None:
    provider = choose_provider(UpOptions(_DATA), openai_key=True, openai_base_url=None)
    assert (provider.base_url, provider.simulated) == (OPENAI_URL, False)
    (route,) = yaml.safe_load(routes_text(provider))["models"].values()
    assert route["api_key_env"] == "OPENAI_API_KEY"


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
    assert order == ["gateway", "worker", "streaming", "simulator", "nats"]


def test_nobody_may_forge_what_readers_hear() -> None:
    for publish, _ in USERS.values():
        assert not any(subject.startswith((">", "live", "*")) for subject in publish)


def test_an_inbox_is_heard_by_its_own_service_only() -> None:
    for name, (_, subscribe) in USERS.items():
        inboxes = [subject for subject in subscribe if subject.startswith("_INBOX")]
        assert inboxes == [f"_INBOX_{name}.>"]


def test_only_the_gateway_puts_jobs_and_cancels_in() -> None:
    config = nats_config("127.0.0.1:1", _DATA, dict.fromkeys(USERS, "secret"))
    assert config.count('"jobs.>"') == config.count('"control.>"') == 1
