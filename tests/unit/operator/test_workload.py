"""What becomes of a pool in the cluster. Wrong, and pods start over, or none can be made."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate_operator.names import EPOCH_ANNOTATION, INTENT_ANNOTATION, OPERATOR_ANNOTATION
from tidegate_operator.pool import InvalidPool, Pool, parse_pool
from tidegate_operator.workload import (
    deployment_of,
    disruption_budget_of,
    intent_of,
    merge_template,
    selector_of,
    selector_text,
    with_marks,
)

LABELS = {
    "app.kubernetes.io/name": "tidegate",
    "app.kubernetes.io/instance": "live",
    "app.kubernetes.io/component": "worker",
}
SPREAD = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
BASE: dict[str, Any] = {
    "metadata": {"labels": LABELS | {"team": "platform"}},
    "spec": {
        "terminationGracePeriodSeconds": 35,
        "topologySpreadConstraints": [SPREAD | {"labelSelector": {"matchLabels": LABELS}}],
        "containers": [
            {
                "name": "worker",
                "image": "tidegate:1",
                "command": ["tidegate", "worker"],
                "env": [
                    {"name": "TIDEGATE_DRAIN_SECONDS", "value": "25"},
                    {"name": "TIDEGATE_NATS_URL", "value": "nats://nats"},
                ],
                "ports": [{"name": "health", "containerPort": 9102}],
                "livenessProbe": {"httpGet": {"path": "/livez", "port": "health"}},
                "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
            }
        ],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}],
    },
}


def pool(**spec: Any) -> Pool:
    metadata = {
        "namespace": "ai",
        "name": "chat-pool",
        "uid": "0-1",
        "resourceVersion": "42",
        "creationTimestamp": "2026-01-02T03:04:05Z",
    }
    return parse_pool({"metadata": metadata, "spec": {"queue": "chat"} | spec})


def template_of(base: dict[str, Any] = BASE, **spec: Any) -> dict[str, Any]:
    template: dict[str, Any] = deployment_of(pool(**spec), base)["spec"]["template"]
    return template


def env_of(container: dict[str, Any]) -> dict[str, str]:
    names = [each["name"] for each in container["env"]]
    assert len(names) == len(set(names))
    return {each["name"]: each["value"] for each in container["env"]}


def test_a_deployment_is_the_pools() -> None:
    made = deployment_of(pool(), BASE, labels={"app.kubernetes.io/part-of": "tidegate"})
    metadata, spec = made["metadata"], made["spec"]
    assert (metadata["namespace"], metadata["name"]) == ("ai", "chat-pool")
    assert metadata["labels"] == LABELS | {
        "tidegate.dev/pool": "chat-pool",
        "app.kubernetes.io/managed-by": "tidegate-operator",
        "app.kubernetes.io/part-of": "tidegate",
    }
    (owner,) = metadata["ownerReferences"]
    assert owner == {
        "apiVersion": "tidegate.dev/v1alpha1",
        "kind": "WorkerPool",
        "name": "chat-pool",
        "uid": "0-1",
        "controller": True,
        "blockOwnerDeletion": False,
    }
    assert "replicas" not in spec
    assert "resourceVersion" not in metadata
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_a_selector_selects_the_pods_of_this_pool_alone() -> None:
    made = deployment_of(pool(template={"metadata": {"labels": {"team": "search"}}}), BASE)
    selector = made["spec"]["selector"]["matchLabels"]
    labels = made["spec"]["template"]["metadata"]["labels"]
    assert selector == LABELS | {"tidegate.dev/pool": "chat-pool"}
    assert labels == selector | {"team": "search"}
    budget = disruption_budget_of(pool(), BASE)
    assert budget["spec"]["selector"]["matchLabels"] == selector
    assert budget["metadata"] == deployment_of(pool(), BASE)["metadata"]
    assert selector_of(pool(), {}) == {
        "app.kubernetes.io/component": "worker",
        "tidegate.dev/pool": "chat-pool",
    }
    assert selector_text({"b": "2", "a": "1"}) == "a=1,b=2"


def test_a_worker_is_told_of_its_pool() -> None:
    template = template_of(concurrency=8, drainSeconds=600)
    (worker,) = template["spec"]["containers"]
    assert env_of(worker) == {
        "TIDEGATE_DRAIN_SECONDS": "600",
        "TIDEGATE_NATS_URL": "nats://nats",
        "TIDEGATE_QUEUES": "chat",
        "TIDEGATE_WORKER_CONCURRENCY": "8",
    }
    assert template["spec"]["terminationGracePeriodSeconds"] == 610


def test_a_variable_of_a_template_may_refer_to_the_pools() -> None:
    """Kubernetes knows only those that stand before it."""
    own = {"name": "worker", "env": [{"name": "MINE", "value": "$(TIDEGATE_QUEUES)"}]}
    (worker,) = template_of(template={"spec": {"containers": [own]}})["spec"]["containers"]
    names = list(env_of(worker))
    assert names.index("TIDEGATE_QUEUES") < names.index("MINE")


@pytest.mark.parametrize(("names", "worker"), [(["proxy", "worker"], 1), (["main", "proxy"], 0)])
def test_the_worker_is_found_among_others(names: list[str], worker: int) -> None:
    containers = [{"name": name, "image": "any"} for name in names]
    made = template_of({"spec": {"containers": containers}})["spec"]["containers"]
    assert ["env" in each for each in made] == [each == worker for each in range(2)]


def test_a_pool_may_bring_a_container_of_its_own() -> None:
    sidecar = {"name": "proxy", "image": "proxy:1"}
    made = template_of(template={"spec": {"containers": [sidecar]}})["spec"]["containers"]
    assert [each["name"] for each in made] == ["worker", "proxy"]
    assert made[1] == sidecar


def test_each_pool_is_spread_by_itself() -> None:
    foreign = SPREAD | {"labelSelector": {"matchLabels": {"app": "other"}}}
    given = {"spec": {"topologySpreadConstraints": [SPREAD, foreign]}}
    selector = selector_of(pool(), BASE)
    (of_base,) = template_of()["spec"]["topologySpreadConstraints"]
    assert of_base["labelSelector"] == {"matchLabels": selector}
    own, other = template_of(template=given)["spec"]["topologySpreadConstraints"]
    assert own["labelSelector"] == {"matchLabels": selector}
    assert other == foreign


def test_a_pool_that_leaves_no_container_is_refused() -> None:
    for containers in ([], [{"name": "worker", "$patch": "delete"}]):
        with pytest.raises(InvalidPool, match=r"spec\.template\.spec\.containers"):
            template_of(template={"spec": {"containers": containers}})


def test_nothing_that_is_given_is_changed() -> None:
    before = copy.deepcopy(BASE)
    made = deployment_of(pool(template={"spec": {"hostNetwork": False}}), BASE)
    made["spec"]["template"]["spec"]["containers"][0]["command"].append("changed")
    assert before == BASE


MERGES: list[tuple[str, Any, Any, Any]] = [
    ("maps are merged", {"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}, {"a": {"b": 1, "c": 3}}),
    ("null takes away", {"a": 1, "b": {"c": 1}}, {"b": None}, {"a": 1}),
    ("so does a directive", {"a": {"b": 1}}, {"a": {"$patch": "delete"}}, {}),
    ("what is not there cannot go", {}, {"a": None, "b": {"c": None}}, {"b": {}}),
    ("lists are replaced", {"args": ["a", "b"]}, {"args": ["c"]}, {"args": ["c"]}),
    (
        "named things are merged, and keep their order",
        {"containers": [{"name": "a", "image": "1"}, {"name": "b"}]},
        {"containers": [{"name": "c"}, {"name": "a", "tty": True}]},
        {"containers": [{"name": "a", "image": "1", "tty": True}, {"name": "b"}, {"name": "c"}]},
    ),
    (
        "a named thing is taken away",
        {"env": [{"name": "A", "value": "1"}, {"name": "B"}]},
        {"env": [{"name": "A", "$patch": "delete"}, {"name": "X", "$patch": "delete"}]},
        {"env": [{"name": "B"}]},
    ),
    (
        "a variable has one source",
        {"env": [{"name": "A", "value": "1"}]},
        {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]},
        {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]},
    ),
    (
        "a volume is of one kind",
        {"volumes": [{"name": "tmp", "emptyDir": {"medium": "Memory"}}]},
        {"volumes": [{"name": "tmp", "hostPath": {"path": "/x"}}]},
        {"volumes": [{"name": "tmp", "hostPath": {"path": "/x"}}]},
    ),
    (
        "a volume of the same kind is merged",
        {"volumes": [{"name": "tmp", "emptyDir": {"medium": "Memory"}}]},
        {"volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}]},
        {"volumes": [{"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}]},
    ),
    (
        "mounts are known by their path",
        {"volumeMounts": [{"name": "tmp", "mountPath": "/a"}, {"name": "tmp", "mountPath": "/b"}]},
        {"volumeMounts": [{"name": "big", "mountPath": "/b"}]},
        {"volumeMounts": [{"name": "tmp", "mountPath": "/a"}, {"name": "big", "mountPath": "/b"}]},
    ),
    (
        "ports without a name are known by their number",
        {"ports": [{"name": "health", "containerPort": 1}]},
        {"ports": [{"containerPort": 1, "protocol": "TCP"}, {"containerPort": 2}]},
        {
            "ports": [
                {"name": "health", "containerPort": 1, "protocol": "TCP"},
                {"containerPort": 2},
            ]
        },
    ),
    (
        "things without a name are replaced",
        {"tolerations": [{"key": "a"}]},
        {"tolerations": [{"key": "b", "value": None}]},
        {"tolerations": [{"key": "b"}]},
    ),
]


@pytest.mark.parametrize(
    ("base", "override", "expected"),
    [each[1:] for each in MERGES],
    ids=[each[0] for each in MERGES],
)
def test_a_template_is_merged(base: Any, override: Any, expected: Any) -> None:
    assert merge_template(base, override) == expected


SCALARS = st.booleans() | st.integers(0, 9) | st.text("ab", max_size=2)
KEYS = st.sampled_from(["a", "b", "env", "volumes", "name", "mountPath", "$patch"])


def values(scalars: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    named = st.fixed_dictionaries({"name": st.text("ab", min_size=1, max_size=2)})

    def grown(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        items = st.builds(lambda item, more: more | item, named, st.dictionaries(KEYS, inner))
        return (
            st.dictionaries(KEYS, inner, max_size=4)
            | st.lists(inner, max_size=3)
            | st.lists(items, max_size=3)
        )

    return st.recursive(scalars, grown, max_leaves=12)


TEMPLATES = st.dictionaries(KEYS, values(SCALARS), max_size=4)
OVERRIDES = st.dictionaries(KEYS, values(SCALARS | st.none() | st.just("delete")), max_size=4)


@given(TEMPLATES)
def test_nothing_over_a_template_and_a_template_over_itself_change_nothing(template: Any) -> None:
    assert merge_template(template, {}) == template
    assert merge_template(template, template) == template


@given(TEMPLATES, OVERRIDES)
def test_what_was_merged_once_is_not_changed_by_merging_again(base: Any, override: Any) -> None:
    """Else every start of the operator would make all pods anew."""
    once = merge_template(base, override)
    assert merge_template(once, override) == once


@given(OVERRIDES)
def test_no_template_has_a_null_of_an_override(override: Any) -> None:
    def nulls(node: Any) -> bool:
        if isinstance(node, dict):
            return any(each is None or nulls(each) for each in node.values())
        return isinstance(node, list) and any(nulls(each) for each in node)

    assert not nulls(merge_template({}, override))


PARTS = st.sampled_from(["topologySpreadConstraints", "volumes", "tolerations", "affinity", "name"])
POD_SPECS = st.dictionaries(
    PARTS | st.just("containers"),
    values(SCALARS | st.none())
    | st.lists(
        st.dictionaries(PARTS | st.sampled_from(["labelSelector", "env"]), values(SCALARS)),
        max_size=2,
    )
    | st.builds(lambda labels: [SPREAD | {"labelSelector": labels}], values(SCALARS))
    | st.builds(
        lambda labels: [SPREAD | {"labelSelector": {"matchLabels": labels}}], values(SCALARS)
    ),
)


@given(POD_SPECS)
def test_any_template_becomes_a_deployment_or_is_refused(spec: Any) -> None:
    """The operator never ends over an object: most of a template is known to Kubernetes alone."""
    try:
        made = deployment_of(pool(template={"spec": spec}), BASE)
    except InvalidPool:
        return
    assert intent_of(made)
    assert made["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 70


def test_an_intent_is_what_is_said_and_not_how_many() -> None:
    made = deployment_of(pool(), BASE)
    intent = intent_of(made)
    assert len(intent) == 16
    marked = with_marks(made, "7/a", "ns/operator")
    assert marked["metadata"]["annotations"] == {
        INTENT_ANNOTATION: intent,
        EPOCH_ANNOTATION: "7/a",
        OPERATOR_ANNOTATION: "ns/operator",
    }
    assert "annotations" not in made["metadata"]
    scaled = marked | {"spec": marked["spec"] | {"replicas": 5}}
    versioned = scaled | {"metadata": scaled["metadata"] | {"resourceVersion": "9"}}
    assert intent_of(versioned) == intent
    assert intent_of(deployment_of(pool(), copy.deepcopy(BASE))) == intent
    others = [
        deployment_of(pool(concurrency=8), BASE),
        deployment_of(pool(), merge_template(BASE, {"spec": {"priorityClassName": "high"}})),
        deployment_of(pool(), BASE, labels={"a": "b"}),
        disruption_budget_of(pool(), BASE),
    ]
    assert len({intent, *map(intent_of, others)}) == 5
