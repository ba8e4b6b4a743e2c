"""The worker's settings: a mistake must stop the start, with the variable's name."""

from pathlib import Path
from typing import Any

import pytest

from tidegate.chassis.settings import SettingsError
from tidegate.providers.routes import Routes
from tidegate.providers.routes_parse import parse_routes
from tidegate.worker.settings import WorkerSettings


@pytest.fixture
def routes() -> Routes:
    text = "providers: {p: {base_url: 'http://127.0.0.1:1/v1'}}\nmodels:\n" + "".join(
        f"  {name}: {{queue: {name}, targets: [{{provider: p}}]}}\n" for name in ("a", "b")
    )
    return parse_routes(text, Path("routes.yaml"))


def settings(**given: Any) -> WorkerSettings:
    return WorkerSettings(routes_file=Path("routes.yaml"), **given)


def test_by_default_every_queue_is_served(routes: Routes) -> None:
    assert settings().queue_names(routes) == ("a", "b")


def test_queues_can_be_chosen(routes: Routes) -> None:
    """Also one that no route names any more, whose jobs must still be ended."""
    assert settings(queues=" b, old ,b").queue_names(routes) == ("b", "old")


def test_a_cache_needs_the_fleets_key() -> None:
    """Without it every lookup would be refused, and the cache be on for nobody."""
    with pytest.raises(SettingsError, match="TIDEGATE_CACHE_KEY_FILE"):
        settings(cache_target="127.0.0.1:1").fleet_key()


@pytest.mark.parametrize(
    ("given", "variable"),
    [
        ({"queues": "a.b"}, "TIDEGATE_QUEUES"),
        ({"queues": " , "}, "TIDEGATE_QUEUES"),
        ({"worker_concurrency": 3}, "TIDEGATE_WORKER_CONCURRENCY"),
    ],
)
def test_a_mistake_is_named(routes: Routes, given: dict[str, Any], variable: str) -> None:
    with pytest.raises(SettingsError, match=variable):
        settings(**given).queue_names(routes)
