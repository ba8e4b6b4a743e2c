"""Whether a pool may be acted on: two that scale one Deployment would never come to rest."""

from typing import Any

import pytest

from tidegate_operator.conditions import Fault, Reason
from tidegate_operator.judging import fault_of, name_taken
from tidegate_operator.pool import parse_pool
from tidegate_operator.registry import Registry


def body(name: str, *, queue: str = "chat", created: str = "2026-01-01T00:00:00Z") -> Any:
    return {
        "metadata": {
            "name": name,
            "namespace": "ns",
            "uid": f"uid-{name}",
            "resourceVersion": "1",
            "generation": 1,
            "creationTimestamp": created,
        },
        "spec": {"queue": queue},
    }


def deployment(name: str, owner: str | None, operator: str = "ns/operator") -> Any:
    owners = [] if owner is None else [{"uid": owner, "controller": True}]
    return {
        "metadata": {
            "name": name,
            "namespace": "ns",
            "uid": "uid-of-deployment",
            "resourceVersion": "1",
            "ownerReferences": owners,
            "annotations": {"tidegate.dev/operator": operator},
        },
        "spec": {"replicas": 1},
    }


def autoscaler(kind: str, name: str) -> Any:
    return {
        "metadata": {"name": "hpa", "namespace": "ns"},
        "spec": {"scaleTargetRef": {"kind": kind, "name": name}},
    }


def judged(registry: Registry, name: str = "a", **more: str) -> Fault | None:
    return fault_of(parse_pool(body(name, **more)), registry, "ns/operator")


@pytest.fixture
def registry() -> Registry:
    registry = Registry()
    registry.saw_pool(body("a"))
    return registry


def test_a_pool_alone_is_well(registry: Registry) -> None:
    assert judged(registry) is None


def test_a_pool_of_which_another_operator_keeps_the_deployment_is_left_to_it(
    registry: Registry,
) -> None:
    """Else both would write it without end, each with a template of its own."""
    registry.saw_deployment(deployment("a", "uid-a", "elsewhere/operator"))
    fault = judged(registry)
    assert fault is not None
    assert fault.reason is Reason.KEPT_BY_ANOTHER
    assert "elsewhere/operator" in fault.message


def test_the_younger_of_two_on_a_queue_is_not_acted_on(registry: Registry) -> None:
    young = "2026-01-01T00:00:01Z"
    registry.saw_pool(body("b", created=young))
    fault = judged(registry, "b", created=young)
    assert fault is not None
    assert (fault.reason, "ns/a" in fault.message) == (Reason.QUEUE_TAKEN, True)
    assert judged(registry) is None


@pytest.mark.parametrize(("owner", "well"), [(None, True), ("uid-a", True), ("uid-x", False)])
def test_a_deployment_is_its_own_or_nobodys(
    registry: Registry, owner: str | None, well: bool
) -> None:
    registry.saw_deployment(deployment("a", owner))
    assert judged(registry) == (None if well else name_taken("a", "Deployment"))


@pytest.mark.parametrize(
    ("kind", "name", "well"),
    [("Deployment", "a", False), ("Deployment", "b", True), ("WorkerPool", "a", True)],
)
def test_only_an_autoscaler_of_its_deployment_stands_in_the_way(
    registry: Registry, kind: str, name: str, well: bool
) -> None:
    registry.saw_autoscaler(autoscaler(kind, name))
    fault = judged(registry)
    assert (fault is None) is well
    if fault is not None:
        assert (fault.reason, "hpa" in fault.message) == (Reason.FOREIGN_AUTOSCALER, True)
    registry.saw_autoscaler(autoscaler(kind, name), gone=True)
    assert judged(registry) is None


def test_who_has_taken_the_name_is_told_by_its_kind() -> None:
    assert "a PodDisruptionBudget chat already" in name_taken("chat", "PodDisruptionBudget").message
