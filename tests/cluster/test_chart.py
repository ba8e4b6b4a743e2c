"""What the chart renders, before the judge that counts: a real API server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.bed.cluster import Cluster, CommandError

CHART = Path(__file__).resolve().parents[2] / "charts" / "tidegate"
_OWN = Path(__file__).with_name("values")
_SETS = [*sorted((CHART / "examples").glob("*.yaml")), *sorted(_OWN.glob("*.yaml"))]
VALUES = [None, *_SETS]
# Of other projects; here they take anything, so that what the chart says is sent at all.
_FOREIGN = {
    "PodMonitor": ("monitoring.coreos.com", "v1", "podmonitors"),
    "PrometheusRule": ("monitoring.coreos.com", "v1", "prometheusrules"),
}
_RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"


async def rendered(
    cluster: Cluster, namespace: str, *options: str, values: Path | None = None
) -> list[dict[str, Any]]:
    files = ("--values", str(values)) if values else ()
    text = await cluster.helm(
        "template", "tidegate", str(CHART), "--namespace", namespace, *files, *options
    )
    return [each for each in yaml.safe_load_all(text) if each]


def pods_of(objects: list[dict[str, Any]], namespace: str) -> Iterator[dict[str, Any]]:
    """Each workload's template as a Pod: policies refuse pods, and only warn of templates.

    Among them what the operator makes workers of.
    """
    for each in objects:
        if each["kind"] == "Pod":
            yield each
        if "template.yaml" in each.get("data", {}):
            template = yaml.safe_load(each["data"]["template.yaml"])
            metadata = {**template["metadata"], "name": "workers", "namespace": namespace}
            spec = template["spec"]
            yield {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        template = each.get("spec", {}).get("template")
        if template:
            name = f"{each['kind']}-{each['metadata']['name']}".lower()
            spec = template["spec"]
            # A claim's name is the StatefulSet controller's business.
            claims = each["spec"].get("volumeClaimTemplates", [])
            spec.setdefault("volumes", []).extend(
                {"name": claim["metadata"]["name"], "emptyDir": {}} for claim in claims
            )
            metadata = {**template["metadata"], "name": name, "namespace": namespace}
            yield {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def one(objects: list[dict[str, Any]], kind: str, component: str) -> dict[str, Any]:
    """The only object of the kind that belongs to the component."""
    label = "app.kubernetes.io/component"
    (found,) = [
        each
        for each in objects
        if each["kind"] == kind and each["metadata"]["labels"][label] == component
    ]
    return found


async def know(cluster: Cluster, kinds: set[str]) -> None:
    for kind in kinds & _FOREIGN.keys():
        group, version, plural = _FOREIGN[kind]
        anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        schema = {"openAPIV3Schema": anything}
        served = {"name": version, "served": True, "storage": True, "schema": schema}
        names = {"plural": plural, "singular": kind.lower(), "kind": kind}
        spec = {"group": group, "scope": "Namespaced", "names": names, "versions": [served]}
        crd = {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{plural}.{group}"},
            "spec": spec,
        }
        await cluster.kubectl("apply", "-f", "-", input=json.dumps(crd))
        await cluster.kubectl("wait", "--for=condition=Established", f"crd/{plural}.{group}")


async def accounts(cluster: Cluster, namespace: str, objects: list[dict[str, Any]]) -> None:
    """Pods are refused whose service account is not there."""
    mine = [each for each in objects if each["kind"] == "ServiceAccount"]
    if mine:
        await cluster.apply(mine, namespace)


async def accepted(cluster: Cluster, namespace: str, objects: list[dict[str, Any]]) -> str:
    """What the API server says of the objects, sent as Helm 4 sends them."""
    listed = {"apiVersion": "v1", "kind": "List", "items": objects}
    return await cluster.kubectl(
        *("apply", "--server-side", "--dry-run=server", "--validate=strict"),
        *("--namespace", namespace, "-f", "-"),
        input=json.dumps(listed),
    )


@pytest.mark.timeout(120)
@pytest.mark.parametrize("values", VALUES, ids=lambda each: each.stem if each else "default")
async def test_every_object_is_accepted_under_restricted_pod_security(
    control_plane: Cluster, namespace: str, values: Path | None
) -> None:
    await control_plane.kubectl("label", "namespace", namespace, _RESTRICTED)
    objects = await rendered(control_plane, namespace, values=values)
    await know(control_plane, {each["kind"] for each in objects})
    names = [(each["kind"], each["metadata"]["name"]) for each in objects]
    assert len(names) == len(set(names)), "one would take the other's place"
    hooks = [each for each in objects if "helm.sh/hook" in each["metadata"].get("annotations", {})]
    assert [each["kind"] for each in hooks] == ["Pod"]
    await accepted(control_plane, namespace, objects)
    await accounts(control_plane, namespace, objects)
    await accepted(control_plane, namespace, list(pods_of(objects, namespace)))


@pytest.mark.timeout(120)
async def test_a_pod_that_is_not_restricted_would_have_been_refused(
    control_plane: Cluster, namespace: str
) -> None:
    """Else the test above would prove nothing."""
    await control_plane.kubectl("label", "namespace", namespace, _RESTRICTED)
    objects = await rendered(control_plane, namespace)
    await accounts(control_plane, namespace, objects)
    pods = list(pods_of(objects, namespace))
    del pods[0]["spec"]["securityContext"]
    for container in pods[0]["spec"]["containers"]:
        container.pop("securityContext", None)
    with pytest.raises(CommandError, match="violates PodSecurity"):
        await accepted(control_plane, namespace, pods)


@pytest.mark.timeout(120)
async def test_only_who_needs_one_has_a_token(control_plane: Cluster, namespace: str) -> None:
    pods = list(pods_of(await rendered(control_plane, namespace), namespace))
    with_token = [
        pod["metadata"]["labels"]["app.kubernetes.io/component"]
        for pod in pods
        if pod["spec"].get("automountServiceAccountToken", True)
    ]
    assert sorted(with_token) == ["operator", "secrets"]
    assert not [pod for pod in pods if pod["spec"].get("enableServiceLinks", True)]


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "typo", ["gatway.replicas=2", "worker.replica=2", "nats.mode=bundeled", "cache.store=qdrnt"]
)
async def test_a_typo_is_refused(control_plane: Cluster, namespace: str, typo: str) -> None:
    with pytest.raises(CommandError) as raised:
        await rendered(control_plane, namespace, "--set", typo)
    wrong = typo.partition("=")
    assert wrong[0].rpartition(".")[2] in str(raised.value) or wrong[2] in str(raised.value)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("secrets.existingSecret=tidegate-secrets", "the chart makes itself"),
        ("keys.existingSecret=tidegate-secrets", "the chart makes itself"),
        ("defaults.serviceAccount.name=shared", "defaults.serviceAccount.create to false"),
        ("worker.serviceAccount.name=tidegate-gateway", "would each make the service account"),
        ("worker.extraEnv[0].name=TIDEGATE_NATS_URL", "extraEnv of worker: TIDEGATE_NATS_URL"),
        ("nats.extraEnv[0].name=A,nats.extraEnv[1].name=A", "extraEnv of nats: A is set already"),
        ("worker.settings.TIDEGATE_NATS_URL=nats://else", "settings of worker"),
        ("worker.settings.TIDEGATE_WORKER_CONCURRENCY=9", "use worker.pool.concurrency"),
        ("defaults.settings.TIDEGATE_QUEUES=slow", "use worker.pool.queue"),
        ("worker.extraEnv[0].name=TIDEGATE_DRAIN_SECONDS", "use worker.drainSeconds"),
        ("worker.replicas=2", "worker.pool.minReplicas"),
        ("worker.replicas=0", "worker.pool.minReplicas"),
        ("worker.podDisruptionBudget.enabled=false", "each pool's budget"),
        ("worker.pool.minReplicas=11", "more than worker.pool.maxReplicas"),
        ("operator.settings.TIDEGATE_OPERATOR_NAME=another", "settings of operator"),
        ("operator.settings.TIDEGATE_OPERATOR_NAMESPACES=ai", "use operator.clusterWide"),
        ("operator.extraEnv[0].name=TIDEGATE_OPERATOR_NAMESPACES", "use operator.clusterWide"),
        ("operator.serviceAccount.name=tidegate-worker", "would each make the service account"),
    ],
)
async def test_what_contradicts_itself_is_refused_in_words(
    control_plane: Cluster, namespace: str, options: str, said: str
) -> None:
    """Else the API server, or a pod that never starts, would say so in words of its own."""
    with pytest.raises(CommandError) as raised:
        await rendered(control_plane, namespace, "--set", options)
    assert said in str(raised.value)


@pytest.mark.timeout(120)
async def test_a_release_whose_name_is_no_label_is_refused(
    control_plane: Cluster, namespace: str
) -> None:
    """Helm allows a dot; Services do not."""
    with pytest.raises(CommandError, match="a DNS label is small letters"):
        await control_plane.helm("template", "tide.gate", str(CHART), "--namespace", namespace)


@pytest.mark.timeout(120)
async def test_who_brings_the_rights_may_say_where(control_plane: Cluster, namespace: str) -> None:
    own = "operator.serviceAccount.create=false,operator.serviceAccount.name=own"
    where = "operator.settings.TIDEGATE_OPERATOR_NAMESPACES=ai"
    assert await rendered(control_plane, namespace, "--set", f"{own},{where}")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("value", ["create=false,{0}.name=shared", "name=own"])
async def test_accounts_that_are_made_once_are_welcome(
    control_plane: Cluster, namespace: str, value: str
) -> None:
    place = "worker.serviceAccount" if value == "name=own" else "defaults.serviceAccount"
    options = f"{place}.{value.format(place)}"
    assert await rendered(control_plane, namespace, "--set", options)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("options", "stays"),
    [
        ("nats.persistence.whenDeleted=Delete", False),
        ("nats.persistence.whenDeleted=Retain", True),
        ("nats.persistence.whenDeleted=Retain,nats.persistence.enabled=false", False),
    ],
)
async def test_the_secret_stays_where_the_volumes_stay(
    control_plane: Cluster, namespace: str, options: str, stays: bool
) -> None:
    """Else the answers in them could be read by nobody whom they belong to."""
    objects = await rendered(control_plane, namespace, "--set", options)
    (container,) = one(objects, "Job", "secrets")["spec"]["template"]["spec"]["containers"]
    assert ("--owner" not in container["command"]) is stays
    # Its removal would take a Secret along that was made while it was the owner.
    assert one(objects, "ConfigMap", "secrets")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("servers", [1, 3])
async def test_a_rollout_of_nats_waits_for_the_streams_where_there_are_copies(
    control_plane: Cluster, namespace: str, servers: int
) -> None:
    """Else the next server would stop while this one's copies lag, and the majority be lost."""
    objects = await rendered(control_plane, namespace, "--set", f"nats.replicas={servers}")
    spec = one(objects, "StatefulSet", "nats")["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    started = container["startupProbe"]["httpGet"]["path"]
    assert started == ("/healthz" if servers == 3 else "/healthz?js-server-only=true")
    assert container["readinessProbe"]["httpGet"]["path"] == "/healthz?js-server-only=true"
    assert spec.get("minReadySeconds") == (5 if servers == 3 else None)
