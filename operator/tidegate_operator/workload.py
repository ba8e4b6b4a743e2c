"""What a pool is in the cluster: its Deployment and its disruption budget, as pure values.

The pods are those of the installation, whose template the chart renders, with what the pool says
of its own merged over it. How many there are is no part of it: whoever writes a Deployment adds
the replicas, each time, for a server-side apply takes away what it does not name any more.
"""

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from tidegate_operator.names import (
    API_VERSION,
    COMPONENT_LABEL,
    CONCURRENCY_ENV,
    DRAIN_ENV,
    EPOCH_ANNOTATION,
    FIELD_MANAGER,
    GRACE_BEYOND_DRAIN,
    INSTANCE_LABEL,
    INTENT_ANNOTATION,
    KIND,
    MANAGED_BY_LABEL,
    NAME_LABEL,
    OPERATOR_ANNOTATION,
    OWN_ENV,
    POOL_LABEL,
    QUEUES_ENV,
)
from tidegate_operator.pool import InvalidPool, Pool

Manifest = dict[str, Any]

_WORKER: Final = "worker"
# What items of a list are known by, the first that all of them have: the name in a mount is that
# of its volume, and several mounts may be of one.
_KEYS: Final = ("mountPath", "name", "containerPort")
# Lists of things that are one of several kinds: of the one that was, nothing may stay in the other.
_UNIONS: Final = frozenset({"env", "volumes"})
# As in a strategic merge patch: `kubectl apply` drops every null unless it is server-side.
_DIRECTIVE: Final = "$patch"
_DELETE: Final = "delete"
_INTENT_LENGTH: Final = 16


def selector_of(pool: Pool, base_template: Mapping[str, Any]) -> dict[str, str]:
    """The labels that the pool's pods are selected by; they never change while it exists."""
    given = _labels(base_template)
    shared = {label: given[label] for label in (NAME_LABEL, INSTANCE_LABEL) if label in given}
    return {**shared, COMPONENT_LABEL: _WORKER, POOL_LABEL: pool.name}


def selector_text(selector: Mapping[str, str]) -> str:
    """The same as `status.selector` has it."""
    return ",".join(f"{label}={value}" for label, value in sorted(selector.items()))


def deployment_of(
    pool: Pool, base_template: Mapping[str, Any], *, labels: Mapping[str, str] | None = None
) -> Manifest:
    """All that the operator says of a pool's Deployment, for a server-side apply.

    `base_template` is a PodTemplateSpec. `labels` are put on the Deployment besides. Replicas, the
    resource version and the marks (`with_marks`) are not in it.

    Raises:
        InvalidPool: with what the pool says, no pod would have a container.
    """
    selector = selector_of(pool, base_template)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(pool, selector, labels),
        "spec": {
            "revisionHistoryLimit": 3,
            # So long may a pod take to get ready before Kubernetes says that it does not.
            "progressDeadlineSeconds": 120,
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
            },
            "selector": {"matchLabels": dict(selector)},
            "template": _template_of(pool, base_template, selector),
        },
    }


def disruption_budget_of(
    pool: Pool, base_template: Mapping[str, Any], *, labels: Mapping[str, str] | None = None
) -> Manifest:
    """The pool's PodDisruptionBudget, for a server-side apply.

    A quarter may go at once, rounded up, so that a single pod keeps no node from being drained;
    nor does a pod that is not ready, which works for nobody.
    """
    selector = selector_of(pool, base_template)
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _metadata(pool, selector, labels),
        "spec": {
            "maxUnavailable": "25%",
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": dict(selector)},
        },
    }


def intent_of(manifest: Mapping[str, Any]) -> str:
    """16 hex digits that tell two manifests apart, whatever their replicas and their marks."""
    metadata = {key: each for key, each in manifest["metadata"].items() if key != "resourceVersion"}
    annotations = {
        name: value
        for name, value in metadata.pop("annotations", {}).items()
        if name not in (INTENT_ANNOTATION, EPOCH_ANNOTATION, OPERATOR_ANNOTATION)
    }
    spec = {key: each for key, each in manifest["spec"].items() if key != "replicas"}
    said = [manifest["kind"], metadata, annotations, spec]
    text = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_INTENT_LENGTH]


def with_marks(manifest: Mapping[str, Any], epoch: str, operator: str) -> Manifest:
    """The manifest with its intent, the writer's epoch and its operator as annotations."""
    metadata = manifest["metadata"]
    marks = {
        INTENT_ANNOTATION: intent_of(manifest),
        EPOCH_ANNOTATION: epoch,
        OPERATOR_ANNOTATION: operator,
    }
    annotations = {**metadata.get("annotations", {}), **marks}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


def merge_template(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """`override` over `base`; neither is changed.

    Maps are merged key by key. Lists of named things are merged one by one, in the order of the
    base, what is new at the end; any other list is replaced. null takes a key away, as in a JSON
    merge patch (RFC 7386), and a map with `$patch: delete` takes away what it would be merged with.
    A variable or a volume keeps its parts only where `override` names them, for it is of one kind.
    """
    return _merged_map(base, override)


def _metadata(
    pool: Pool, selector: Mapping[str, str], labels: Mapping[str, str] | None
) -> dict[str, Any]:
    return {
        "name": pool.name,
        "namespace": pool.namespace,
        "labels": {
            **(labels or {}),
            NAME_LABEL: "tidegate",
            **selector,
            MANAGED_BY_LABEL: FIELD_MANAGER,
        },
        "ownerReferences": [
            {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "name": pool.name,
                "uid": pool.uid,
                "controller": True,
                # True would need the right to set finalizers of pools.
                "blockOwnerDeletion": False,
            }
        ],
    }


def _template_of(
    pool: Pool, base_template: Mapping[str, Any], selector: Mapping[str, str]
) -> dict[str, Any]:
    merged = merge_template(base_template, pool.spec.pod_overrides)
    spec = merged.get("spec") or {}
    if not spec.get("containers"):
        raise InvalidPool("spec.template.spec.containers: leave a container, or no pod can be made")
    metadata = merged.get("metadata") or {}
    metadata["labels"] = {**_labels(merged), **selector}
    spec["terminationGracePeriodSeconds"] = pool.spec.drain_seconds + GRACE_BEYOND_DRAIN
    worker = _worker(spec["containers"])
    others = [each for each in worker.get("env") or () if each.get("name") not in OWN_ENV]
    # First, so that a variable of the template may refer to them.
    worker["env"] = [*_environment(pool), *others]
    _aim_spread(spec.get("topologySpreadConstraints"), _labels(base_template), selector)
    return {**merged, "metadata": metadata, "spec": spec}


def _environment(pool: Pool) -> list[dict[str, str]]:
    values = {
        QUEUES_ENV: pool.spec.queue,
        CONCURRENCY_ENV: str(pool.spec.concurrency),
        DRAIN_ENV: str(pool.spec.drain_seconds),
    }
    return [{"name": name, "value": value} for name, value in values.items()]


def _worker(containers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return next((each for each in containers if each.get("name") == _WORKER), containers[0])


def _aim_spread(
    constraints: object, base_labels: Mapping[str, str], selector: Mapping[str, str]
) -> None:
    """Lets each pool be spread by itself, where a constraint means the workers or says nothing.

    What makes no sense stays as it is: Kubernetes refuses it, in better words than ours.
    """
    for constraint in constraints if isinstance(constraints, list) else ():
        if isinstance(constraint, dict) and _means(constraint.get("labelSelector"), base_labels):
            constraint["labelSelector"] = {"matchLabels": dict(selector)}


def _means(selector: object, labels: Mapping[str, str]) -> bool:
    """Whether a label selector is for all pods of these labels; nothing is for them too."""
    if not selector:
        return True
    if not isinstance(selector, Mapping) or selector.keys() != {"matchLabels"}:
        return False
    wanted = selector["matchLabels"]
    return isinstance(wanted, Mapping) and all(
        labels.get(label) == value for label, value in wanted.items()
    )


def _labels(template: Mapping[str, Any]) -> Mapping[str, str]:
    return (template.get("metadata") or {}).get("labels") or {}


def _merged_map(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    merged = {}
    # In the order of the base, so that what is not changed looks the same.
    for key in dict.fromkeys([*base, *override]):
        if key not in override:
            merged[key] = copy.deepcopy(base[key])
        elif not _takes_away(override[key]):
            merged[key] = _merged(key, base.get(key), override[key])
    return merged


def _merged(key: str, base: object, override: object) -> Any:
    if isinstance(override, Mapping):
        return _merged_map(base if isinstance(base, Mapping) else {}, override)
    if isinstance(override, Sequence) and not isinstance(override, str):
        return _merged_list(key, base if isinstance(base, Sequence) else [], override)
    return override


def _merged_list(key: str, base: Sequence[Any], override: Sequence[Any]) -> list[Any]:
    known_by = _key_of([*base], [*override])
    if known_by is None:
        return [
            _merged("", None, each) for each in override if not _takes_away(each) or each is None
        ]
    given = {each[known_by]: each for each in override}
    names = [each[known_by] for each in base]
    names += [name for name in given if name not in names]
    found = {each[known_by]: each for each in base}
    merged = []
    for name in names:
        if name not in given:
            merged.append(copy.deepcopy(found[name]))
        elif not _takes_away(given[name]):
            merged.append(_merged_item(key, found.get(name, {}), given[name]))
    return merged


def _merged_item(key: str, base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: each for name, each in base.items() if name in override}
    return _merged_map(kept if key in _UNIONS else base, override)


def _key_of(base: Sequence[Any], override: Sequence[Any]) -> str | None:
    """What the items of both lists are known by; None where they are no named things."""
    if not override or not all(isinstance(each, Mapping) for each in [*base, *override]):
        return None
    return next((key for key in _KEYS if _tells(key, base) and _tells(key, override)), None)


def _tells(key: str, items: Sequence[Mapping[str, Any]]) -> bool:
    names = [each.get(key) for each in items]
    return all(isinstance(name, str | int) for name in names) and len(set(names)) == len(names)


def _takes_away(value: object) -> bool:
    return value is None or (isinstance(value, Mapping) and value.get(_DIRECTIVE) == _DELETE)
