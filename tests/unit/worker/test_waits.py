"""Who may wait, and which queues rest: a mistake stops a queue that could run, or floods one."""

from collections.abc import Iterable
from typing import cast

from prometheus_client import CollectorRegistry, Gauge

from tidegate.providers.breakers import Breakers
from tidegate.providers.routes import Route, Routes, Target
from tidegate.worker.waits import BatchRests, BatchWaits

URL = "http://127.0.0.1:1/v1"
NOW = 1000.0


def route(model: str, queue: str, *providers: str, fallbacks: tuple[str, ...] = ()) -> Route:
    targets = tuple(Target(provider, URL, "m") for provider in providers)
    return Route(model, "chat", queue, targets, fallbacks)


class Circuits:
    """Breakers of which some providers' are open."""

    def __init__(self, *providers: str) -> None:
        self.open = set(providers)

    def open_until(self, targets: Iterable[Target]) -> float | None:
        given = {target.provider for target in targets}
        return NOW + 5 if given and given <= self.open else None

    def all_open(self, targets: Iterable[Target]) -> bool:
        return self.open_until(targets) is not None


def rests(circuits: Circuits, *routes: Route) -> BatchRests:
    made = Routes({each.model: each for each in routes})
    waits = BatchWaits(16, Gauge("waiting", "x", registry=CollectorRegistry()))
    return BatchRests(waits, cast(Breakers, circuits), lambda: made, lambda: NOW)


def test_a_queue_rests_only_while_none_of_its_models_could_run() -> None:
    models = route("a", "q", "dead"), route("b", "q", "well"), route("c", "alone", "dead")
    resting = rests(Circuits("dead"), *models)
    assert not resting("q")
    assert resting("alone")
    assert not rests(Circuits(), *models)("alone")


def test_a_queue_is_blocked_only_while_none_of_its_models_has_anybody_to_ask() -> None:
    models = route("a", "q", "dead"), route("b", "q", "well"), route("c", "alone", "dead")
    asked = rests(Circuits("dead"), *models)
    assert [asked.blocked(queue) for queue in ("q", "alone", "retired")] == [False, True, False]


def test_a_fallback_keeps_a_queue_going() -> None:
    models = route("a", "q", "dead", fallbacks=("b",)), route("b", "other", "well")
    assert not rests(Circuits("dead"), *models)("q")


def test_a_queue_that_no_route_names_does_not_rest() -> None:
    """Its last jobs must be ended."""
    assert not rests(Circuits("dead"), route("a", "q", "dead"))("retired")


def test_new_routes_are_looked_at() -> None:
    before = Routes({"a": route("a", "q", "dead")})
    after = Routes({"a": route("a", "q", "dead", "well")})
    current = [before]
    waits = BatchWaits(16, Gauge("waiting", "x", registry=CollectorRegistry()))
    circuits = cast(Breakers, Circuits("dead"))
    resting = BatchRests(waits, circuits, lambda: current[0], lambda: NOW)
    assert resting("q")
    current[0] = after
    assert not resting("q")


def test_each_queue_has_its_own_places_to_wait() -> None:
    waits = BatchWaits(16, Gauge("waiting", "x", registry=CollectorRegistry()))
    assert [waits.enter("q") for _ in range(3)] == [True, True, False]
    assert waits.enter("other")
    waits.leave("q")
    assert (waits.count("q"), waits.count("other")) == (1, 1)
    assert waits.enter("q")
