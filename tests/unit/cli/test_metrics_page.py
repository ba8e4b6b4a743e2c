"""What an operator of the platform would look for in vain, or find and misread."""

import secrets
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter

from tidegate.chassis.metrics import declare_process
from tidegate.chassis.settings import ListenAddress
from tidegate.cli import metrics_page as module
from tidegate.cli.known_settings import SERVICES
from tidegate.cli.metrics_page import PROCESSES, Catalogue, catalogue, metrics_page, name_of

_PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"
_ROUTES = """
providers: {nobody: {base_url: "http://127.0.0.1:1/v1"}}
models: {sim-1: {queue: default, targets: [{provider: nobody}]}}
"""


def test_the_page_ends_with_what_the_command_prints() -> None:
    before, _, table = _PAGE.read_text(encoding="utf-8").rpartition("\n\n")
    assert table == metrics_page(), f"replace the table after {before[-60:]!r}: tidegate metrics"


@pytest.mark.parametrize("process", PROCESSES)
def test_every_metric_says_what_it_means(process: str) -> None:
    for family, _ in catalogue(process).families():
        assert family.documentation.endswith("."), family.name


@pytest.mark.parametrize("process", PROCESSES)
def test_labels_hold_nothing_without_a_bound(process: str) -> None:
    """A metric by tenant or job grows until Prometheus, or the process, is full."""
    for family, labels in catalogue(process).families():
        assert not {"tenant", "job_id", "key", "key_id", "user"} & set(labels), family.name


def test_one_name_means_one_thing_in_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a sum over processes would add what has nothing to do with each other."""

    def other(registry: CollectorRegistry) -> None:
        Counter("tidegate_log_events_total", "Something else.", registry=registry)

    monkeypatch.setitem(PROCESSES, "simulator", (other,))
    with pytest.raises(ValueError, match="Something else"):
        metrics_page()


def settings_of(service: str, directory: Path) -> dict[str, Any]:
    """What a service needs to be made, with everything on that has metrics."""
    (directory / "routes.yaml").write_text(_ROUTES, encoding="utf-8")
    (directory / "key").write_text(secrets.token_urlsafe(32), encoding="utf-8")
    (directory / "namespace").write_text("default", encoding="utf-8")
    (directory / "template.yaml").write_text("spec: {containers: []}", encoding="utf-8")
    given: dict[str, Any] = {
        "development": True,
        "routes_file": directory / "routes.yaml",
        "cache_target": "127.0.0.1:1",
        "cache_key_file": directory / "key",
        "cache_embedder": "none",
        "cache_directory": directory / "cache",
        "operator_template_file": directory / "template.yaml",
    }
    given |= {
        name: ListenAddress("127.0.0.1:0")
        for name, field in SERVICES[service].model_fields.items()
        if field.annotation is ListenAddress
    }
    return {name: value for name, value in given.items() if name in SERVICES[service].model_fields}


@pytest.mark.parametrize("service", PROCESSES)
async def test_what_a_process_declares_is_on_the_page(
    service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = Catalogue()

    def make_registry(name: str) -> CollectorRegistry:
        declare_process(declared, name)
        return declared

    # A pod, in the eyes of the operator.
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("SERVICE_ACCOUNT_DIRECTORY", str(tmp_path))
    package = "tidegate_operator" if service == "operator" else f"tidegate.{service}"
    app = import_module(f"{package}.app")
    where = app if hasattr(app, "make_registry") else import_module("tidegate.chassis.process")
    monkeypatch.setattr(where, "make_registry", make_registry)
    make: Callable[[Any], Any] = getattr(app, f"make_{service}")
    make(SERVICES[service](**settings_of(service, tmp_path)))
    found = {name_of(family): labels for family, labels in declared.families()}
    listed = {name_of(family): labels for family, labels in module.catalogue(service).families()}
    assert found.items() <= listed.items()
    # The cache calls providers, and has their metrics, only where its settings say so.
    only_sometimes = {
        name for name in listed if name.startswith(("tidegate_provider_", "tidegate_breaker_"))
    } | {"tidegate_routes_stale"}
    assert listed.keys() - found.keys() <= (only_sometimes if service == "cache" else set())
