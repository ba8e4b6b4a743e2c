"""In which order a model's targets are called: by weight, then by order, then the fallbacks'."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.providers.routes import Route, Routes, Target


def target(name: str, weight: float | None = None) -> Target:
    return Target("p", "http://p/v1", name, weight=weight)


def route(model: str, *targets: Target, fallbacks: tuple[str, ...] = ()) -> Route:
    return Route(model, "chat", "default", targets, fallbacks)


def names(plan: tuple[Target, ...]) -> list[str]:
    return [each.model for each in plan]


def routes(*given: Route) -> Routes:
    return Routes({each.model: each for each in given})


def test_without_weights_the_order_is_the_files() -> None:
    made = routes(route("m", target("a"), target("b"), target("c")))
    assert {tuple(names(made.plan("m"))) for _ in range(20)} == {("a", "b", "c")}


def test_fallbacks_follow_each_once_and_deeper_ones_behind_their_own() -> None:
    made = routes(
        route("m", target("a"), fallbacks=("n", "o")),
        route("n", target("b"), target("a"), fallbacks=("p",)),
        route("o", target("c"), fallbacks=("p",)),
        route("p", target("d"), target("b")),
    )
    assert names(made.plan("m")) == ["a", "b", "d", "c"]
    assert names(made.plan("o")) == ["c", "d", "b"]
    with pytest.raises(KeyError):
        made.plan("q")


def test_the_same_model_at_two_providers_is_two_targets() -> None:
    one, two = Target("p", "http://p/v1", "a"), Target("q", "http://q/v1", "a")
    made = routes(route("m", one, two))
    assert made.plan("m") == (one, two) == made.targets


def test_the_first_calls_are_shared_by_weight() -> None:
    """20,000 draws with a fixed seed: the shares are within two per cent of the weights'."""
    made = routes(route("m", target("last"), target("a", 3), target("b", 1)))
    rng = random.Random(7)
    first = Counter(names(made.plan("m", rng))[0] for _ in range(20_000))
    assert first["a"] / 20_000 == pytest.approx(0.75, abs=0.02)
    assert first["b"] / 20_000 == pytest.approx(0.25, abs=0.02)


@given(
    st.lists(st.none() | st.floats(0.001, 1000), min_size=1, max_size=8),
    st.randoms(use_true_random=False),
)
def test_a_plan_has_every_target_once_and_weighted_ones_first(
    weights: list[float | None], rng: random.Random
) -> None:
    made = routes(route("m", *(target(str(i), weight) for i, weight in enumerate(weights))))
    plan = made.plan("m", rng)
    assert sorted(names(plan)) == sorted(str(i) for i in range(len(weights)))
    fixed = [each.model for each in plan if each.weight is None]
    assert fixed == [str(i) for i, weight in enumerate(weights) if weight is None]
    assert names(plan)[len(weights) - len(fixed) :] == fixed
