"""What the operator believes of the cluster: it must not act on what is gone, or another's."""

from typing import Any

import pytest

from tidegate_operator.pool import parse_pool
from tidegate_operator.registry import Key, Registry

A, B = Key("ns", "a"), Key("ns", "b")


def pool(
    name: str,
    version: int = 1,
    *,
    uid: str = "",
    queue: str = "chat",
    created: str = "2026-01-01T00:00:00Z",
    namespace: str = "ns",
    **metadata: Any,
) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": uid or f"uid-{name}",
            "resourceVersion": str(version),
            "creationTimestamp": created,
            "generation": 1,
            **metadata,
        },
        "spec": {"queue": queue},
    }


def deployment(name: str, version: int = 1, *, replicas: int = 1, **status: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "namespace": "ns",
            "uid": f"uid-of-{name}",
            "resourceVersion": str(version),
            "generation": version,
        },
        "spec": {"replicas": replicas, "template": {"spec": {}}},
        "status": status,
    }


def autoscaler(target: str, kind: str = "Deployment", name: str = "hpa") -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "ns"},
        "spec": {"scaleTargetRef": {"kind": kind, "name": target}},
    }


@pytest.fixture
def changed() -> list[Key]:
    return []


@pytest.fixture
def registry(changed: list[Key]) -> Registry:
    return Registry(changed.append)


def test_nothing_goes_back_in_time(registry: Registry) -> None:
    registry.saw_deployment(deployment("a", 9, replicas=4))
    registry.saw_deployment(deployment("a", 8, replicas=1))
    assert registry.deployments[A]["spec"]["replicas"] == 4


def test_a_version_is_a_number_and_no_text(registry: Registry) -> None:
    registry.saw_deployment(deployment("a", 9, replicas=1))
    registry.saw_deployment(deployment("a", 10, replicas=2))
    assert registry.deployments[A]["spec"]["replicas"] == 2


def test_the_end_of_an_older_version_does_not_end_a_newer(registry: Registry) -> None:
    registry.saw_pool(pool("a", 9))
    registry.saw_pool(pool("a", 8), gone=True)
    assert A in registry.pools
    registry.saw_pool(pool("a", 10), gone=True)
    assert A not in registry.pools


def test_another_of_the_same_name_outlives_the_late_word_of_the_end_of_the_first(
    registry: Registry,
) -> None:
    registry.saw_pool(pool("a", 1, uid="first"))
    registry.saw_pool(pool("a", 5, uid="second"))
    registry.saw_pool(pool("a", 4, uid="first"), gone=True)
    assert registry.pools[A]["metadata"]["uid"] == "second"
    registry.saw_pool(pool("a", 6, uid="second"), gone=True)
    assert A not in registry.pools


def test_the_oldest_pool_of_a_queue_has_it(registry: Registry) -> None:
    registry.saw_pool(pool("a", created="2026-01-02T00:00:00Z"))
    registry.saw_pool(pool("b", created="2026-01-01T00:00:00Z"))
    assert registry.holder_of("chat") == B
    assert registry.holder_of("code") is None


def test_of_two_from_the_same_second_one_has_the_queue_whatever_came_first(
    registry: Registry,
) -> None:
    other = Registry()
    pools = [pool("a", uid="2"), pool("b", uid="1")]
    for body in pools:
        registry.saw_pool(body)
    for body in reversed(pools):
        other.saw_pool(body)
    assert registry.holder_of("chat") == other.holder_of("chat") == B


def test_the_next_in_line_hears_that_the_queue_is_its(
    registry: Registry, changed: list[Key]
) -> None:
    registry.saw_pool(pool("a"))
    registry.saw_pool(pool("b", created="2026-01-02T00:00:00Z"))
    changed.clear()
    registry.saw_pool(pool("a", 2), gone=True)
    assert changed.count(B) == 1
    assert registry.holder_of("chat") == B
    assert registry.queues() == {"chat"}
    registry.saw_pool(pool("b", 3, created="2026-01-02T00:00:00Z"), gone=True)
    assert registry.queues() == set()


def test_pools_of_one_name_in_two_namespaces_are_two(registry: Registry) -> None:
    registry.saw_pool(pool("a", uid="1"))
    registry.saw_pool(pool("a", uid="2", namespace="other", queue="code"))
    registry.saw_pool(pool("a", 2, uid="2", namespace="other", queue="code"), gone=True)
    assert list(registry.pools) == [A]


def test_a_status_of_our_own_is_no_news(registry: Registry, changed: list[Key]) -> None:
    registry.saw_pool(pool("a"))
    changed.clear()
    registry.saw_pool(pool("a", 2) | {"status": {"queueDepth": 9}})
    assert changed == []
    assert registry.pools[A]["status"] == {"queueDepth": 9}


@pytest.mark.parametrize(
    "change",
    [
        {"generation": 2},
        {"deletionTimestamp": "2026-01-03T00:00:00Z"},
        {"annotations": {"tidegate.dev/paused": "true"}},
    ],
)
def test_what_people_change_of_a_pool_is_news(
    registry: Registry, changed: list[Key], change: dict[str, Any]
) -> None:
    registry.saw_pool(pool("a"))
    changed.clear()
    registry.saw_pool(pool("a", 2, **change))
    assert changed == [A]


def test_pods_that_become_ready_are_news(registry: Registry, changed: list[Key]) -> None:
    registry.saw_pool(pool("a"))
    registry.saw_deployment(deployment("a"))
    changed.clear()
    registry.saw_deployment(deployment("a", 2, readyReplicas=1))
    assert changed == [A]


def test_a_deployment_of_no_pool_is_nobodys_news(registry: Registry, changed: list[Key]) -> None:
    registry.saw_deployment(deployment("a"))
    registry.saw_deployment(deployment("a", 2), gone=True)
    assert changed == []


def test_a_foreign_autoscaler_is_known_until_it_goes(
    registry: Registry, changed: list[Key]
) -> None:
    registry.saw_pool(pool("a"))
    changed.clear()
    registry.saw_autoscaler(autoscaler("a"))
    assert registry.autoscaler_of(A) == "hpa"
    registry.saw_autoscaler(autoscaler("a"), gone=True)
    assert registry.autoscaler_of(A) is None
    assert changed == [A, A]


def test_an_autoscaler_that_is_turned_to_another_frees_the_first(
    registry: Registry, changed: list[Key]
) -> None:
    registry.saw_pool(pool("a"))
    registry.saw_pool(pool("b", queue="code"))
    registry.saw_autoscaler(autoscaler("a"))
    changed.clear()
    registry.saw_autoscaler(autoscaler("b"))
    assert registry.autoscaler_of(A) is None
    assert registry.autoscaler_of(B) == "hpa"
    assert sorted(changed) == [A, B]


def test_an_autoscaler_of_the_pool_itself_is_welcome(registry: Registry) -> None:
    registry.saw_pool(pool("a"))
    registry.saw_autoscaler(autoscaler("a", "WorkerPool"))
    assert registry.autoscaler_of(A) is None


def test_what_went_unseen_is_forgotten(registry: Registry, changed: list[Key]) -> None:
    registry.saw_pool(pool("a"))
    registry.saw_pool(pool("b", queue="code"))
    registry.saw_deployment(deployment("b"))
    registry.saw_autoscaler(autoscaler("b"))
    changed.clear()
    registry.forget(registry.pools, [registry.pools[A]])
    assert list(registry.pools) == [B]
    registry.forget(registry.deployments, [registry.deployments[B]])
    assert not registry.deployments
    registry.forget(registry.autoscalers, [*registry.autoscalers.values()])
    assert registry.autoscaler_of(B) is None
    assert changed == [A, B, B]


def test_what_was_made_anew_meanwhile_is_not_forgotten(registry: Registry) -> None:
    registry.saw_pool(pool("a", uid="first"))
    known = registry.pools[A]
    registry.saw_pool(pool("a", 5, uid="second"))
    registry.forget(registry.pools, [known])
    assert registry.holder_of("chat") == A


def test_of_an_object_only_what_is_used_is_kept(registry: Registry) -> None:
    body = deployment("a")
    body["metadata"]["annotations"] = {"tidegate.dev/epoch": "1", "somebody/else": "x" * 1000}
    registry.saw_deployment(body)
    kept = registry.deployments[A]
    assert kept["metadata"]["annotations"] == {"tidegate.dev/epoch": "1"}
    assert "template" not in kept["spec"]


def test_labels_and_why_pods_are_not_made_are_kept_and_are_news(
    registry: Registry, changed: list[Key]
) -> None:
    registry.saw_pool(pool("a"))
    registry.saw_deployment(deployment("a"))
    changed.clear()
    failure = {
        "type": "ReplicaFailure",
        "status": "True",
        "reason": "FailedCreate",
        "message": "exceeded quota",
    }
    of_no_use = {"type": "Available", "status": "True"}
    body = deployment("a", 2, conditions=[failure | {"lastUpdateTime": "x"}, of_no_use])
    body["metadata"]["generation"] = 1
    registry.saw_deployment(body)
    assert registry.deployments[A]["status"]["conditions"] == [failure]
    assert changed == [A]
    labelled = deployment("a", 3, conditions=[failure])
    labelled["metadata"] |= {"generation": 1, "labels": {"team": "x"}}
    registry.saw_deployment(labelled)
    assert registry.deployments[A]["metadata"]["labels"] == {"team": "x"}
    assert changed == [A, A]


LATER = "2026-01-02T00:00:00Z"


def invalid(name: str, version: int = 1, **given: Any) -> dict[str, Any]:
    body = pool(name, version, **given)
    body["spec"]["concurrency"] = 1
    return body


def test_an_invalid_pool_holds_no_queue_but_its_queue_is_no_orphan(registry: Registry) -> None:
    registry.saw_pool(invalid("a"))
    assert registry.holder_of("chat") is None
    assert registry.queues() == {"chat"}
    registry.saw_pool(pool("b", created=LATER))
    assert registry.holder_of("chat") == B


def test_a_pool_that_is_put_right_has_its_queue_again_and_the_other_hears_of_it(
    registry: Registry, changed: list[Key]
) -> None:
    registry.saw_pool(invalid("a"))
    registry.saw_pool(pool("b", created=LATER))
    changed.clear()
    registry.saw_pool(pool("a", 2, generation=2))
    assert registry.holder_of("chat") == A
    assert sorted(changed) == [A, B]


def test_a_pool_that_is_being_deleted_gives_its_queue_to_the_next(
    registry: Registry, changed: list[Key]
) -> None:
    registry.saw_pool(pool("a"))
    registry.saw_pool(pool("b", created=LATER))
    changed.clear()
    registry.saw_pool(pool("a", 2, generation=2, deletionTimestamp="2026-01-03T00:00:00Z"))
    assert registry.holder_of("chat") == B
    assert B in changed


def test_nobody_takes_a_queue_from_the_operators_own_namespace() -> None:
    """Whoever may make pools somewhere could else take those of the installation out of service."""
    registry = Registry(own="ns")
    registry.saw_pool(pool("a", created=LATER))
    registry.saw_pool(pool("a", uid="older", namespace="another"))
    assert registry.holder_of("chat") == A


def test_a_pool_is_parsed_once_in_each_generation(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[str] = []

    def parse(body: dict[str, Any]) -> Any:
        parsed.append(body["metadata"]["resourceVersion"])
        return parse_pool(body)

    monkeypatch.setattr("tidegate_operator.registry.parse_pool", parse)
    for version, generation in ((1, 1), (2, 1), (3, 2), (4, 2)):
        registry.saw_pool(pool("a", version, generation=generation))
    assert parsed == ["1", "3"]


def test_what_was_read_replaces_what_is_known_even_if_its_version_is_older(
    registry: Registry, changed: list[Key]
) -> None:
    """As it is after the API server's store was restored from a backup."""
    registry.saw_pool(pool("a", 90, generation=9, queue="code"))
    registry.saw_deployment(deployment("a", 91, replicas=4))
    changed.clear()
    registry.read_pool(A, pool("a", 5, generation=2))
    registry.read_deployment(A, deployment("a", 6, replicas=1))
    assert registry.holder_of("chat") == A
    assert registry.queues() == {"chat"}
    assert registry.deployments[A]["spec"]["replicas"] == 1
    registry.saw_deployment(deployment("a", 7, replicas=2))
    assert registry.deployments[A]["spec"]["replicas"] == 2
    registry.read_deployment(A, None)
    registry.read_pool(A, None)
    assert not registry.deployments
    assert not registry.pools
    assert changed == [A] * 5
    registry.read_pool(A, None)
    assert changed == [A] * 5


def test_of_two_autoscalers_the_other_is_left_once_one_goes(registry: Registry) -> None:
    registry.saw_autoscaler(autoscaler("a", name="second"))
    registry.saw_autoscaler(autoscaler("a", name="first"))
    found = [registry.autoscaler_of(A)]
    registry.saw_autoscaler(autoscaler("a", name="first"), gone=True)
    found.append(registry.autoscaler_of(A))
    registry.forget(registry.autoscalers, [*registry.autoscalers.values()])
    assert [*found, registry.autoscaler_of(A)] == ["first", "second", None]


def test_an_autoscaler_is_looked_up_and_not_looked_for(registry: Registry) -> None:
    """A thousand pools ask for theirs every second."""

    class Unwalked(dict[Key, Any]):
        def items(self) -> Any:
            raise AssertionError("all autoscalers are walked")

    registry.autoscalers = Unwalked()
    registry.saw_autoscaler(autoscaler("a"))
    assert registry.autoscaler_of(A) == "hpa"
