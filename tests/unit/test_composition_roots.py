"""Every service is put together in the same way, so that who knows one can start them all."""

import inspect
from importlib import import_module

import pytest

SERVICES = {
    **{name: f"tidegate.{name}" for name in ("gateway", "worker", "cache", "streaming")},
    "simulator": "tidegate.simulator",
    "operator": "tidegate_operator",
}


def needed(function: object) -> list[str]:
    """The names of the arguments that a caller cannot leave out."""
    assert callable(function)
    parameters = inspect.signature(function).parameters.values()
    return [each.name for each in parameters if each.default is inspect.Parameter.empty]


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_made_run_and_tested_like_any_other(service: str) -> None:
    app = import_module(f"{SERVICES[service]}.app")
    assert needed(app.run) == []
    assert inspect.iscoroutinefunction(app.main)
    assert needed(app.main) == ["settings"]
    assert needed(getattr(app, f"make_{service}")) == ["settings"]
